"""`lsml compare`, `leaderboard`, `ensemble`, `promote` and `rollback`: models beside each other and in the registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.scoring.comparison import Board
    from lsml.workflows.compare import Comparison
    from lsml.workflows.ensemble import Ensemble
    from lsml.workflows.promote import Promotion


def ensemble(
    study: Annotated[str, typer.Argument(help="A study that has ended, or a run or model of it.", metavar="STUDY")],
    members: Annotated[
        int,
        typer.Option("--members", help="Most members; a model may be taken several times.", min=2, max=100),
    ] = 8,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Registered model, instead of the study's own.", parser=options.text, metavar="MODEL"
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
        found = job(study, max_members=members, name=name, storage=storage, data=data, progress=reporter.step)
    if json:
        from dataclasses import asdict

        record = asdict(found) | {"members": [member._asdict() for member in found.members]}
        options.print_json(record | {"held_out": found.held_out and found.held_out._asdict()})
    else:
        _print_ensemble(found)


def _print_ensemble(found: "Ensemble") -> None:
    from lsml.cli.output import print_table

    title = f"ensemble of {len(found.members)} of {found.candidates} models of study {found.study}"
    print_table(found.table(title))
    typer.echo(
        f"validation F1 {found.f1:.4f} at threshold {found.threshold:.4f}; best trial alone {found.best_f1:.4f} "
        f"({found.patches} patches)"
    )
    typer.echo("optimistically biased: members and threshold were chosen on these patches")
    if found.held_out:
        typer.echo(
            "selected on one half of them and scored on the other, both ways: such an ensemble has F1 "
            f"{found.held_out.ensemble:.4f}, the best trial {found.held_out.single:.4f}"
        )
    typer.echo(f"{found.parameters:,} parameters, {found.latency_ms:.1f} ms per patch here")
    if found.behind:
        typer.echo(f"{found.behind}: the ensemble is registered without an alias")
    typer.echo(f"registered: {found.model} version {found.version}")
    if found.alias:
        typer.echo(f"alias: {found.alias}")
    if found.unreported:
        typer.echo(found.unreported)
    typer.echo("next, what it gains on patches that no choice was made on:")
    for run_id in (found.run_id, found.best_run_id):
        typer.echo(f"  lsml evaluate --run-id {run_id}")
    typer.echo(f"  lsml compare {found.best_run_id} {found.run_id}")
    typer.echo(f"ensemble run: {found.run_id}")


def export(
    run: options.Run = None,
    run_id: options.RunId = None,
    model: options.Model = None,
    to: Annotated[Literal["onnx", "savedmodel"], typer.Option("--format", help="Format to write.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File, or folder of a SavedModel.  [default: model.onnx or saved_model]",
            parser=options.path,
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    channels: Annotated[
        Literal["last", "first"],
        typer.Option("--channels", help="Of ONNX: where the bands are; first as QGIS's plugin Deepness takes them."),
    ] = "last",
    json: options.Json = False,
) -> None:
    """Write a model as ONNX or TensorFlow's SavedModel, which run without Keras and lsml."""
    from lsml.workflows.export import export as job

    found = job(options.named(run, run_id, model), to=to, out=out, channels=channels)
    if json:
        options.print_json(vars(found) | {"path": str(found.path)})
        return
    typer.echo(f"checked: probabilities of a trial image are at most {found.differs:.1e} from Keras's")
    typer.echo(f"landslide from probability {found.threshold:.4f} on, which stands in the metadata")
    typer.echo(f"written: {found.path}")


_REFUSED = 6


