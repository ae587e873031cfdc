"""`lsml compare` and `lsml leaderboard`: runs beside each other, and beside published results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.jobs.compare import Comparison
    from lsml.jobs.leaderboard import Board, Leaderboard


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(help="ids of trials', studies' or trainings' runs", metavar="RUN")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="compare this study's best trials", parser=options.text, metavar="NAME"),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="how many of them", min=2, max=20, metavar="N")] = 5,
    split: Annotated[
        Literal["test", "validation"] | None,
        typer.Option("--split", help="whose scores  [default: test where all have them]", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write", metavar="FILE")] = Path("compare.png"),
    json: options.Json = False,
) -> None:
    """Set runs side by side, if their scores may be compared.

    Differences are held against the first run that is named, or the study's best.
    """
    from lsml.jobs.compare import compare as job

    found = job(runs or [], study=study, top=top, split=split, out=out)
    if json:
        _print_json(_comparison_record(found))
    else:
        _print_comparison(found)


def leaderboard(
    run_id: Annotated[str, typer.Argument(help="id of a trial's, a study's or a training's run", metavar="RUN")],
    json: options.Json = False,
) -> None:
    """Set a run beside the published results, if it was judged on the official split."""
    from lsml.jobs.leaderboard import leaderboard as job

    found = job(run_id)
    if json:
        _print_json(_leaderboard_record(found))
    else:
        _print_leaderboard(found)


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value))


def _comparison_record(found: "Comparison") -> dict[str, Any]:
    runs = [
        {
            "run_id": standing.run_id,
            "name": standing.name,
            **{name: score.value for name, score in standing.scores.items()},
            "intervals": {name: list(score.interval) for name, score in standing.scores.items()},
            "f1_above_reference": standing.ahead._asdict() if standing.ahead else None,
            "parameters": {name: values[place] for name, values in found.parameters.items()},
        }
        for place, standing in enumerate(found.standings)
    ]
    return {
        "split": found.split,
        "set_apart": found.set_apart,
        "averaging": found.averaging,
        "threshold": found.threshold,
        "n_patches": found.patches,
        "intervals_reliable": _reliable(found.patches),
        "reference_run_id": found.reference,
        "runs": runs,
        "figure": str(found.figure),
    }


def _reliable(patches: int) -> bool:
    from lsml.bootstrap import LEAST_PATCHES

    return patches >= LEAST_PATCHES


def _print_comparison(found: "Comparison") -> None:
    from lsml.cli.output import print_table

    names = [standing.name for standing in found.standings]
    if found.parameters:
        rows = [[name, *(_parameter(value) for value in of)] for name, of in found.parameters.items()]
        print_table(["parameters that differ", *names], rows)
    else:
        typer.echo("no parameter differs")
    rows = []
    for standing in found.standings:
        scores = [f"{score.value:.4f} ({_range(score.interval)})" for score in standing.scores.values()]
        ahead = standing.ahead
        against = f"{ahead.value:+.4f} ({_range(ahead.interval, '+')})" if ahead else "the reference"
        rows.append([standing.name, *scores, against, standing.run_id])
    print_table(
        ["95 % intervals in brackets", *found.standings[0].scores, "F1 against the reference", "run"],
        rows,
        title=f"{found.split} split, {found.patches} patches",
    )
    typer.echo(f"{found.split} patches: {found.set_apart}; scores {found.averaging}; threshold: {found.threshold}")
    if found.split == "validation":
        typer.echo("what a search has chosen by these scores is flattered by them: lsml evaluate judges unseen patches")
    _warn(found.patches)
    typer.echo(f"drew {found.figure}")


def _parameter(value: str | None) -> str:
    """As MLflow has it, a fraction in four digits."""
    if value is None or value.isdigit():
        return value or ""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _range(interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.4f} to {high:{sign}.4f}"


def _warn(patches: int) -> None:
    from lsml.bootstrap import LEAST_PATCHES

    if not _reliable(patches):
        typer.echo(f"intervals are unreliable: fewer than {LEAST_PATCHES} patches")


def _leaderboard_record(found: "Leaderboard") -> dict[str, Any]:
    boards = {
        board.split: {
            "n_patches": board.patches,
            "f1": board.f1.value,
            "interval": list(board.f1.interval),
            "place": board.place,
            "published": [score._asdict() for score in board.published],
        }
        for board in found.boards
    }
    apart = [score._asdict() for score in found.apart]
    return {"run_id": found.run_id, "boards": boards, "not_comparable": apart, "contents_verified": False}


def _print_leaderboard(found: "Leaderboard") -> None:
    from lsml.cli.output import print_table

    for board in found.boards:
        title = f"official {board.split} split, {board.patches} patches: F1 of the landslide class, pooled over pixels"
        print_table(["system", "F1", "uncertainty", "source"], _rows(board, found.run_id), title=title)
        if board.split == "validation":
            typer.echo("this run's threshold, and maybe the run itself, was chosen on these patches: that flatters it")
    for score in found.apart:
        typer.echo(f"not comparable: {score.system}, {score.f1:.4f} ({score.spread}; {score.split}, {score.averaging})")
    typer.echo("official by their folders and their number; contents unverified: official checksums are not known")


def _rows(board: "Board", run_id: str) -> list[list[str]]:
    rows = [[score.system, f"{score.f1:.4f}", score.spread, score.source] for score in board.published]
    low, high = board.f1.interval
    own = [f"run {run_id}", f"{board.f1.value:.4f}", f"{low:.4f} to {high:.4f} (95 %, patches resampled)", "MLflow"]
    rows.insert(board.place - 1, own)
    return rows
