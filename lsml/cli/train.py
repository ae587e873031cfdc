"""`lsml train`, `lsml refit` and `lsml reproduce`: one configuration, one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.workflows.retrain import Reproduction


def train(
    experiment: options.Experiment = options.DEFAULT_EXPERIMENT,
    data: options.Data = None,
    seed: options.Seed = None,
    require_gpu: options.RequireGpu = False,
    assignments: options.Set = None,
) -> None:
    """Train the experiment's base configuration once."""
    from lsml.cli.output import Reporter
    from lsml.config.experiment import load_experiment
    from lsml.config.schema import parse_assignments
    from lsml.workflows.train import train as job

    loaded = load_experiment(Path(experiment)).with_fields(parse_assignments(assignments or []))

    with Reporter() as reporter:
        result = job(loaded, seed=seed, data=data, watcher=reporter, require_gpu=require_gpu)
    outcome = result.outcome
    if outcome.steps.noun == "epoch":
        typer.echo(f"best validation F1: {outcome.value:.4f} (pooled over pixels) in epoch {outcome.best_epoch}")
    else:
        typer.echo(f"out-of-fold F1: {outcome.value:.4f} (pooled over pixels), {outcome.steps.total} folds")
        typer.echo(f"model: trained on all patches for {outcome.best_epoch} epochs")
    typer.echo("next:")
    typer.echo(f"  lsml evaluate --run-id {result.run_id}")
    typer.echo(f"run: {result.run_id}")


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
    from lsml.workflows.refit import refit as job

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


_DIFFERS = 6


def reproduce(
    run_id: Annotated[str, typer.Argument(help="a trial's or a training's run", metavar="RUN")],
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train a run's configuration again and say whether the same comes out; exit 6 where it does not."""
    from lsml.cli.output import Reporter
    from lsml.workflows.retrain import reproduce as job

    with Reporter() as reporter:
        found = job(run_id, data=data, watcher=reporter)
    if json:
        import json as encoder

        record = {"run_id": found.run_id, "recorded": found.recorded, "again": found.again, "changed": found.changed}
        typer.echo(encoder.dumps(record))
    else:
        _print_reproduction(found)
    if found.differing:
        raise typer.Exit(_DIFFERS)


def _print_reproduction(found: "Reproduction") -> None:
    from lsml.cli.output import print_table

    rows = [
        [
            name.removeprefix("best_"),
            f"{value:.6g}",
            f"{found.again[name]:.6g}",
            f"{found.differing.get(name, 0.0):+.2g}",
        ]
        for name, value in found.recorded.items()
    ]
    print_table(["score", "recorded", "again", "difference"], rows, title=f"run {found.run_id}")
    for name, (then, now) in found.changed.items():
        typer.echo(f"{name.replace('_', ' ')}: {then or 'unknown'} then, {now or 'unknown'} now")
    if found.differing:
        typer.echo(f"{len(found.differing)} of {len(found.recorded)} scores differ")
    else:
        typer.echo(f"all {len(found.recorded)} scores are equal to the last digit")
