"""What a study's report says, part by part; a part without data says why in a sentence or is left out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lsml.config.fields import Scalar, amount, flatten, in_words
from lsml.config.schema import TrainConfig
from lsml.plots.curves import plot_f1, plot_precision_recall, plot_reliability
from lsml.plots.patches import FALSE_ALARM, HIT, MISS
from lsml.report import figures
from lsml.report.html import Picture, Section, Table, as_svg, outcome_png, render, true_colour_png
from lsml.report.summary import Evaluated, JudgedRun, StudyFacts
from lsml.scoring.bootstrap import LEAST_PATCHES, Interval
from lsml.scoring.comparison import PatchCounts, disagreement, f1_above, pooled_scores

_HALF_PAGE = 5.0
_FEW = 2
_SHOWN_FINGERPRINT = 16


def study_page(facts: StudyFacts) -> str:
    """The report of a study as one HTML file."""
    makers: Sequence[Callable[[StudyFacts], Section | None]] = (
        _answer,
        _asked,
        _configuration,
        _importance,
        _history,
        _coordinates,
        _front,
        _standings,
        _curves,
        _panels,
        _threshold,
        _calibration,
        _test,
        _spent,
        _data,
        _again,
    )
    sections = [section for maker in makers if (section := maker(facts))]
    lead = f"Report of a study by lsml. {facts.description}".strip()
    return render(f"Study {facts.study}", lead, sections)


def _answer(facts: StudyFacts) -> Section:
    best = facts.best
    if best is None:
        why = "No trial has completed, so there is nothing to judge yet."
        return Section("answer", "Answer", paragraphs=[why], facts=[("State", facts.state)])
    listed = [("Registered", facts.registered or "nothing yet"), ("State", facts.state)]
    listed += [("Run", facts.best_run_id or best.run_id), ("Trials", _counts_in_words(facts))]
    flattered = "The same patches chose the epoch, the threshold and the configuration, which flatters this score; "
    flattered += "scores of the test split are below." if facts.tests else "the test split has not been opened."
    if best.counts is None:
        text = f"Pooled over all pixels, by {_article(best.name)}; its run has no table of patches, so no interval."
        return Section("answer", "Answer", f"F1 {best.f1:.4f}", [text, flattered], listed)
    f1 = pooled_scores(best.counts)["f1"]
    headline = f"F1 {f1.value:.4f}, 95 % interval {_range(f1.interval)}"
    paragraphs = [_judged_how(best, best.counts, facts.data.set_apart)]
    if f"{best.f1:.4f}" != f"{f1.value:.4f}":
        paragraphs.append(f"The search itself had {best.f1:.4f}, before the network was exported in float32.")
    others = {run.name: run.counts for run in facts.rivals if run.counts is not None}
    comparable = {name: counts for name, counts in others.items() if not disagreement(best.counts, counts)}
    pictures = [_scores_picture(best, comparable)] if comparable else []
    tables = [_ahead_table(best, best.counts, comparable)] if comparable else []
    return Section("answer", "Answer", headline, [*paragraphs, flattered], listed, pictures=pictures, tables=tables)


def _judged_how(best: JudgedRun, counts: PatchCounts, set_apart: str) -> str:
    n = len(counts.ids)
    return (
        f"Of the landslide class, pooled over all pixels of {n} patches ({set_apart}), by {_article(best.name)}"
        f"{_at(best.threshold)}. The interval comes from resampled patches"
        + (f"; with fewer than {LEAST_PATCHES} patches it is unreliable." if n < LEAST_PATCHES else ".")
    )


def _ahead_table(best: JudgedRun, counts: PatchCounts, others: Mapping[str, PatchCounts]) -> Table:
    rows = []
    for name, other in others.items():
        ahead = f1_above(counts, other)
        f1 = pooled_scores(other)["f1"].value
        verdict = "ahead" if ahead.interval.low > 0 else "behind" if ahead.interval.high < 0 else "no clear difference"
        rows.append([name, f"{f1:.4f}", f"{ahead.value:+.4f}", _range(ahead.interval, "+"), verdict])
    columns = ["against", "F1", "difference", "95 % interval", ""]
    return Table(f"How far {_article(best.name)} is ahead, the same patches resampled", columns, rows)


def _scores_picture(best: JudgedRun, others: Mapping[str, PatchCounts]) -> Picture:
    assert best.counts is not None
    scores = {best.name: pooled_scores(best.counts)["f1"]}
    scores |= {name: pooled_scores(counts)["f1"] for name, counts in others.items()}
    told = "; ".join(f"{name} {score.value:.3f} ({_range(score.interval)})" for name, score in scores.items())
    return Picture(as_svg(figures.draw_scores(scores, len(best.counts.ids))), f"F1 with 95 % intervals: {told}")


def _asked(facts: StudyFacts) -> Section:
    settings = {name.removeprefix("study."): value for name, value in facts.settings.items()}
    hidden = ("name", "experiment", "searched")
    rows = [[name, values] for name, values in facts.searched.items()]
    listed = [("Experiment", facts.experiment), ("Data", facts.data.source)]
    listed += [("Scores are of", facts.data.set_apart)]
    listed += [(_title(name), value) for name, value in settings.items() if name not in hidden]
    tables = [Table("The search space", ["field", "values"], rows)] if rows else []
    return Section("asked", "What was asked", facts=listed, tables=tables)


def _configuration(facts: StudyFacts) -> Section | None:
    best, base = facts.best, facts.base
    if best is None or best.config is None:
        return None
    values: dict[str, dict[str, Scalar]] = {"default": flatten(TrainConfig())}
    values |= {"base": flatten(base)} if base else {}
    values["best"] = flatten(best.config)
    fields = [name for name in values["default"] if name != "seed"]
    shown = [name for name in fields if name in facts.searched or len({of[name] for of in values.values()}) > 1]
    rows = [[name, *(in_words(of[name]) for of in values.values())] for name in shown]
    marked = [at for at, name in enumerate(shown) if base and values["best"][name] != values["base"][name]]
    text = f"That of {_article(best.name)}. "
    if base:
        text += (
            f"Shaded: {len(marked)} fields in which it differs from the base." if marked else "It is the base itself."
        )
    caption = "Fields that were searched, and others that differ from lsml's defaults"
    table = Table(caption, ["field", *values], rows, frozenset(marked))
    return Section("configuration", "Best configuration", paragraphs=[text.strip()], tables=[table])


def _importance(facts: StudyFacts) -> Section:
    if not facts.importance:
        why = "Importances need two complete trials of different F1, with a field that was searched in all of them."
        return Section("importance", "What mattered", paragraphs=[why])
    told = ", ".join(f"{name} {share:.0%}" for name, share in list(facts.importance.items())[:3])
    n = len(facts.complete)
    text = (
        f"By fANOVA (Hutter et al. 2014) over the {n} complete {_trials(n)}; fields that only some trials have are "
        "left out." + (" So few trials make this a hint, no finding." if n < 10 * len(facts.importance) else "")
    )
    picture = Picture(as_svg(figures.draw_importance(facts.importance)), f"Share of the variance of F1: {told}")
    return Section("importance", "What mattered", paragraphs=[text], pictures=[picture])


def _history(facts: StudyFacts) -> Section | None:
    shown = [trial for trial in facts.counted if trial.f1 is not None]
    if len(shown) < _FEW:
        return None
    first, best = shown[0], max(facts.complete or shown, key=lambda trial: trial.f1 or 0.0)
    alt = f"F1 of {len(shown)} trials: {first.f1:.3f} in trial {first.slot}, at best {best.f1:.3f} in trial {best.slot}"
    picture = Picture(as_svg(figures.draw_history(facts.counted)), alt)
    costs = [facts.objective.unit] if facts.objective else []
    fields = [name for name in facts.searched if any(name in trial.values for trial in shown)]
    rows = [
        [
            str(trial.slot),
            trial.state,
            f"{trial.f1:.4f}",
            *([amount(trial.cost) if trial.cost is not None else ""] if costs else []),
            *(in_words(trial.values.get(name)) for name in fields),
            trial.run_id or "",
        ]
        for trial in sorted(shown, key=lambda trial: -(trial.f1 or 0.0))
    ]
    caption = "All trials with an F1, the highest first; that of a pruned trial is of its last epoch or fold"
    table = Table(caption, ["trial", "state", "F1", *costs, *fields, "run"], rows, wide=True)
    failed = [f"Trial {trial.slot} failed: {trial.reason}" for trial in facts.counted if trial.state == "failed"]
    return Section("history", "Course of the search", paragraphs=failed, pictures=[picture], tables=[table])


def _coordinates(facts: StudyFacts) -> Section | None:
    fields = [name for name in facts.searched if any(name in trial.values for trial in facts.complete)]
    if len(facts.complete) < _FEW or not fields:
        return None
    figure = figures.draw_parallel(facts.complete, fields, logarithmic=facts.logarithmic, choices=facts.choices)
    best = max(facts.complete, key=lambda trial: trial.f1 or 0.0)
    told = ", ".join(f"{name} {in_words(value)}" for name, value in best.values.items())
    caption = "A line a complete trial, the darker the higher its F1; orange is the best. The ends of an axis are the "
    caption += "smallest and the largest value that was tried."
    alt = (
        f"Searched fields of {len(facts.complete)} complete trials beside their F1; the best, trial {best.slot}: {told}"
    )
    return Section("coordinates", "Trials side by side", pictures=[Picture(as_svg(figure), alt, caption, wide=True)])


def _front(facts: StudyFacts) -> Section | None:
    if facts.objective is None or not facts.front:
        return None
    unit = facts.objective.unit
    trials = [trial for trial in facts.complete if trial.cost is not None]
    points = [(float(best["cost"]), float(best["f1"])) for best in facts.front]
    told = "; ".join(f"F1 {f1:.3f} with {amount(cost)}" for cost, f1 in points)
    picture = Picture(as_svg(figures.draw_front(trials, points, facts.objective)), f"F1 against {unit}: {told}")
    rows = [
        [f"trial {best['trial']}", f"{best['f1']:.4f}", amount(best["cost"]), best["run_id"]] for best in facts.front
    ]
    marked = frozenset(at for at, best in enumerate(facts.front) if best["registered"])
    caption = "The Pareto front: no trial is better in one and no worse in the other"
    caption += "; shaded: registered" if marked else ""
    table = Table(caption, ["trial", "F1", unit, "run"], rows, marked)
    return Section("front", f"F1 against {unit}", pictures=[picture], tables=[table])


def _standings(facts: StudyFacts) -> Section | None:
    tables = []
    if facts.standings:
        rows = [
            [
                entry["what"],
                "failed" if entry["f1"] is None else f"{entry['f1']:.4f}",
                entry["reason"] or ("registered, trained on all patches" if place == 0 else ""),
                entry["run_id"] or "",
            ]
            for place, entry in enumerate(facts.standings)
        ]
        caption = f"F1 over all pixels of patches held out ({facts.data.set_apart}), with one fresh seed"
        tables.append(Table(caption, ["configuration or baseline", "F1", "", "run"], rows, frozenset([0]), wide=True))
    if len(facts.champions) > 1:
        rows = [
            [best["architecture"], f"{best['f1']:.4f}", best["state"], f"version {best['version']}", best["run_id"]]
            for best in facts.champions
        ]
        columns = ["architecture", "F1", "state", "registered", "run"]
        tables.append(Table("Each is a version of the registered model", columns, rows, wide=True))
    title = "Standings" if facts.standings else "The best of each architecture"
    return Section("standings", title, tables=tables) if tables else None


def _curves(facts: StudyFacts) -> Section | None:
    contenders = facts.contenders
    drawn = []
    for metric, label, logarithmic in (("val_f1", "validation F1", False), ("val_loss", "validation loss", True)):
        of = [contender for contender in contenders if len(contender.curves.get(metric, ((), ()))[0]) >= _FEW]
        if of:
            figure = figures.draw_curves(of, metric, label, logarithmic=logarithmic and _positive(of, metric))
            ends = ", ".join(f"{one.name} {one.curves[metric][1][-1]:.3f} at its end" for one in of)
            loss_searched = metric == "val_loss" and any(name.startswith("loss.") for name in facts.searched)
            caption = (
                "Each trial's own loss: where the loss is searched, only the shapes compare." if loss_searched else ""
            )
            drawn.append(Picture(as_svg(figure), f"{label} over each {of[0].noun}: {ends}", caption))
    return Section("curves", f"Training of the best {_number(contenders)}", pictures=drawn) if drawn else None


def _positive(contenders: Sequence[Any], metric: str) -> bool:
    return all(min(contender.curves[metric][1]) > 0 for contender in contenders)


def _panels(facts: StudyFacts) -> Section | None:
    runs = [contender for contender in facts.contenders if contender.pictures]
    shared = set.intersection(*(set(run.pictures) for run in runs)) if runs else set()
    if not shared:
        return None
    patches = sorted(shared, key=lambda patch: (len(patch), patch))
    first = [Picture(true_colour_png(runs[0].pictures[patch]), f"{patch} in true colour") for patch in patches]
    rows: list[list[str | Picture]] = [["true colour", *first]]
    for run in runs:
        drawn = [
            Picture(outcome_png(run.pictures[patch]), f"Hits, misses and false alarms of {run.name} on {patch}")
            for patch in patches
        ]
        rows.append([f"{run.name}, F1 {run.f1:.4f}", *drawn])
    colours = (("hit", HIT), ("miss", MISS), ("false alarm", FALSE_ALARM))
    legend = [(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in colours]
    caption = "Validation patches that every trial draws, chosen evenly from the least landslide to the most"
    table = Table(caption, ["", *patches], rows, wide=True)
    return Section("panels", "The same patches by each", legend=legend, tables=[table])


def _threshold(facts: StudyFacts) -> Section | None:
    best = facts.best
    if best is None:
        return None
    title = "Threshold, precision and recall"
    if best.pixels is None or best.threshold is None:
        why = "Not drawn: the run has no table of pixels by probability, as runs of an older lsml do not."
        return Section("threshold", title, paragraphs=[why])
    score, words = best.pixels.at(best.threshold), _judged_in_words(best, facts)
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
    return Section("threshold", title, facts=listed, pictures=drawn)


def _calibration(facts: StudyFacts) -> Section | None:
    best = facts.best
    if best is None or best.pixels is None:
        return None
    error = best.pixels.calibration_error()
    figure = plot_reliability(best.pixels, _judged_in_words(best, facts), width=_HALF_PAGE)
    text = f"Expected calibration error {error:.4f} over 15 equally wide bins (Guo et al. 2017), of all pixels."
    picture = Picture(as_svg(figure), f"Share of landslide over mean probability; calibration error {error:.4f}")
    return Section("calibration", "Calibration", paragraphs=[text], pictures=[picture])


def _judged_in_words(run: JudgedRun, facts: StudyFacts) -> str:
    which = "held out in folds" if facts.standings else "validation"
    return f"{which}, {len(run.counts.ids)} patches" if run.counts else which


def _article(name: str) -> str:
    return f"the {name}" if name.startswith("base") else name


def _test(facts: StudyFacts) -> Section:
    if not facts.tests and not facts.openings:
        run = facts.best_run_id or "RUN"
        why = "The test split has not been opened: no score of it exists. When all choices are made:"
        command = [f"lsml evaluate --run-id {run} --baseline"]
        return Section("test", "Test split", paragraphs=[why], commands=command)
    count = len(facts.openings)
    text = f"Scores of the sealed test split, which no trial saw. This study opened it {_times(count)}"
    text += ": later looks may have been informed by earlier ones." if count > 1 else "."
    tables = [_test_table(facts.tests, facts.best_run_id)] if facts.tests else []
    rows = [
        [str(entry.get(key) or "")[:40] for key in ("when", "who", "model", "data_fingerprint", "code_commit")]
        for entry in facts.openings
    ]
    if rows:
        columns = ["when", "who", "model", "data fingerprint", "code commit"]
        tables.append(Table("Openings of the test split", columns, rows, wide=True))
    if any(score.patches is not None and score.patches < LEAST_PATCHES for score in facts.tests):
        text += f" With fewer than {LEAST_PATCHES} patches, intervals are unreliable."
    return Section("test", "Test split", paragraphs=[text], tables=tables)


def _test_table(tests: Sequence[Evaluated], registered: str | None) -> Table:
    """A column a run; each is set against the registered one, where that was judged on the same patches."""
    names = dict.fromkeys(name for score in tests for name in score.scores)
    rows = [["patches", *("" if score.patches is None else str(score.patches) for score in tests)]]
    rows += [[name, *(_with_interval(score.scores.get(name)) for score in tests)] for name in names]
    if any(score.baseline_f1 is not None for score in tests):
        found = ("" if score.baseline_f1 is None else f"{score.baseline_f1:.4f}" for score in tests)
        rows.append(["F1 of the pixel baseline", *found])
    ahead = [_above(score, next((s for s in tests if s.run_id == registered), None)) for score in tests]
    if any(ahead):
        rows.append(["F1 above the registered one's", *ahead])
    rows.append(["run", *(score.run_id for score in tests)])
    columns = ["", *(score.name for score in tests)]
    return Table("Test scores, pooled over pixels, with 95 % intervals", columns, rows, wide=True)


def _above(score: Evaluated, reference: Evaluated | None) -> str:
    """The difference of F1 with its interval by patches resampled in pairs; empty where there is none to tell."""
    if reference is None or reference is score or score.counts is None or reference.counts is None:
        return ""
    if disagreement(score.counts, reference.counts):
        return ""
    ahead = f1_above(score.counts, reference.counts)
    low, high = ahead.interval
    return f"{ahead.value:+.4f} ({low:+.4f} to {high:+.4f})"


def _with_interval(score: tuple[float, float | None, float | None] | None) -> str:
    if score is None:
        return ""
    value, low, high = score
    return f"{value:.4f} ({low:.4f} to {high:.4f})" if low is not None and high is not None else f"{value:.4f}"


def _spent(facts: StudyFacts) -> Section | None:
    if not facts.spent:
        return None
    total = sum(entry.seconds for entry in facts.spent)
    kinds = list(dict.fromkeys((entry.role, entry.state) for entry in facts.spent))
    rows = []
    for role, state in kinds:
        found = [entry.seconds for entry in facts.spent if (entry.role, entry.state) == (role, state)]
        seconds = sum(found)
        share = f"{seconds / total:.0%}" if total else ""
        rows.append([role, state, str(len(found)), _hours(seconds), share, _hours(seconds / len(found))])
    ended = [trial for trial in facts.counted if trial.state in ("complete", "pruned", "failed")]
    pruned = sum(trial.state == "pruned" for trial in ended)
    text = f"{_hours(total)} of worker time in {len(facts.spent)} attempts."
    if ended:
        text += f" Pruned: {pruned} of {len(ended)} trials ({pruned / len(ended):.0%})."
    search = [(entry.slot, entry.state, entry.seconds) for entry in facts.spent if entry.role == "trial"]
    pictures = []
    if len(search) >= _FEW:
        alt = f"Minutes of each trial, {min(s for *_, s in search) / 60:.1f} to {max(s for *_, s in search) / 60:.1f}"
        pictures = [Picture(as_svg(figures.draw_time(search)), alt)]
    caption = "Wall-clock time of the attempts, by stage and by how they ended"
    table = Table(caption, ["stage", "state", "attempts", "time", "share", "mean"], rows)
    return Section("time", "Compute spent", paragraphs=[text], pictures=pictures, tables=[table])


def _data(facts: StudyFacts) -> Section:
    data = facts.data
    rows = [
        [
            split.name,
            f"{split.patches:,}",
            "" if split.empty is None else f"{split.empty:,}",
            "" if split.landslide_share is None else f"{split.landslide_share:.2%}",
            split.fingerprint,
        ]
        for split in data.splits
    ]
    columns = ["split", "patches", "without landslide", "landslide pixels", "fingerprint"]
    listed = [("Source", data.source), ("Folder", data.root), ("Scores are of", data.set_apart)]
    return Section(
        "data", "Data", facts=listed, tables=[Table("What was trained on and judged on", columns, rows, wide=True)]
    )


def _again(facts: StudyFacts) -> Section:
    best = facts.best
    commands = [f"lsml study show {facts.study}", f"lsml study report {facts.study}"]
    listed = [("Study's run", facts.run_id)]
    if best is not None:
        commands += [f"lsml reproduce {best.run_id}", f"lsml evaluate --run-id {facts.best_run_id or best.run_id}"]
        listed += list(best.environment.items())
        if best.config is not None:
            listed.append(("Seed of the training", str(best.config.seed)))
    text = "lsml reproduce trains the configuration again, seed included, and says whether the same scores come out."
    return Section("again", "How to reproduce", paragraphs=[text], facts=listed, commands=commands)


def _range(interval: Interval, sign: str = "") -> str:
    return f"{interval.low:{sign}.4f} to {interval.high:{sign}.4f}"


def _at(threshold: float | None) -> str:
    return "" if threshold is None else f" at threshold {threshold:.4g}, which validation chose"


def _title(name: str) -> str:
    words = name.replace("_", " ").replace(".", ": ")
    return words[:1].upper() + words[1:]


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _trials(n: int) -> str:
    return "trial" if n == 1 else "trials"


def _number(of: Sequence[object]) -> str:
    return {1: "trial", 2: "two", 3: "three", 4: "four", 5: "five"}[len(of)]


def _counts_in_words(facts: StudyFacts) -> str:
    states = [trial.state for trial in facts.counted]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _hours(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
