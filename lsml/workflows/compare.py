"""Compares runs as far as their scores are comparable, with each other and with published results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lsml.config.experiment import check_name
from lsml.data.splits import OWN, POOLED, ScoredSplit
from lsml.errors import ConfigError, DataError
from lsml.scoring.bootstrap import Difference
from lsml.scoring.comparison import (
    OFFICIAL_PATCHES,
    PUBLISHED,
    PatchCounts,
    PooledScore,
    PublishedScore,
    disagreement,
    f1_above,
    pooled_scores,
    read_counts,
)

_MOST_PICTURES = 4
_OF_NETWORKS = "model.architecture"


class Standing(NamedTuple):
    """One run among those compared.

    Attributes:
        run_id: the run whose scores these are; of a study the run of what it registered.
        name: of that run, told apart from the others'.
        scores: `f1`, `iou`, `precision`, `recall` over all pixels.
        ahead: F1 above that of the reference; None of the reference itself.
    """

    run_id: str
    name: str
    scores: Mapping[str, PooledScore]
    ahead: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Runs that may be ranked.

    Attributes:
        split: which of the runs' scores these are, `validation` or `test`.
        set_apart: how its patches were set apart, in words; `averaging` and `threshold` likewise.
        patches: how many.
        reference: the run that all others are held against: the first that was named, or a study's best.
        standings: the highest F1 first.
        parameters: those whose values differ, each with the value of every run in the order of `standings`; None
            where a run has no such parameter.
        figure: the PNG file.
    """

    split: ScoredSplit
    set_apart: str
    averaging: str
    threshold: str
    patches: int
    reference: str
    standings: tuple[Standing, ...]
    parameters: Mapping[str, Sequence[str | None]]
    figure: Path


@dataclass(frozen=True)
class _Contender:
    run: Any
    name: str
    counts: PatchCounts
    kind: Any
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return str(self.run.info.run_id)


def compare(run_ids: Sequence[str], *, study: str | None, top: int, split: ScoredSplit | None, out: Path) -> Comparison:
    """Compares runs by their tables of patches, and draws them into `out`, which is replaced.

    Args:
        run_ids: at least two, of trials, trainings or studies; none where `study` is given.
        study: whose best `top` complete trials to compare.
        split: which scores; None for the test split where all runs have been evaluated, else validation.

    Raises:
        ConfigError: neither or both of runs and study, fewer than two runs, or one run twice.
        DataError: scores that are not comparable, a run without a table of patches, or `out` cannot be written.
        StorageError: no such run or study.
    """
    from lsml.tracking.store import open_client

    if bool(run_ids) == bool(study):
        raise ConfigError("runs to compare", "give either runs or --study", "for instance lsml compare RUN RUN")
    if study:
        check_name("study", study)
    client = open_client()
    runs = _of_study(client, str(study), top) if study else _named(client, run_ids)
    name = split or _split_of_all(client, runs)
    contenders = [_contender(client, run, label, name) for run, label in zip(runs, _labels(runs), strict=True)]
    _check_comparable(contenders, name)
    return _compared(client, contenders, name, out)


def _named(client: Any, run_ids: Sequence[str]) -> list[Any]:
    """The runs of these ids; a study's stands for what it registered."""
    from lsml.tracking.runs import find_run
    from lsml.tracking.study import model_run_id

    if len(run_ids) < 2:
        raise ConfigError("runs to compare", "only one", "name at least two, or a study with --study NAME")
    runs = [find_run(client, model_run_id(find_run(client, run_id))) for run_id in run_ids]
    ids = [run.info.run_id for run in runs]
    if again := next((run_id for run_id in ids if ids.count(run_id) > 1), None):
        raise ConfigError("runs to compare", f"run {again} stands for two of them", "name different runs")
    return runs


def _of_study(client: Any, study: str, top: int) -> list[Any]:
    from lsml.tracking.study import best_trials

    runs = best_trials(client, study, top)
    if len(runs) < 2:
        raise ConfigError(f"study '{study}'", f"has {len(runs)} complete trials", "compare needs two: let it go on")
    return runs


