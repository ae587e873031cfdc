"""What a study's report says of the scores of what is registered: at its threshold, by patch, on the test split."""

from lsml.plots.curves import plot_f1, plot_precision_recall, plot_reliability
from lsml.report.facts import StudyFacts
from lsml.report.html import PageSection, as_svg
from lsml.report.summary import Picture, Table
from lsml.scoring.bootstrap import MIN_PATCHES

_HALF_PAGE = 5.0
_FEW, _SHOWN_PATCHES = 2, 8


def score_sections(facts: StudyFacts) -> list[PageSection]:
    """Threshold, calibration, worst patches and test split; those without data say why, or are left out."""
    made = (_threshold(facts), _calibration(facts), _worst(facts), _test(facts))
    return [section for section in made if section]


def _threshold(facts: StudyFacts) -> PageSection | None:
    best = facts.best
    if best is None:
        return None
    title = "Threshold, precision and recall"
    if best.pixels is None or best.threshold is None:
        why = "Not drawn: the run has no table of pixels by probability, as runs of an older lsml do not."
        return PageSection("threshold", title, paragraphs=[why])
    score, words = best.pixels.at(best.threshold), facts.describe_scored_patches()
    listed = [("Threshold", f"{best.threshold:.4g}"), ("Precision", f"{score.precision:.4f}")]
    listed += [("Recall", f"{score.recall:.4f}"), ("IoU", f"{score.iou:.4f}")]
    listed += [("Average precision", f"{best.pixels.average_precision():.4f}")]
    drawn = [
        Picture(
            as_svg(plot_f1(best.pixels, best.threshold, words, width=_HALF_PAGE)),
            f"F1 over the threshold: {score.f1:.3f} at the chosen {best.threshold:.3f}",
        ),
        Picture(
            as_svg(plot_precision_recall(best.pixels, best.threshold, words, width=_HALF_PAGE)),
            f"Precision over recall: {score.precision:.3f} and {score.recall:.3f} at the chosen threshold",
        ),
    ]
    rows = [
        ["landslide", f"{score.true_positive:,}", f"{score.false_negative:,}"],
        ["no landslide", f"{score.false_positive:,}", f"{score.true_negative:,}"],
    ]
    columns = ["pixels of", "predicted landslide", "predicted no landslide"]
    table = Table(f"Confusion matrix at the chosen threshold ({words})", columns, rows)
    return PageSection("threshold", title, facts=listed, pictures=drawn, tables=[table])


def _calibration(facts: StudyFacts) -> PageSection | None:
    best = facts.best
    if best is None or best.pixels is None:
        return None
    error = best.pixels.calibration_error()
    figure = plot_reliability(best.pixels, facts.describe_scored_patches(), width=_HALF_PAGE)
    text = f"Expected calibration error {error:.4f} over 15 equally wide bins (Guo et al. 2017), of all pixels."
    picture = Picture(as_svg(figure), f"Share of landslide over mean probability; calibration error {error:.4f}")
    return PageSection("calibration", "Calibration", paragraphs=[text], pictures=[picture])


def _worst(facts: StudyFacts) -> PageSection | None:
    best = facts.best
    if best is None or best.counts is None or len(best.counts.ids) < _FEW:
        return None
    counts = sorted(zip(best.counts.ids, best.counts.confusion.tolist(), strict=True), key=lambda row: -sum(row[1][1:]))
    rows = [
        [patch, f"{hits:,}", f"{misses:,}", f"{alarms:,}", f"{2 * hits / wrong:.4f}" if wrong else ""]
        for patch, (hits, alarms, misses) in counts[:_SHOWN_PATCHES]
        for wrong in [2 * hits + alarms + misses]
    ]
    title = f"The patches with the most wrong pixels, of {facts.describe_scored_patches()}, by {best.article}"
    table = Table(title, ["patch", "hits", "misses", "false alarms", "F1"], rows)
    return PageSection("worst", "Worst patches", tables=[table])


def _test(facts: StudyFacts) -> PageSection:
    if not facts.tests and not facts.openings:
        run = facts.best_run_id or "RUN"
        why = "When this was written the test split had not been opened, so no score of it existed. "
        why += "When all choices are made:"
        command = [f"lsml evaluate --run-id {run} --baseline"]
        return PageSection("test", "Test split", paragraphs=[why], commands=command)
    count, times = len(facts.openings), facts.describe_openings()
    text = f"Scores of the sealed test split, which no trial saw. This study opened it {times}"
    text += ": later openings may have been informed by earlier ones." if count > 1 else "."
    tables = [Table.of_tests(facts.tests, facts.best_run_id)] if facts.tests else []
    if facts.openings:
        tables.append(Table.of_openings(facts.openings))
    if any(score.patches is not None and score.patches < MIN_PATCHES for score in facts.tests):
        text += f" With fewer than {MIN_PATCHES} patches, intervals are unreliable."
    return PageSection("test", "Test split", paragraphs=[text], tables=tables)
