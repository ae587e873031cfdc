"""`lsml train`: one configuration, one run."""

from pathlib import Path

import typer

from lsml.cli import options


def train(
    experiment: options.Experiment = options.DEFAULT_EXPERIMENT,
    data: options.Data = None,
    seed: options.Seed = None,
    require_gpu: options.RequireGpu = False,
    assignments: options.Set = None,
) -> None:
    """Train the experiment's base configuration once."""
    from lsml.cli.output import Reporter
    from lsml.config import parse_assignments
    from lsml.experiment import load_experiment
    from lsml.jobs.train import train as job

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
