"""`lsml train`, `lsml tune`, `lsml refit` and `lsml reproduce`: the commands that train networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lsml.cli import options
from lsml.errors import ConfigError

if TYPE_CHECKING:
    from lsml.config.experiment import Experiment
    from lsml.report.facts import TuneResult
    from lsml.workflows.retrain import Reproduction


def train(
    experiment: options.Experiment = options.DEFAULT_EXPERIMENT,
    data: options.Data = None,
    seed: options.Seed = None,
    model_name: options.ModelName = None,
    require_gpu: options.RequireGpu = False,
    force: options.Force = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time of an epoch went.")] = False,
    assignments: options.Set = None,
    help_all: options.HelpAll = False,
) -> None:
    """Train one model with the experiment's base configuration."""
    from lsml.cli.output import Reporter, print_table
    from lsml.config.experiment import load_experiment
    from lsml.config.fields import parse_assignments
    from lsml.report.summary import seconds_table

    loaded = load_experiment(experiment).with_fields(parse_assignments(assignments or []))
    # After the file has been read: a mistake in it is told before MLflow is loaded.
    from lsml.workflows.train import train as job

    with Reporter() as reporter:
        result = job(
            loaded,
            seed=seed,
            data=data,
            listener=reporter,
            require_gpu=require_gpu,
            force=force,
            model_name=model_name,
        )
    outcome = result.outcome
    if outcome.steps.noun == "epoch":
        typer.echo(f"best validation F1: {outcome.value:.4f} (pooled over pixels) in epoch {outcome.best_epoch}")
    else:
        typer.echo(f"out-of-fold F1: {outcome.value:.4f} (pooled over pixels), {outcome.steps.total} folds")
        typer.echo(f"model: the mean of the networks of these {outcome.steps.total} folds")
    if profile:
        print_table(seconds_table(outcome.epoch_seconds))
    typer.echo("next:")
    typer.echo(f"  lsml evaluate --run-id {result.run_id}")
    typer.echo(f"run: {result.run_id}")


def tune(
    experiment: options.Experiment = options.DEFAULT_EXPERIMENT,
    data: options.Data = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="Number of trials of the study.", parser=options.integer, metavar="N"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", help="Seconds after which no more trials begin.", parser=options.number, metavar="SECONDS"
        ),
    ] = None,
    until: Annotated[
        float | None,
        typer.Option(
            "--until", help="Begin no more trials once one has this F1.", parser=options.until, metavar="F1=VALUE"
        ),
    ] = None,
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            "--trial-timeout", help="Seconds after which a trial has failed.", parser=options.number, metavar="SECONDS"
        ),
    ] = None,
    study: options.Study = None,
    model_name: options.ModelName = None,
    seed: options.Seed = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Number of parallel trials.  [default: one per GPU, or 1; all workers of a --scheduler]",
            parser=options.integer,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    workers_per_gpu: Annotated[
        int | None,
        typer.Option(
            "--workers-per-gpu",
            help="Number of parallel trials that share a GPU.  [default: 1]",
            parser=options.integer,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            help="Run the trials on the dask cluster of this scheduler, such as tcp://host:8786 or tls://host:8786.",
            parser=options.text,
            metavar="ADDRESS",
        ),
    ] = None,
    scheduler_file: Annotated[
        Path | None,
        typer.Option(
            "--scheduler-file",
            help="The same, with the file that dask scheduler --scheduler-file wrote.",
            parser=options.path,
            metavar="FILE",
        ),
    ] = None,
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard",
            help="Serve dask's pages of the study's own workers, in plain HTTP to all users of this machine.",
        ),
    ] = False,
    storage: options.Storage = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="Search engine: optuna or keras-tuner.  [default: the experiment's, or optuna]",
            parser=options.text,
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The experiment demo, which comes with lsml.")] = False,
    keep_probabilities: Annotated[
        bool,
        typer.Option("--keep-probabilities", help="Store each trial's validation probabilities, for lsml ensemble."),
    ] = False,
    require_gpu: options.RequireGpu = False,
    force: options.Force = False,
    assignments: options.Set = None,
    json: options.Json = False,
    help_all: options.HelpAll = False,
) -> None:
    """Run or resume a study, and register its best trial."""
    from lsml.cli.output import Reporter
    from lsml.config.experiment import load_experiment
    from lsml.config.fields import parse_assignments
    from lsml.workflows.tune import tune as job

    if scheduler and scheduler_file:
        raise ConfigError("--scheduler", "--scheduler-file names one too", "give one of them")
    if dashboard and (scheduler or scheduler_file):
        raise ConfigError("--dashboard", "the scheduler has one of its own, or none", "leave it out")
    if workers_per_gpu and (workers or scheduler or scheduler_file):
        why = "--workers or --scheduler says how many there are"
        raise ConfigError("--workers-per-gpu", why, "leave one of them out")
    if demo and experiment != options.DEFAULT_EXPERIMENT:
        raise ConfigError("--demo", f"{experiment} is to be tuned too", "give one of them")
    loaded = load_experiment("demo" if demo else experiment).with_settings(
        trials=trials,
        timeout=timeout,
        until_f1=until,
        trial_timeout=trial_timeout,
        seed=seed,
        workers=workers,
        workers_per_gpu=workers_per_gpu,
        engine=engine,
        keep_probabilities=keep_probabilities or None,
    )
    searched = loaded.space.dimensions
    loaded = loaded.with_fields(parse_assignments(assignments or []))
    with Reporter() as reporter:
        if fixed := [name for name in searched if name not in loaded.space.dimensions]:
            reporter.say(f"not searched, as --set gives them a value: {', '.join(fixed)}")
        result = job(
            loaded,
            study=study or loaded.name,
            model_name=model_name,
            data=data,
            storage=storage,
            scheduler=scheduler or scheduler_file,
            listener=reporter,
            require_gpu=require_gpu,
            force=force,
            dashboard=dashboard,
        )
    if json:
        options.print_json(result.record())
    else:
        _print_result(result, loaded, workers)


