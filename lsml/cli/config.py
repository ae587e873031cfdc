"""`lsml config`: the reference of all that an experiment file can say, and whether a file says it right."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from lsml.config.experiment import Experiment
    from lsml.config.fields import Section

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

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


class Format(StrEnum):
    """How the reference is printed."""

    MD = "md"
    JSON = "json"


class Entry(NamedTuple):
    """One line of the reference; `low` and `high` are inclusive unless the meaning says otherwise."""

    name: str
    type: str
    default: Any
    choices: tuple[Any, ...]
    low: float | None
    high: float | None
    unit: str
    meaning: str


@app.command("reference")
def reference(
    format: Annotated[Format, typer.Option("--format", help="Markdown, or one JSON object")] = Format.MD,
) -> None:
    """Print name, type, default, bounds, unit and meaning of every hyperparameter and setting."""
    if format == Format.MD:
        typer.echo(reference_page(), nl=False)
        return
    import json

    groups = {"hyperparameters": hyperparameters(), "settings": settings()}
    typer.echo(json.dumps({key: [entry._asdict() for entry in found] for key, found in groups.items()}, indent=2))


@app.command("check")
def check(experiment: Annotated[Path, typer.Argument(help="the experiment's YAML file", metavar="EXPERIMENT")]) -> None:
    """Check an experiment file, without reading data, and say in one line what it is."""
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
    against = f" of F1 against {study.against}" if study.cost else ""
    folds = f" in {data.folds} folds, {data.repeats} times" if data.folds else ""
    by = f"{study.sampler.name}{against}, pruning {study.pruner.name}"
    if study.engine == "keras-tuner":
        by = f"KerasTuner's {study.tuner.name}"
    return f"{experiment.name}: {searched}, {study.trials} trials by {by}; {source}{folds}"


def reference_page() -> str:
    """The whole reference in Markdown, as docs/configuration.md holds it."""
    parts = (_OPENING, _HYPERPARAMETERS, _table(hyperparameters()), _SETTINGS, _table(settings()))
    return "\n".join(parts)


def hyperparameters() -> Iterator[Entry]:
    """Every field of `TrainConfig`."""
    from lsml.config.schema import fields

    for spec in fields():
        yield Entry(spec.name, spec.kind, spec.default, spec.choices, spec.low, spec.high, spec.unit, spec.description)


def settings() -> Iterator[Entry]:
    """Every setting below `data` and `study` of an experiment file."""
    from lsml.config.study import DataEntry, StudySettings

    yield from _entries(DataEntry, "data.")
    yield from _entries(StudySettings, "study.")


def _entries(section: type["Section"], prefix: str, owner: str = "") -> Iterator[Entry]:
    """The settings of a section; `owner` is the sampler, pruner or tuner that alone has them."""
    from lsml.config.fields import Section

    for name, info in section.model_fields.items():
        kinds = [kind for kind in _alternatives(info) if isinstance(kind, type) and issubclass(kind, Section)]
        if info.discriminator:
            names = tuple(kind.model_fields["name"].default for kind in kinds)
            default = info.get_default(call_default_factory=True).name
            meaning = f"{info.description}. " + " ".join(
                f"{n}: {kind.__doc__}" for n, kind in zip(names, kinds, strict=True)
            )
            yield Entry(f"{prefix}{name}.name", "choice", default, names, None, None, "", meaning)
        for kind in kinds:
            only = kind.model_fields["name"].default if info.discriminator else ""
            yield from _entries(kind, f"{prefix}{name}.", only)
        if not kinds and not (owner and name == "name"):
            yield _entry(f"{prefix}{name}", info, owner)


def _alternatives(info: "FieldInfo") -> tuple[Any, ...]:
    """The types that a field takes, None left out."""
    from types import UnionType
    from typing import Union, get_args, get_origin

    annotation = info.annotation
    union = get_origin(annotation) in (Union, UnionType)
    return tuple(kind for kind in (get_args(annotation) if union else (annotation,)) if kind is not type(None))


def _entry(name: str, info: "FieldInfo", owner: str) -> Entry:
    from typing import Literal, get_args, get_origin

    (kind,) = _alternatives(info)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    low, high = (
        next((getattr(bound, key) for bound in info.metadata for key in keys if hasattr(bound, key)), None)
        for keys in (("ge", "gt"), ("le", "lt"))
    )
    extra = info.json_schema_extra
    return Entry(
        name=name,
        type="choice" if choices else {str: "text"}.get(kind, kind.__name__),
        default="required" if info.is_required() else info.default,
        choices=choices,
        low=low,
        high=high,
        unit=str(extra["unit"]) if isinstance(extra, dict) else "",
        meaning=f"{owner}: {info.description}" if owner else info.description or "",
    )


def _table(entries: Iterable[Entry]) -> str:
    lines = ["| name | type | default | bounds or choices | unit | meaning |", "|---|---|---|---|---|---|"]
    for entry in entries:
        cells = (f"`{entry.name}`", entry.type, _shown(entry.default), _bounds(entry), entry.unit, entry.meaning)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _bounds(entry: Entry) -> str:
    if entry.choices:
        return ", ".join(_shown(choice) for choice in entry.choices)
    if entry.low is None and entry.high is None:
        return ""
    return f"{_number(entry.low)}..{_number(entry.high)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _shown(value: Any) -> str:
    """A value as a YAML file has it."""
    match value:
        case None:
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:.4g}`"
    return f"`{value}`"