def promote(
    run: options.Run = None,
    run_id: options.RunId = None,
    repeats: Annotated[
        int,
        typer.Option("--repeats", help="Also train with this many new seeds, and compare their mean.", min=0, max=20),
    ] = 0,
    model_name: options.ModelName = None,
    data: options.Data = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Make a model the champion of its name, unless it is worse than the current one; exit code 6 if it is."""
    from lsml.cli.output import Reporter

    reference = options.named(run, run_id)
    with Reporter() as reporter:
        reporter.stage_started(f"looking {reference} up in MLflow")
        from lsml.workflows.promote import promote as job

        found = job(reference, repeats=repeats, model_name=model_name, data=data, listener=reporter, force=force)
    if json:
        differences = {"ahead": found.ahead, "repeats": found.repeats}
        record = vars(found) | {name: ahead and ahead._asdict() for name, ahead in differences.items()}
        options.print_json(record)
    else:
        _print_promotion(found)
    if found.verdict == "refused":
        raise typer.Exit(_REFUSED)


def rollback(
    name: Annotated[
        str, typer.Argument(help="The registered model's name, or a version, run or study of it.", metavar="NAME")
    ],
) -> None:
    """Restore the previous champion of a registered model."""
    from lsml.workflows.promote import rollback as job

    model, had, has = job(name)
    typer.echo(f"alias: {model}@champion moved back from version {had} to version {has}")


def _print_promotion(found: "Promotion") -> None:
    from lsml.cli.output import print_reliability

    this = f"{found.model} version {found.version}"
    if found.verdict == "already":
        typer.echo(f"{this} is champion already: nothing to do")
        return
    typer.echo(f"in a fresh process the registered file {found.reload}")
    if found.scored_run_id != found.run_id:
        typer.echo(f"it has no validation score of its own: compared by run {found.scored_run_id} of its configuration")
    if found.ahead:
        typer.echo(f"validation F1 above the champion's, version {found.champion_before}: {found.ahead.describe()}")
        if found.repeats:
            typer.echo(f"mean F1 over fresh seeds above it: {found.repeats.describe()}")
        print_reliability(found.patches)
    typer.echo(f"{found.verdict}: {this}: {found.why}")
    if found.verdict == "promoted":
        back = f"; lsml rollback {found.model} takes it back" if found.champion_before else ""
        moved = f"moved from version {found.champion_before} to" if found.champion_before else "is"
        typer.echo(f"alias: {found.model}@champion {moved} version {found.version}{back}")
    if found.unreported:
        typer.echo(found.unreported)


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of runs or their first digits, names of runs or studies, NAME@ALIAS or NAME/VERSION.",
            parser=options.text,
            metavar="RUN",
        ),
    ] = None,
    run_ids: Annotated[
        list[str] | None,
        typer.Option("--run-id", help="The same as RUN; give it once a run.", parser=options.text, metavar="RUN"),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="Compare this study's best trials.", parser=options.text, metavar="NAME"),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="Number of trials to compare.", min=2, max=20, metavar="N")] = 5,
    split: Annotated[
        Literal["test", "validation"] | None,
        typer.Option(
            "--split",
            help="Split whose scores are compared.  [default: test where all have them]",
            parser=options.split("test", "validation"),
            metavar="test|validation",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.", metavar="FILE")] = Path("compare.png"),
    json: options.Json = False,
) -> None:
    """Compare the scores of runs that were evaluated in the same way on the same patches.

    Differences are relative to the first run given, or the study's best.
    """
    named = [options.named(run) for run in (*(runs or []), *(run_ids or []))]
    from lsml.workflows.compare import compare as job

    comparison = job(named, study=study, top=top, split=split, out=out)
    if json:
        options.print_json(_comparison_record(comparison))
    else:
        _print_comparison(comparison)


def leaderboard(
    run: options.Run = None,
    run_id: options.RunId = None,
    json: options.Json = False,
) -> None:
    """Compare a run with published results, if it was evaluated on the official split."""
    asked = options.named(run, run_id)
    from lsml.workflows.compare import leaderboard as job

    ranking = job(asked)
    if json:
        options.print_json(_leaderboard_record(*ranking))
    else:
        _print_leaderboard(*ranking)


def _comparison_record(comparison: "Comparison") -> dict[str, Any]:
    from lsml.scoring.bootstrap import MIN_PATCHES

    runs = [
        {
            "run_id": run.run_id,
            "name": run.name,
            **{name: score.value for name, score in run.scores.items()},
            "intervals": {name: list(score.interval) for name, score in run.scores.items()},
            "f1_above_reference": run.ahead._asdict() if run.ahead else None,
            "parameters": {name: values[place] for name, values in comparison.parameters.items()},
        }
        for place, run in enumerate(comparison.runs)
    ]
    return {
        "split": comparison.split,
        "split_protocol": comparison.split_protocol,
        "averaging": comparison.averaging,
        "threshold": comparison.threshold,
        "n_patches": comparison.patches,
        "intervals_reliable": comparison.patches >= MIN_PATCHES,
        "reference_run_id": comparison.reference,
        "runs": runs,
        "figure": str(comparison.figure),
    }


def _print_comparison(comparison: "Comparison") -> None:
    from lsml.cli.output import print_reliability, print_table
    from lsml.report.summary import comparison_tables

    if not comparison.parameters:
        typer.echo("no parameter differs")
    title = f"{comparison.split} split, {comparison.patches} patches"
    for table in comparison_tables(comparison.runs, comparison.parameters, title):
        print_table(table)
    typer.echo(
        f"{comparison.split} patches: {comparison.split_protocol}; scores {comparison.averaging}; threshold: "
        f"{comparison.threshold}"
    )
    if comparison.split == "validation":
        typer.echo("what a search chose by these scores is optimistically biased: lsml evaluate scores unseen patches")
    print_reliability(comparison.patches)
    typer.echo(f"drew {comparison.figure}")


def _leaderboard_record(run_id: str, boards: "tuple[Board, ...]") -> dict[str, Any]:
    from lsml.scoring.comparison import NOT_COMPARABLE

    records = {
        board.split: {
            "n_patches": board.patches,
            "f1": board.f1.value,
            "interval": list(board.f1.interval),
            "place": board.place,
            "published": [score._asdict() for score in board.published],
        }
        for board in boards
    }
    apart = [score._asdict() for score in NOT_COMPARABLE]
    return {"run_id": run_id, "boards": records, "not_comparable": apart, "contents_verified": False}


def _print_leaderboard(run_id: str, boards: "tuple[Board, ...]") -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import leaderboard_table
    from lsml.scoring.comparison import NOT_COMPARABLE

    for board in boards:
        print_table(leaderboard_table(board, run_id))
        if board.split == "validation":
            typer.echo("optimistically biased: this run's threshold, and maybe the run, was chosen on these patches")
    for score in NOT_COMPARABLE:
        typer.echo(f"not comparable: {score.system}, {score.f1:.4f} ({score.spread}; {score.split}, {score.averaging})")
    typer.echo("official by their folders and their number; contents unverified: official checksums are not known")
