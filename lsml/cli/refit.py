"""`lsml refit`: the final model, trained on all patches that may be seen."""

from typing import Annotated, Literal

import typer

from lsml.cli import options


def refit(
    run_id: Annotated[str, typer.Argument(help="a complete trial's, a study's or a training's run", metavar="RUN")],
    on: Annotated[
        Literal["train+valid"], typer.Option("--on", help="the patches to train on: those of train and validation")
    ] = "train+valid",
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train a run's configuration on train and validation together, and register the model."""
    from lsml.cli.output import Reporter
    from lsml.jobs.refit import refit as job

    with Reporter() as reporter:
        found = job(run_id, on=on, data=data, watcher=reporter)
    if json:
        import json as encoder
        from dataclasses import asdict

        typer.echo(encoder.dumps(asdict(found)))
        return
    typer.echo(f"trained on {on}: {found.patches} patches for {found.epochs} epochs, threshold {found.threshold:.4f}")
    typer.echo("the model has no score of its own: it has seen the validation patches")
    typer.echo(f"validation F1 of run {found.of_run_id}, whose configuration it has: {found.earned_f1:.4f}")
    typer.echo(f"registered: {found.model} version {found.version}")
    typer.echo("next:")
    typer.echo(f"  lsml promote {found.run_id}")
    typer.echo(f"  lsml evaluate --run-id {found.run_id}")
    typer.echo(f"run: {found.run_id}")
