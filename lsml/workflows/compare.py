"""Compares runs as far as their scores are comparable, with each other and with published results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsml.errors import ConfigError, DataError
from lsml.names import ScoredSplit
from lsml.plots.comparison import draw_comparison
from lsml.scoring.comparison import (
    Board,
    ComparedRun,
    PatchCounts,
    ScoredModel,
    differing_parameters,
    rank_runs,
)
from lsml.tracking.reading import RunReader
from lsml.tracking.runs import score_kind
from lsml.tracking.store import Client, Run, open_store
from lsml.tracking.study import best_trials, model_run, named_run

_MAX_PICTURES = 4
_OF_NETWORKS = "model.architecture"


@dataclass(frozen=True)
class Comparison:
    """Runs that may be ranked.

    Attributes:
        split: which of the runs' scores these are, `validation` or `test`.
        split_protocol: how its patches were held out, as text; `averaging` and `threshold` likewise.
        patches: how many.
        reference: the run that all others are compared with: the first that was named, or a study's best.
        runs: the highest F1 first.
        parameters: those whose values differ, each with the value of every run in the order of `runs`; None where a
            run has no such parameter.
        figure: the PNG file.
    """

    split: ScoredSplit
    split_protocol: str
    averaging: str
    threshold: str
    patches: int
    reference: str
    runs: tuple[ComparedRun, ...]
    parameters: Mapping[str, Sequence[str | None]]
    figure: Path


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
    if bool(run_ids) == bool(study):
        raise ConfigError("runs to compare", "give either runs or --study", "for instance lsml compare RUN RUN")
    client = open_store()
    runs = _of_study(client, str(study), top) if study else _named(client, run_ids)
    readers = {reader.id: reader for reader in (RunReader(client, run) for run in runs)}
    name = split or _split_of_all(readers.values())
    scored = [reader.scored_model(name) for reader in readers.values()]
    scored[0].check_comparable(scored[1:], split=name)
    comparison = _compared(readers, scored, name, out)
    _draw([readers[run.run_id] for run in comparison.runs], comparison)
    return comparison


def _named(client: Client, run_ids: Sequence[str]) -> list[Run]:
    """The runs of these ids; a study's stands for what it registered."""
    if len(run_ids) < 2:
        raise ConfigError("runs to compare", "only one", "give at least two, or a study with --study NAME")
    runs = [model_run(client, named_run(client, run_id)) for run_id in run_ids]
    ids = [run.info.run_id for run in runs]
    if twice := next((run_id for run_id in ids if ids.count(run_id) > 1), None):
        raise ConfigError("runs to compare", f"run {twice} stands for two of them", "name different runs")
    return runs


def _of_study(client: Client, study: str, top: int) -> list[Run]:
    runs = best_trials(client, study, top)
    if len(runs) < 2:
        raise ConfigError(
            f"study '{study}'", f"has {len(runs)} complete trials", "two are needed: continue it with more --trials"
        )
    return runs


def _split_of_all(readers: Iterable[RunReader]) -> ScoredSplit:
    return "test" if all(reader.has_table("test") for reader in readers) else "validation"


def _labels(runs: Sequence[Run]) -> list[str]:
    """The runs' names; those that several have, with the start of the run's id."""
    names = [run.info.run_name or run.info.run_id[:8] for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} {run.info.run_id[:6]}"
        for name, run in zip(names, runs, strict=True)
    ]


def _compared(
    readers: Mapping[str, RunReader], scored: Sequence[ScoredModel], split: ScoredSplit, out: Path
) -> Comparison:
    reference = scored[0]
    names = dict(zip(readers, _labels([reader.run for reader in readers.values()]), strict=True))
    ranked = rank_runs(names, {model.run_id: model.counts for model in scored})
    return Comparison(
        split=split,
        split_protocol=reference.kind.split,
        averaging=reference.kind.averaging,
        threshold=reference.kind.threshold,
        patches=len(reference.counts.ids),
        reference=reference.run_id,
        runs=tuple(ranked),
        parameters=differing_parameters(
            [readers[run.run_id].parameters() for run in ranked], network_field=_OF_NETWORKS
        ),
        figure=out,
    )


def _draw(readers: Sequence[RunReader], comparison: Comparison) -> None:
    split = comparison.split
    shared = set.intersection(*(set(reader.picture_files(split)) for reader in readers))
    patches = sorted(shared, key=lambda patch: (len(patch), patch))[:_MAX_PICTURES]
    png = draw_comparison(
        comparison.runs,
        [reader.pictures(split, patches) for reader in readers],
        patches,
        split=split,
        split_protocol=comparison.split_protocol,
        n=comparison.patches,
    )
    try:
        comparison.figure.parent.mkdir(parents=True, exist_ok=True)
        comparison.figure.write_bytes(png)
    except OSError as error:
        raise DataError(
            f"figure {comparison.figure}", f"cannot be written ({error.strerror})", "choose another with --out FILE"
        ) from None


def leaderboard(run_id: str) -> tuple[str, tuple[Board, ...]]:
    """Ranks a run among the published results of each official split that it was scored on, test first.

    Gives the run whose scores these are, of a study that of what it registered, and the rankings.

    Which patches a run was scored on is read off its tags and its table: a split in a folder of its own, not
    synthetic, with as many patches as the official one. What is in the files cannot be compared: official checksums
    are not known.

    Raises:
        DataError: it was scored on no official split.
        StorageError: no such run.
    """
    client = open_store()
    run = model_run(client, named_run(client, run_id))
    reader = RunReader(client, run)
    scored: dict[ScoredSplit, PatchCounts] = {
        split: reader.counts(split) for split in ("test", "validation") if reader.has_table(split)
    }
    reasons = {
        split: score_kind(run.data.tags, split).why_unofficial(split, len(counts.ids))
        for split, counts in scored.items()
    }
    boards = tuple(Board.of(split, counts) for split, counts in scored.items() if reasons[split] is None)
    if not boards:
        raise DataError(
            f"run {reader.id}",
            "; ".join(str(reason) for reason in reasons.values()) or "it has no scores by patch",
            "only a run that was scored on the official splits has a place beside published results",
        )
    return reader.id, boards
