"""What a study's report says, part by part; a part without data says why in a sentence or is left out."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from lsml.config.fields import Scalar, flatten, format_amount, format_value
from lsml.config.schema import TrainConfig
from lsml.names import LEAVE_ONE_REGION_OUT, VERSION, Artifact, Metric, Role, State
from lsml.plots import OUTCOMES
from lsml.report.facts import ScoredRun, StudyFacts
from lsml.report.html import PageSection, StudyFigures, as_svg, outcome_png, render, true_colour_png
from lsml.report.scores import score_sections
from lsml.report.summary import Picture, Table
from lsml.scoring.bootstrap import MIN_PATCHES
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.regions import RegionScore

_FEW = 2

_Maker = Callable[[StudyFacts], PageSection | None]


def study_page(facts: StudyFacts) -> str:
    """The report of a study as one HTML file."""
    return _page(facts, _sections(facts))


def study_files(facts: StudyFacts) -> dict[str, bytes]:
    """The report and its figures, these as SVG each, by their paths among the files of the study's run."""
    sections = _sections(facts)
    figures = {
        f"{Artifact.FIGURES}{section.key}-{number}.svg": picture.content
        for section in sections
        for number, picture in enumerate(section.pictures, start=1)
    }
    return {Artifact.REPORT: _page(facts, sections).encode(), **figures, **StudyFigures(facts).files()}


def _page(facts: StudyFacts, sections: Sequence[PageSection]) -> str:
    lead = f"Report of a study by lsml. {facts.description}".strip()
    return render(f"Study {facts.study}", lead, sections)


def _sections(facts: StudyFacts) -> list[PageSection]:
    first: Sequence[_Maker] = (
        _answer,
        _asked,
        _configuration,
        _importance,
        _history,
        _coordinates,
        _front,
        _standings,
        _regions,
        _curves,
        _panels,
    )
    last: Sequence[_Maker] = (_spent, _data, _methods, _reproduce)
    before, after = ([section for maker in makers if (section := maker(facts))] for makers in (first, last))
    return [*before, *score_sections(facts), *after]


def _answer(facts: StudyFacts) -> PageSection:
    best = facts.best
    if best is None:
        why = "No trial has completed, so there is no score yet."
        return PageSection("answer", "Answer", paragraphs=[why], facts=[("State", facts.state)])
    listed = [("Registered", facts.registered or "nothing yet"), ("State", facts.state)]
    listed += [("Promotion", facts.promotion)] if facts.promotion else []
    listed += [("Run", facts.best_run_id or best.run_id), ("Trials", facts.describe_counts()), *facts.describe_choice()]
    biased = "This score is optimistically biased: epoch, threshold and configuration were chosen on the same patches; "
    biased += "scores of the test split are below." if facts.tests else "the test split had not been opened."
    if best.counts is None:
        text = f"Pooled over all pixels, by {best.article}; its run has no table of patches, so no interval."
        return PageSection("answer", "Answer", f"F1 {best.f1:.4f}", [text, biased], listed)
    f1 = best.counts.scores()["f1"]
    headline = f"F1 {f1.value:.4f}, 95 % interval {f1.interval.describe()}"
    paragraphs = [_describe_score(best, best.counts, facts.data.split_protocol)]
    if f"{best.f1:.4f}" != f"{f1.value:.4f}":
        paragraphs.append(f"The search itself had {best.f1:.4f}, before the network was exported in float32.")
    others = {run.name: run.counts for run in facts.rivals if run.counts is not None}
    comparable = {name: counts for name, counts in others.items() if not best.counts.disagreement(counts)}
    pictures = [_scores_picture(best, comparable)] if comparable else []
    tables = [_differences_table(best, best.counts, comparable)] if comparable else []
    return PageSection("answer", "Answer", headline, [*paragraphs, biased], listed, pictures=pictures, tables=tables)


def _describe_score(best: ScoredRun, counts: PatchCounts, split_protocol: str) -> str:
    n = len(counts.ids)
    return (
        f"Of the landslide class, pooled over all pixels of {n} patches ({split_protocol}), by {best.article}"
        f"{best.at_threshold}. The interval comes from resampled patches"
        + (f"; with fewer than {MIN_PATCHES} patches it is unreliable." if n < MIN_PATCHES else ".")
    )


