"""`lsml tune`: a study from its experiment to the registered model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.workflows.finalize import TuneResult


def tune(
    experiment: options.Experiment = options.DEFAULT_EXPERIMENT,
    data: options.Data = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="trials that the study has when it is done", parser=options.integer, metavar="N"),
    ] = None,
    study: options.Study = None,
    seed: options.Seed = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="trials at the same time  [default: one a GPU, or one]",
            parser=options.integer,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    storage: options.Storage = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="what chooses the trials: optuna or keras-tuner  [default: the experiment's, or optuna]",
            parser=options.text,
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    keep_probabilities: Annotated[
        bool, typer.Option("--keep-probabilities", help="keep each trial's validation probabilities, for lsml ensemble")
    ] = False,
    require_gpu: options.RequireGpu = False,
    assignments: options.Set = None,
) -> None:
    """Tune: run a study, or go on with it, and register its best trial."""
    from lsml.cli.output import Reporter, print_baselines, print_champions, print_front, print_standings
    from lsml.config.experiment import load_experiment
    from lsml.config.schema import parse_assignments
    from lsml.workflows.tune import tune as job
    from lsml.workspace import DEFAULT_STORAGE

    loaded = load_experiment(Path(experiment)).with_settings(
        trials=trials, seed=seed, workers=workers, engine=engine, keep_probabilities=keep_probabilities or None
    )
    loaded = loaded.with_fields(parse_assignments(assignments or []))
    with Reporter() as reporter:
        result = job(
            loaded,
            study=study or loaded.name,
            data=data,
            storage=storage or DEFAULT_STORAGE,
            watcher=reporter,
            require_gpu=require_gpu,
        )
    had = min(sum(result.counts.values()), loaded.study.trials)
    if not result.fresh:
        typer.echo(f"study {result.study} has its {had} trials: nothing to do")
    if had < loaded.study.trials:
        typer.echo(f"the tuner had no more to try after {had} trials: --trials {loaded.study.trials} is a cap")
    ended = ", ".join(f"{count} {state}" for state, count in result.counts.items() if count)
    typer.echo(f"study {result.study}: {ended}; its run: {result.study_run_id}")
    if result.cost:
        print_front(result.front, result.cost)
    if result.standings:
        print_standings(result.standings)
    else:
        typer.echo(f"best validation F1{_limited(result)}: {result.best_value:.4f} (pooled over pixels)")
        if result.baselines:
            print_baselines(result.label, result.best_value, result.best_run_id, result.baselines)
    _print_warnings(result)
    typer.echo(f"registered: {result.model} version {result.version} (alias candidate)")
    if len(result.champions) > 1:
        print_champions(result.champions)
    typer.echo("next:")
    unseen = " --data DIR (patches that it was not trained on)" if result.standings else ""
    typer.echo(f"  lsml evaluate --run-id {result.best_run_id}{unseen}")
    typer.echo("  lsml ui")
    typer.echo(f"    trials compared: {result.trials_page}")
    if result.best_page:
        typer.echo(f"    the best side by side: {result.best_page}")
    typer.echo(f"best run: {result.best_run_id}")


def _print_warnings(result: "TuneResult") -> None:
    """What a user must know before using what was registered."""
    if result.label == "base":
        typer.echo("no tuned configuration was better than the base with a fresh seed: the base is registered")
    others = result.standings or result.baselines
    better = [str(e["what"]) for e in others if (e["f1"] or 0) > result.best_value and not e["reason"]]
    if better:
        typer.echo(f"warning: what is registered does worse than: {', '.join(better)}")


def _limited(result: "TuneResult") -> str:
    """Among which trials the best was chosen, where there is a limit."""
    if result.limit is None or result.cost is None:
        return ""
    from lsml.config.fields import amount
    from lsml.config.schema import COST_UNITS

    return f" with at most {amount(result.limit)} {COST_UNITS[result.cost]}"