def _split_of_all(client: Any, runs: Sequence[Any]) -> ScoredSplit:
    from lsml.tracking.scores import has_table

    return "test" if all(has_table(client, run.info.run_id, "test") for run in runs) else "validation"


def _labels(runs: Sequence[Any]) -> list[str]:
    """The runs' names; those that several have, with the start of the run's id."""
    names = [run.info.run_name or run.info.run_id[:8] for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} {run.info.run_id[:6]}"
        for name, run in zip(names, runs, strict=True)
    ]


def _contender(client: Any, run: Any, label: str, split: ScoredSplit) -> _Contender:
    from lsml.tracking.scores import score_kind

    return _Contender(
        run, label, counts_of(client, run, split), score_kind(run.data.tags, split), dict(run.data.params)
    )


def counts_of(client: Any, run: Any, split: ScoredSplit) -> PatchCounts:
    """A run's table of that split.

    Raises:
        DataError: it has none, or one that cannot be read.
        StorageError: MLflow cannot be asked.
    """
    from lsml.tracking.scores import TABLES, patch_table

    run_id = run.info.run_id
    text = patch_table(client, run_id, split)
    judge = f"judge it first: lsml evaluate --run-id {run_id}"
    if text is None:
        why = f"no {TABLES[split]}: " + (
            "it was never evaluated"
            if split == "test"
            else "it was trained by an older lsml, on all patches, or not to its end"
        )
        raise DataError(f"run {run_id}", why, judge if split == "test" else f"{judge}, and compare with --split test")
    try:
        return read_counts(text)
    except ValueError as error:
        raise DataError(f"run {run_id}", f"{TABLES[split]}: {error}", judge) from None


def _check_comparable(contenders: Sequence[_Contender], split: ScoredSplit) -> None:
    """All that must agree is equality, so it is enough to hold each against the first."""
    from lsml.tracking.scores import obstacle

    first = contenders[0]
    for other in contenders[1:]:
        why = obstacle(first.kind, other.kind) or disagreement(first.counts, other.counts)
        if why:
            raise DataError(
                f"{split} scores of runs {first.run_id} and {other.run_id} are not comparable",
                why,
                "compare runs that were judged in the same way on the same patches",
            )


def _compared(client: Any, contenders: Sequence[_Contender], split: ScoredSplit, out: Path) -> Comparison:
    reference = contenders[0]
    standings = [
        Standing(
            contender.run_id,
            contender.name,
            pooled_scores(contender.counts),
            None if contender is reference else f1_above(contender.counts, reference.counts),
        )
        for contender in contenders
    ]
    # Stable: of equal scores the one named first comes first.
    order = sorted(range(len(standings)), key=lambda place: -standings[place].scores["f1"].value)
    ranked = tuple(standings[place] for place in order)
    comparison = Comparison(
        split=split,
        set_apart=reference.kind.split,
        averaging=reference.kind.averaging,
        threshold=reference.kind.threshold,
        patches=len(reference.counts.ids),
        reference=reference.run_id,
        standings=ranked,
        parameters=_differing([contenders[place].params for place in order]),
        figure=out,
    )
    _draw(client, comparison)
    return comparison


def _differing(params: Sequence[Mapping[str, str]]) -> dict[str, list[str | None]]:
    """A baseline and an ensemble have parameters of their own: those of networks are listed where networks differ."""
    networks = [values for values in params if _OF_NETWORKS in values]
    names = sorted({name for values in params for name in values})
    known = {name for values in networks for name in values}
    differ = [n for n in names if len({values.get(n) for values in (networks if n in known else params)}) > 1]
    return {name: [values.get(name) for values in params] for name in differ}