def _differences_table(best: ScoredRun, counts: PatchCounts, others: Mapping[str, PatchCounts]) -> Table:
    rows, ahead = [], {name: counts.f1_above(other) for name, other in others.items()}
    for name, found in ahead.items():
        f1, interval = others[name].scores()["f1"].value, found.interval
        verdict = "ahead" if found.is_ahead else "behind" if interval.high < 0 else "no clear difference"
        rows.append([name, f"{f1:.4f}", f"{found.value:+.4f}", interval.describe("+"), verdict])
    told = statistics.median((found.interval.high - found.interval.low) / 2 for found in ahead.values())
    title = f"How far {best.article} is ahead; these patches tell no less than about {told:.2f} apart"
    return Table(title, ["against", "F1", "difference", "95 % interval", ""], rows)


def _scores_picture(best: ScoredRun, others: Mapping[str, PatchCounts]) -> Picture:
    assert best.counts is not None
    scores = {best.name: best.counts.scores()["f1"]}
    scores |= {name: counts.scores()["f1"] for name, counts in others.items()}
    told = "; ".join(f"{name} {score.value:.3f} ({score.interval.describe()})" for name, score in scores.items())
    return Picture(as_svg(StudyFigures.scores(scores, len(best.counts.ids))), f"F1 with 95 % intervals: {told}")


def _asked(facts: StudyFacts) -> PageSection:
    settings = {name.removeprefix("study."): value for name, value in facts.settings.items()}
    hidden = ("name", "experiment", "searched")
    rows = [[name, values] for name, values in facts.searched.items()]
    listed = [("Experiment", facts.experiment), ("Data", facts.data.source)]
    listed += [("Split protocol", facts.data.split_protocol)]
    listed += [(_title(name), value) for name, value in settings.items() if name not in hidden]
    tables = [Table("The search space", ["field", "values"], rows)] if rows else []
    return PageSection("asked", "Experiment and search space", facts=listed, tables=tables)


def _configuration(facts: StudyFacts) -> PageSection | None:
    best, base = facts.best, facts.base
    if best is None or best.config is None:
        return None
    values: dict[str, dict[str, Scalar]] = {"default": flatten(TrainConfig())}
    values |= {"base": flatten(base)} if base else {}
    values["best"] = flatten(best.config)
    fields = [name for name in values["default"] if name != "seed"]
    shown = [name for name in fields if name in facts.searched or len({of[name] for of in values.values()}) > 1]
    rows = [[name, *(format_value(of[name]) for of in values.values())] for name in shown]
    marked = [at for at, name in enumerate(shown) if base and values["best"][name] != values["base"][name]]
    text = f"That of {best.article}. "
    if base:
        text += (
            f"Shaded: {len(marked)} fields in which it differs from the base." if marked else "It is the base itself."
        )
    caption = "Fields that were searched, and others that differ from lsml's defaults"
    table = Table(caption, ["field", *values], rows, frozenset(marked))
    return PageSection("configuration", "Best configuration", paragraphs=[text.strip()], tables=[table])


def _importance(facts: StudyFacts) -> PageSection:
    if not facts.importance:
        why = "Importances need two complete trials of different F1, and a field that was searched."
        return PageSection("importance", "Parameter importance", paragraphs=[why])
    told = ", ".join(f"{name} {share:.0%}" for name, share in list(facts.importance.items())[:3])
    n = len(facts.complete)
    text = (
        "How much each field decides whether a trial is among the best, by PED-ANOVA (Watanabe et al. 2023) over the "
        f"{n} complete {_trials(n)}; a field that only some have counts with these."
        + (" So few trials make this a hint, no finding." if n < 10 * len(facts.importance) else "")
    )
    picture = Picture(as_svg(StudyFigures(facts).importance()), f"Importance: {told}")
    return PageSection("importance", "Parameter importance", paragraphs=[text], pictures=[picture])


def _history(facts: StudyFacts) -> PageSection | None:
    shown = [trial for trial in facts.counted if trial.f1 is not None]
    if len(shown) < _FEW:
        return None
    first, best = shown[0], max(facts.complete or shown, key=lambda trial: trial.f1 or 0.0)
    alt = f"F1 of {len(shown)} trials: {first.f1:.3f} in trial {first.slot}, at best {best.f1:.3f} in trial {best.slot}"
    picture = Picture(as_svg(StudyFigures(facts).history()), alt)
    table = Table.of_trials(
        sorted(shown, key=lambda trial: -(trial.f1 or 0.0)),
        [name for name in facts.searched if any(name in trial.values for trial in shown)],
        title="All trials with an F1, the highest first; that of a pruned trial is of its last epoch or fold",
        cost_unit=facts.cost_unit,
    )
    failed = [f"Trial {trial.slot} failed: {trial.reason}" for trial in facts.counted if trial.state == State.FAILED]
    return PageSection("history", "Optimization history", paragraphs=failed, pictures=[picture], tables=[table])