def _print_result(result: "TuneResult", experiment: "Experiment", workers: int | None) -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import result_tables

    had = min(sum(result.counts.values()), experiment.study.trials)
    if not result.fresh:
        unused = "; --workers is not used" if workers else ""
        typer.echo(f"study {result.study} has its {had} trials: nothing to do{unused}")
    if had < experiment.study.trials:
        typer.echo(f"{result.stopped} after {had} trials: --trials {experiment.study.trials} is a cap")
    ended = ", ".join(f"{count} {state}" for state, count in result.counts.items() if count)
    typer.echo(f"study {result.study}: {ended}; its run: {result.study_run_id}")
    typer.echo(f"{result.label}{_limited(result)}: {result.describe_score()}")
    for table in result_tables(result):
        print_table(table)
    if result.against_base:
        typer.echo(result.against_base)
    _print_warnings(result)
    typer.echo(f"registered: {result.model} version {result.version}")
    for alias in result.aliases if result.fresh else ():
        typer.echo(f"alias: {alias}")
    typer.echo("next:")
    all_trained_on = bool(result.standings) and not experiment.data.hold_out_test
    unseen = " --data DIR (patches that it was not trained on)" if all_trained_on else ""
    typer.echo(f"  lsml evaluate --run-id {result.best_run_id}{unseen}")
    typer.echo("  lsml ui")
    typer.echo(f"    trials compared: {result.trials_page}")
    if result.best_page:
        typer.echo(f"    the best compared: {result.best_page}")
    typer.echo(f"best run: {result.best_run_id}")


def _print_warnings(result: "TuneResult") -> None:
    """What a user must know before using what was registered."""
    if result.network:
        why, run = result.network["reason"], result.network["run_id"]
        typer.echo(f"{why} of the best network: the baseline is registered, and the network stays as run {run}")
        return
    others = result.standings or result.baselines
    better = [entry["what"] for entry in others if (entry["f1"] or 0) > result.best_value]
    if better:
        typer.echo(f"warning: higher F1, but not by more than chance: {', '.join(better)}")


def _limited(result: "TuneResult") -> str:
    """Among which trials the best was chosen, where there is a limit."""
    if result.limit is None or result.cost is None:
        return ""
    from lsml.config.fields import format_amount
    from lsml.config.schema import COST_UNITS

    return f" with at most {format_amount(result.limit)} {COST_UNITS[result.cost]}"


def refit(
    run: options.Run = None,
    run_id: options.RunId = None,
    on: Annotated[Literal["train+valid"], typer.Option("--on", help="The splits to train on.")] = "train+valid",
    data: options.Data = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Train a run's configuration on the train and validation splits together, and register the model."""
    from lsml.cli.output import Reporter

    asked = options.named(run, run_id)
    from lsml.workflows.train import refit as job

    with Reporter() as reporter:
        found = job(asked, on=on, data=data, listener=reporter, force=force)
    if json:
        from dataclasses import asdict

        options.print_json(asdict(found))
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
    run: options.Run = None,
    run_id: options.RunId = None,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train a run's configuration again and compare the scores; exit code 6 if they differ."""
    from lsml.cli.output import Reporter

    asked = options.named(run, run_id)
    from lsml.workflows.retrain import reproduce as job

    with Reporter() as reporter:
        found = job(asked, data=data, listener=reporter)
    if json:
        record = {
            "run_id": found.run_id,
            "recorded": found.recorded,
            "again": found.reproduced,
            "changed": found.changed,
        }
        options.print_json(record)
    else:
        _print_reproduction(found)
    if found.differing:
        raise typer.Exit(_DIFFERS)


def _print_reproduction(found: "Reproduction") -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import reproduction_table

    print_table(reproduction_table(found.run_id, found.recorded, found.reproduced))
    for name, (then, now) in found.changed.items():
        typer.echo(f"{name.replace('_', ' ')}: {then or 'unknown'} then, {now or 'unknown'} now")
    if found.differing:
        typer.echo(f"{len(found.differing)} of {len(found.recorded)} scores differ")
    else:
        typer.echo(f"all {len(found.recorded)} scores are equal to the last digit")