def _draw(client: Any, comparison: Comparison) -> None:
    from lsml.plots.comparison import Row, draw_runs
    from lsml.tracking.scores import picture_files, pictures

    run_ids = [standing.run_id for standing in comparison.standings]
    shared = set.intersection(*(set(picture_files(client, run_id, comparison.split)) for run_id in run_ids))
    patches = sorted(shared, key=lambda patch: (len(patch), patch))[:_MOST_PICTURES]
    rows = [
        Row(
            standing.name,
            standing.scores["f1"],
            standing.ahead,
            pictures(client, standing.run_id, comparison.split, patches),
        )
        for standing in comparison.standings
    ]
    try:
        comparison.figure.parent.mkdir(parents=True, exist_ok=True)
        comparison.figure.write_bytes(
            draw_runs(rows, patches, split=comparison.split, set_apart=comparison.set_apart, n=comparison.patches)
        )
    except OSError as error:
        raise DataError(
            f"figure {comparison.figure}", f"cannot be written ({error.strerror})", "name another with --out FILE"
        ) from None


class Board(NamedTuple):
    """One official split.

    Attributes:
        f1: the run's.
        published: results on the same split with the same averaging, the highest first.
        place: the run's among them, from 1.
    """

    split: ScoredSplit
    patches: int
    f1: PooledScore
    published: tuple[PublishedScore, ...]
    place: int


@dataclass(frozen=True)
class Leaderboard:
    """A run on every official split that it was judged on.

    Attributes:
        run_id: the run whose scores these are; of a study that of what it registered.
        boards: test first.
        apart: published results of another split or averaging, which no run is ranked beside.
    """

    run_id: str
    boards: tuple[Board, ...]
    apart: tuple[PublishedScore, ...]


def leaderboard(run_id: str) -> Leaderboard:
    """Sets a run beside the published results.

    Which patches a run was judged on is read off its tags and its table: a split in a folder of its own, not
    synthetic, with as many patches as the official one. What is in the files cannot be compared: official checksums
    are not known.

    Raises:
        DataError: it was judged on no official split.
        StorageError: no such run.
    """
    from lsml.tracking.runs import find_run
    from lsml.tracking.scores import has_table
    from lsml.tracking.store import open_client
    from lsml.tracking.study import model_run_id

    client = open_client()
    run = find_run(client, model_run_id(find_run(client, run_id)))
    found = run.info.run_id
    judged: dict[ScoredSplit, PatchCounts] = {
        split: counts_of(client, run, split) for split in ("test", "validation") if has_table(client, found, split)
    }
    reasons = {split: _why_not(run, split, counts) for split, counts in judged.items()}
    boards = tuple(_board(split, counts) for split, counts in judged.items() if reasons[split] is None)
    if not boards:
        why = "; ".join(str(reason) for reason in reasons.values()) or "it has no scores by patch"
        raise DataError(
            f"run {found}",
            why,
            "only a run that was judged on the official splits has a place beside published results",
        )
    apart = tuple(score for score in PUBLISHED if score.averaging != POOLED or score.split not in OFFICIAL_PATCHES)
    return Leaderboard(found, boards, apart)


def _why_not(run: Any, split: ScoredSplit, counts: PatchCounts) -> str | None:
    """Why the run's score of that split stands beside no published one; None where it does."""
    from lsml.tracking.scores import score_kind

    kind = score_kind(run.data.tags, split)
    if kind.split != OWN:
        return f"its {split} patches are not the official ones: {kind.split}"
    if kind.averaging != POOLED:
        return f"its {split} score is not {POOLED}: {kind.averaging}"
    wanted = OFFICIAL_PATCHES[split]
    return None if len(counts.ids) == wanted else f"it has {len(counts.ids)} {split} patches, the official {wanted}"


def _board(split: ScoredSplit, counts: PatchCounts) -> Board:
    f1 = pooled_scores(counts)["f1"]
    published = sorted(
        (score for score in PUBLISHED if score.split == split and score.averaging == POOLED),
        key=lambda score: -score.f1,
    )
    better = sum(score.f1 > f1.value for score in published)
    return Board(split, len(counts.ids), f1, tuple(published), better + 1)