def _coordinates(facts: StudyFacts) -> PageSection | None:
    fields = [name for name in facts.searched if any(name in trial.values for trial in facts.complete)]
    if len(facts.complete) < _FEW or not fields:
        return None
    figure = StudyFigures(facts).parallel(fields)
    best = max(facts.complete, key=lambda trial: trial.f1 or 0.0)
    told = ", ".join(f"{name} {format_value(value)}" for name, value in best.values.items())
    caption = "A line a complete trial, the darker the higher its F1; orange is the best. The ends of an axis are the "
    caption += "smallest and the largest value that was tried."
    alt = f"Searched fields and F1 of {len(facts.complete)} complete trials; the best, trial {best.slot}: {told}"
    picture = Picture(as_svg(figure), alt, caption, wide=True)
    return PageSection("coordinates", "Parallel coordinates", pictures=[picture])


def _front(facts: StudyFacts) -> PageSection | None:
    if facts.cost_unit is None or not facts.front:
        return None
    unit = facts.cost_unit
    points = [(best["cost"], best["f1"]) for best in facts.front]
    told = "; ".join(f"F1 {f1:.3f} with {format_amount(cost)}" for cost, f1 in points)
    picture = Picture(as_svg(StudyFigures(facts).front()), f"F1 against {unit}: {told}")
    table = Table.of_front(facts.front, unit, "The Pareto front: no trial is better in one and no worse in the other")
    return PageSection("front", f"F1 against {unit}", pictures=[picture], tables=[table])


def _standings(facts: StudyFacts) -> PageSection | None:
    tables = []
    if facts.standings:
        title = f"F1 over all out-of-fold pixels ({facts.data.split_protocol}), with one fresh seed"
        tables.append(Table.of_standings(facts.standings, title))
    if len(facts.best_per_architecture) > 1:
        tables.append(Table.of_architectures(facts.best_per_architecture, "Each is a version of the registered model"))
    title = "Standings" if facts.standings else "The best of each architecture"
    return PageSection("standings", title, tables=tables) if tables else None


def _regions(facts: StudyFacts) -> PageSection | None:
    best, protocol = facts.best, facts.data.split_protocol
    worst = RegionScore.worst(best.regions) if best else None
    if best is None or worst is None or len(best.regions) < _FEW:
        return None
    title = "Leave one region out" if protocol.startswith(LEAVE_ONE_REGION_OUT) else "F1 by region"
    text = f"Of {protocol}, by {best.article}{best.at_threshold}. The worst is {worst.describe()}."
    picture = Picture(as_svg(StudyFigures(facts).regions()), f"F1 by region. {text}")
    table = Table.of_regions(best.regions, "95 % intervals in brackets, from the region's own patches resampled")
    return PageSection("regions", title, paragraphs=[text], pictures=[picture], tables=[table])


def _curves(facts: StudyFacts) -> PageSection | None:
    trials = facts.top_trials
    drawn = []
    for metric, label in ((Metric.VAL_F1, "validation F1"), (Metric.VAL_LOSS, "validation loss")):
        of = [trial for trial in trials if len(trial.curves.get(metric, ((), ()))[0]) >= _FEW]
        if of:
            positive = all(min(trial.curves[metric][1]) > 0 for trial in of)
            figure = StudyFigures.curves(of, metric, label, logarithmic=metric == Metric.VAL_LOSS and positive)
            ends = ", ".join(f"{trial.name} {trial.curves[metric][1][-1]:.3f} at its end" for trial in of)
            caption = ""
            if metric == Metric.VAL_LOSS and any(name.startswith("loss.") for name in facts.searched):
                caption = "Each trial's own loss: where the loss is searched, only the shapes compare."
            drawn.append(Picture(as_svg(figure), f"{label} over each {of[0].noun}: {ends}", caption))
    return PageSection("curves", f"Training of the best {_number(trials)}", pictures=drawn) if drawn else None


def _panels(facts: StudyFacts) -> PageSection | None:
    runs = [trial for trial in facts.top_trials if trial.pictures]
    shared = set.intersection(*(set(run.pictures) for run in runs)) if runs else set()
    if not shared:
        return None
    patches = sorted(shared, key=lambda patch: (len(patch), patch))
    first = [Picture(true_colour_png(runs[0].pictures[patch]), f"{patch} in true colour") for patch in patches]
    rows: list[list[str | Picture]] = [["true colour", *first]]
    for run in runs:
        alt = f"Hits, misses and false alarms of {run.name} on"
        drawn = [Picture(outcome_png(run.pictures[patch]), f"{alt} {patch}") for patch in patches]
        rows.append([f"{run.name}, F1 {run.f1:.4f}", *drawn])
    caption = "Validation patches that every trial draws, chosen evenly from the least landslide to the most"
    table = Table(caption, ["", *patches], rows, wide=True)
    return PageSection("panels", "The same patches by the best trials", legend=list(OUTCOMES.items()), tables=[table])


