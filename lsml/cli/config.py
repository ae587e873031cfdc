"""`lsml config`, `init`, `doctor` and `clean`: what an experiment can say, what runs it, and what it leaves."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsml.cli import options
from lsml.errors import ConfigError

if TYPE_CHECKING:
    from lsml.config.experiment import Experiment
    from lsml.config.fields import FieldSpec

app = options.Commands("Look up hyperparameters and settings, and check experiment files.", no_args_is_help=True)

_OPENING = """\
# Configuration

All that an experiment file can say, printed by `lsml config reference` from the declarations in the code.

A study is described by one YAML file, such as those in `experiments/`, with the keys `name`, `description`, `data`,
`base`, `space` and `study`. `base` gives hyperparameters other values than their defaults, and so does
`--set model.depth=3` on the command line; `space` names those that the study searches, by `choices`, or by `low` and
`high` with an optional `log: true` or `step`; `when: {FIELD: VALUE}` searches a field only where another one has that
value. `lsml config check FILE` says whether a file is right, without reading data.
"""

_HYPERPARAMETERS = """\
## Hyperparameters

Each can stand in `base`, in `space` (but for the seed) and after `--set`.
"""

_SETTINGS = """\
## Data and study settings

They stand below `data` and `study`. A sampler, pruner or tuner is chosen by its `name` and takes only its own options:
`sampler: {name: tpe, startup_trials: 10}`, or `pruner: none` where no option is given.
"""


class _Format(StrEnum):
    """How the reference is printed."""

    MD = "md"
    JSON = "json"


@app.command("reference")
def _reference(
    format: Annotated[_Format, typer.Option("--format", help="Markdown, or one JSON object.")] = _Format.MD,
) -> None:
    """Print the reference of all hyperparameters and settings."""
    if format == _Format.MD:
        typer.echo(_reference_page(), nl=False)
        return
    import json

    from lsml.config.schema import TrainConfig

    groups = {"hyperparameters": TrainConfig.fields(), "settings": _settings()}
    typer.echo(json.dumps({key: [_record(spec) for spec in specs] for key, specs in groups.items()}, indent=2))


def _record(spec: "FieldSpec") -> dict[str, Any]:
    words = {"kind": "type", "description": "meaning"}
    return {words.get(key, key): value for key, value in spec._asdict().items()}


@app.command("check")
def _check(
    experiment: Annotated[Path, typer.Argument(help="The experiment's YAML file.", metavar="EXPERIMENT")],
) -> None:
    """Check an experiment file without reading data, and print a one-line summary."""
    from lsml.config.experiment import load_experiment

    found = load_experiment(experiment)
    found.for_engine()
    typer.echo(_summary(found))


def _summary(experiment: "Experiment") -> str:
    dimensions = experiment.space.dimensions
    conditional = sum(bool(dimension.when) for dimension in dimensions.values())
    searched = f"{len(dimensions)} fields searched" + (f" ({conditional} conditional)" if conditional else "")
    study, data = experiment.study, experiment.data
    made = data.synthetic
    source = f"{made.train} + {made.validation} + {made.test} synthetic patches" if made else f"patches in {data.path}"
    against = f" of F1 against {study.second_objective}" if study.cost else ""
    folds = f" in {data.folds} folds, {data.repeats} times" if data.folds else ""
    by = f"{study.sampler.name}{against}, pruning {study.pruner.name}"
    if study.engine == "keras-tuner":
        by = f"KerasTuner's {study.tuner.name}"
    return f"{experiment.name}: {searched}, {study.trials} trials by {by}; {source}{folds}"


def _reference_page() -> str:
    """The whole reference in Markdown, as docs/configuration.md holds it."""
    from lsml.config.schema import TrainConfig

    parts = (_OPENING, _HYPERPARAMETERS, _table(TrainConfig.fields()), _SETTINGS, _table(_settings()))
    return "\n".join(parts)


def _settings() -> Iterator["FieldSpec"]:
    """Every setting below `data` and `study` of an experiment file."""
    from lsml.config.study import DataEntry, StudySettings

    yield from DataEntry.fields("data.")
    yield from StudySettings.fields("study.")


def _table(specs: Iterable["FieldSpec"]) -> str:
    lines = ["| name | type | default | bounds or choices | unit | meaning |", "|---|---|---|---|---|---|"]
    for spec in specs:
        cells = (f"`{spec.name}`", spec.kind, _shown(spec.default), _bounds(spec), spec.unit, spec.description)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _bounds(spec: "FieldSpec") -> str:
    if spec.choices:
        return ", ".join(filter(None, map(_shown, spec.choices)))
    return "" if spec.low is None and spec.high is None else spec.bounds


def _shown(value: object) -> str:
    """A value as a YAML file has it."""
    match value:
        case None | "":
            return ""
        case ():
            return "`[]`"
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:.4g}`"
    return f"`{value}`"


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the patches.", metavar="DIR")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write.  [default: NAME.yaml, by the folder's name]",
            parser=options.path,
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a commented experiment file for your patches, by looking at them."""
    from lsml.workflows.data import init as job

    path = job(folder, out)
    typer.echo(f"wrote {path}")
    typer.echo(f"next: lsml tune {path}")


def doctor(
    storage: options.Storage = None,
    require_gpu: options.RequireGpu = False,
    json: options.Json = False,
) -> None:
    """Check versions, device, stores and disk by using them."""
    from dataclasses import asdict

    from lsml.cli.output import print_wrapped
    from lsml.workflows.doctor import examine

    findings = []
    for finding in examine(storage=storage, require_gpu=require_gpu):
        findings.append(finding)
        if json:
            continue
        # Each when it is there: Keras and MLflow take seconds to load.
        print_wrapped(f"{finding.state:8}{finding.what}: {finding.detail}", indent=8)
        if finding.fix:
            print_wrapped(f"{'':8}{finding.fix}", indent=8)
    if json:
        options.print_json([asdict(finding) for finding in findings], indent=2)
    if any(finding.state == "error" for finding in findings):
        raise typer.Exit(4)


def clean(
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", help="Remove what is listed under this name; may be repeated.", metavar="WHAT"),
    ] = None,
) -> None:
    """List what the working folder keeps and what it takes, and remove what can be made again."""
    from lsml.cli.output import print_table
    from lsml.report.summary import kept_table
    from lsml.workflows import clean as job

    if unknown := sorted(set(remove or ()) - set(job.KINDS)):
        raise ConfigError("--remove", f"there is no {', '.join(unknown)}", f"give one of {', '.join(job.KINDS)}")
    if remove:
        typer.echo(f"removed: {job.clean(remove) / 1e6:.1f} MB")
        return
    kept = job.kept_files()
    if not kept:
        typer.echo("nothing that could be removed")
        return
    print_table(kept_table(kept))
    typer.echo("lsml clean --remove WHAT removes; models and pictures are in MLflow's store (mlflow gc)")
