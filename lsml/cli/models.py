"""`lsml compare`, `leaderboard`, `ensemble`, `promote` and `rollback`: models beside each other and in the registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.scoring.bootstrap import Difference
    from lsml.workflows.compare import Board, Comparison, Leaderboard
    from lsml.workflows.ensemble import Ensemble
    from lsml.workflows.promote import Promotion


def ensemble(
    study: Annotated[str, typer.Argument(help="name of a study that has ended", metavar="STUDY")],
    members: Annotated[
        int, typer.Option("--members", help="members at most; a model may be taken several times", min=2, max=100)
    ] = 8,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="registered model, instead of the study's own", parser=options.text, metavar="MODEL"
        ),
    ] = None,
    data: options.Data = None,
    storage: options.Storage = None,
    json: options.Json = False,
) -> None:
    """Register the mean of a study's best models as one model, without training."""
    from lsml.cli.output import Reporter
    from lsml.workflows.ensemble import ensemble as job

    with Reporter() as reporter:
        found = job(study, most=members, name=name, storage=storage, data=data, progress=reporter.step)
    if json:
        import json as encoder
        from dataclasses import asdict

        record = asdict(found) | {"members": [member._asdict() for member in found.members]}
        typer.echo(encoder.dumps(record | {"held_out": found.held_out and found.held_out._asdict()}))
    else:
        _print_ensemble(found)


def _print_ensemble(found: "Ensemble") -> None:
    from lsml.cli.output import print_table

    rows = [[f"trial {m.trial}", str(m.weight), f"{m.f1:.4f}", m.run_id] for m in found.members]
    title = f"ensemble of {len(rows)} of {found.candidates} models of study {found.study}"
    print_table(["member", "counts", "its own validation F1", "run"], rows, title=title)
    typer.echo(
        f"validation F1 {found.f1:.4f} at threshold {found.threshold:.4f}; best trial alone {found.best_f1:.4f} "
        f"({found.patches} patches)"
    )
    typer.echo("too good to be true: members and threshold were chosen on these very patches")
    if found.held_out:
        typer.echo(
            "chosen on one half of them and judged on the other, both ways: such an ensemble has F1 "
            f"{found.held_out.ensemble:.4f}, the best trial {found.held_out.single:.4f}"
        )
    typer.echo(f"{found.parameters:,} parameters, {found.latency_ms:.1f} ms per patch here")
    typer.echo(f"registered: {found.model} version {found.version} (alias ensemble)")
    typer.echo("next, what it gains on patches that nothing was chosen on:")
    for run_id in (found.run_id, found.best_run_id):
        typer.echo(f"  lsml evaluate --run-id {run_id}")
    typer.echo(f"  lsml compare {found.best_run_id} {found.run_id}")
    typer.echo(f"ensemble run: {found.run_id}")


_REFUSED = 6


def promote(
    reference: Annotated[
        str, typer.Argument(help="a trial's, study's or training's run, or NAME/VERSION or NAME@ALIAS", metavar="RUN")
    ],
    repeats: Annotated[
        int,
        typer.Option("--repeats", help="train again with so many fresh seeds, and judge their mean too", min=0, max=20),
    ] = 0,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Make a model champion of its name unless it is worse than the one that is; exit 6 where it is worse."""
    from lsml.cli.output import Reporter
    from lsml.workflows.promote import promote as job

    with Reporter() as reporter:
        found = job(reference, repeats=repeats, data=data, watcher=reporter)
    if json:
        import json as encoder

        differences = {"ahead": found.ahead, "repeats": found.repeats}
        record = vars(found) | {name: ahead and ahead._asdict() for name, ahead in differences.items()}
        typer.echo(encoder.dumps(record))
    else:
        _print_promotion(found)
    if found.verdict == "refused":
        raise typer.Exit(_REFUSED)


def rollback(name: Annotated[str, typer.Argument(help="the registered model's name", metavar="NAME")]) -> None:
    """Make that version champion again which was before the one that is."""
    from lsml.workflows.promote import rollback as job

    had, has = job(name)
    typer.echo(f"{name} version {has} is champion again, in the place of version {had}")


def _print_promotion(found: "Promotion") -> None:
    from lsml.scoring.bootstrap import LEAST_PATCHES

    this = f"{found.model} version {found.version}"
    if found.verdict == "already":
        typer.echo(f"{this} is champion already: nothing to do")
        return
    typer.echo(f"in a fresh process the registered file {found.reload}")
    if found.judged_run_id != found.run_id:
        typer.echo(f"it has no validation score of its own: compared is run {found.judged_run_id} of its configuration")
    if found.ahead:
        typer.echo(f"validation F1 above the champion's, version {found.champion_before}: {_in_words(found.ahead)}")
        if found.repeats:
            typer.echo(f"mean F1 over fresh seeds above it: {_in_words(found.repeats)}")
        if found.patches < LEAST_PATCHES:
            typer.echo(f"intervals are unreliable: fewer than {LEAST_PATCHES} patches")
    typer.echo(f"{found.verdict}: {this}: {found.why}")
    if found.verdict == "promoted":
        back = f"; lsml rollback {found.model} takes it back" if found.champion_before else ""
        typer.echo(f"{found.model}@champion is version {found.version}{back}")


def _in_words(ahead: "Difference") -> str:
    low, high = ahead.interval
    return f"{ahead.value:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"


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
    from lsml.workflows.compare import compare as job

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
    from lsml.workflows.compare import leaderboard as job

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
    from lsml.scoring.bootstrap import LEAST_PATCHES

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
    from lsml.scoring.bootstrap import LEAST_PATCHES

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