def _methods(facts: StudyFacts) -> PageSection | None:
    best, settings = facts.best, facts.settings
    if best is None:
        return None
    splits = " and ".join(f"{split.patches:,} {split.name} patches" for split in facts.data.splits)
    engine = {"optuna": "Optuna", "keras-tuner": "KerasTuner"}.get(settings.get("study.engine", ""), "Optuna")
    by = " and ".join(
        f"{settings[f'study.{part}']} {part}" for part in ("tuner", "sampler", "pruner") if f"study.{part}" in settings
    )
    count = len(facts.counted)
    tried = (
        f"{count} {'configuration' if count == 1 else 'configurations'} ({facts.describe_counts()}) tried with {engine}"
    )
    opened = f"The test split was opened {facts.describe_openings()}." if facts.openings else ""
    text = (
        f"Networks for landslide segmentation were tuned with lsml {VERSION} on {splits} "
        f"({facts.data.split_protocol}): {tried}{f' ({by})' if by else ''}, which searched {len(facts.searched)} "
        "hyperparameters for the highest F1 of the landslide class, pooled over all validation pixels at the best "
        f"threshold. Reported is {best.article}, F1 {best.f1:.4f}{best.at_threshold}. Intervals are of 95 %, from "
        f"resampled patches. {opened}"
    )
    return PageSection("methods", "Methods, to cite", paragraphs=[text.strip()])


def _spent(facts: StudyFacts) -> PageSection | None:
    if not facts.spent:
        return None
    total = sum(entry.seconds for entry in facts.spent)
    kinds = list(dict.fromkeys((entry.role, entry.state) for entry in facts.spent))
    rows = []
    for role, state in kinds:
        times = [entry.seconds for entry in facts.spent if (entry.role, entry.state) == (role, state)]
        seconds = sum(times)
        share = f"{seconds / total:.0%}" if total else ""
        rows.append([role, state, str(len(times)), _hours(seconds), share, _hours(seconds / len(times))])
    ended = [trial for trial in facts.counted if trial.state in (State.COMPLETE, State.PRUNED, State.FAILED)]
    pruned = sum(trial.state == State.PRUNED for trial in ended)
    text = f"{_hours(total)} of worker time in {len(facts.spent)} attempts."
    if ended:
        text += f" Pruned: {pruned} of {len(ended)} trials ({pruned / len(ended):.0%})."
    search = [(entry.slot, entry.state, entry.seconds) for entry in facts.spent if entry.role == Role.TRIAL]
    pictures = []
    if len(search) >= _FEW:
        alt = f"Minutes of each trial, {min(s for *_, s in search) / 60:.1f} to {max(s for *_, s in search) / 60:.1f}"
        pictures = [Picture(as_svg(StudyFigures(facts).time()), alt)]
    caption = "Wall-clock time of the attempts, by stage and by how they ended"
    table = Table(caption, ["stage", "state", "attempts", "time", "share", "mean"], rows)
    return PageSection("time", "Compute", paragraphs=[text], pictures=pictures, tables=[table])


def _data(facts: StudyFacts) -> PageSection:
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
    listed = [("Source", data.source), ("Folder", data.root), ("Split protocol", data.split_protocol)]
    table = Table("Training and scored splits", columns, rows, wide=True)
    return PageSection("data", "Data", facts=listed, tables=[table])


def _reproduce(facts: StudyFacts) -> PageSection:
    best = facts.best
    commands = [f"lsml study show {facts.study}", f"lsml report {facts.study}"]
    listed = [("Study's run", facts.run_id)]
    if best is not None:
        commands += [f"lsml reproduce {best.run_id}", f"lsml evaluate --run-id {facts.best_run_id or best.run_id}"]
        listed += list(best.environment.items())
        if best.config is not None:
            listed.append(("Seed of the training", str(best.config.seed)))
    text = "lsml reproduce trains the configuration again, seed included, and says whether the same scores come out."
    return PageSection("again", "How to reproduce", paragraphs=[text], facts=listed, commands=commands)


def _title(name: str) -> str:
    words = name.replace("_", " ").replace(".", ": ")
    return words[:1].upper() + words[1:]


def _trials(n: int) -> str:
    return "trial" if n == 1 else "trials"


def _number(of: Sequence[object]) -> str:
    return ("trial", "two", "three", "four", "five")[len(of) - 1]


def _hours(seconds: float) -> str:
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"
