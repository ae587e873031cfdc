"""Options that several commands share, each declared once, and help for hyperparameters.

An empty string means "not given": MLflow's project runner passes every parameter of an entry point.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import typer.core

from lsml.errors import ConfigError

DEFAULT_EXPERIMENT = "experiments/demo.yaml"


def _optional(convert: Callable[[str], Any], name: str) -> Any:
    def parse(text: str) -> Any:
        return None if text == "" else convert(text)

    parse.__name__ = name
    return parse


def _integer(text: str) -> int:
    """Raises BadParameter where it is no whole number."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number") from None


def _natural(text: str) -> int:
    """Raises BadParameter where it is no whole number, or below 0."""
    number = _integer(text)
    if number < 0:
        raise typer.BadParameter(f"{number} is below 0")
    return number


def _number(text: str) -> float:
    """Raises BadParameter where it is no number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number") from None


def _until(text: str) -> float:
    """Raises BadParameter where it is not `F1=` and a number."""
    name, _, value = text.partition("=")
    if name.upper() != "F1":
        raise typer.BadParameter(f"{text!r} is not F1 and a number, such as F1=0.7")
    return _number(value)


def band_numbers(text: str) -> dict[str, int]:
    """`red=3,green=2` by name.

    Raises BadParameter where it is not of that form.
    """
    numbers = {}
    for entry in filter(None, text.split(",")):
        name, _, number = entry.partition("=")
        if not (name.strip() and number.strip().isdecimal()):
            raise typer.BadParameter(f"{entry!r} is not NAME=N, such as red=3", param_hint="--bands")
        numbers[name.strip()] = int(number)
    return numbers


def check_not_given(context: typer.Context, name: str, where: str) -> None:
    """Raises ConfigError where the command line gives an option that only something else has."""
    source = context.get_parameter_source(name)
    if source is not None and source.name == "COMMANDLINE":
        raise ConfigError(f"--{name.replace('_', '-')}", f"is for {where}", "leave it out")


def named(*names: str | None) -> str:
    """The one run or model that a command is given by `names`, its options.

    Raises:
        ConfigError: none is given, or several.
        StorageError: nothing on this machine is called so, which MLflow would take seconds to say.
    """
    from lsml.tracking import asked_for, check_known

    name = asked_for(*names)
    check_known(name)
    return name


def split(*names: str) -> Any:
    """A parser that gives which of the splits `names` is meant; validation goes by `valid`, `val` and `validation`."""
    meant = {word: name for name in names for word in (_VALIDATION if name in _VALIDATION else (name,))}

    def named_split(text: str) -> str:
        if text not in meant:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(meant)}")
        return meant[text]

    return _optional(named_split, "text")


_VALIDATION = ("validation", "valid", "val")

text = _optional(str, "text")
number = _optional(_number, "number")
until = _optional(_until, "text")
integer = _optional(_integer, "integer")
natural = _optional(_natural, "integer")
path = _optional(Path, "path")

Experiment = Annotated[
    str,
    typer.Argument(
        help="The experiment's YAML file, or the name of one that comes with lsml.",
        metavar="EXPERIMENT",
        show_default=True,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the patches, instead of the experiment's.", parser=path, metavar="DIR"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set a hyperparameter, such as model.depth=4.", metavar="FIELD=VALUE"),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model-name", help="Registered model, instead of one of its own.", parser=text, metavar="NAME"),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed.", parser=natural, metavar="N")]
Study = Annotated[
    str | None,
    typer.Option("--study", help="Name of the study, instead of the experiment's.", parser=text, metavar="NAME"),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="URL of the study database; one with a password by LSML_STORAGE.  [default: sqlite:///optuna.db]",
        parser=text,
        metavar="URL",
        show_default=False,
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        help="Id of a run or its first digits, name of a run or study, NAME@ALIAS or NAME/VERSION.",
        parser=text,
        metavar="RUN",
    ),
]
RunId = Annotated[str | None, typer.Option("--run-id", help="The same as RUN.", parser=text, metavar="RUN")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The same, of a registered model: demo@candidate or demo/1.",
        parser=text,
        metavar="NAME@ALIAS|NAME/VERSION",
    ),
]
RequireGpu = Annotated[bool, typer.Option("--require-gpu", help="Fail if there is no usable GPU.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Only warn where values of patches look wrong; look at them first."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object only.")]


def print_json(value: object, *, indent: int | None = None) -> None:
    """Prints the one object that `--json` asks for."""
    typer.echo(json.dumps(value, indent=indent))


_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]


class _Group(typer.core.TyperGroup):
    """A group of commands whose help says of each, in as many lines as it takes, what it does."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, (command.help or "").partition("\n")[0]) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Command(typer.core.TyperCommand):
    """A command whose usage names what it needs as `RUN`, and what it may be given as `[RUN]`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Commands(typer.Typer):
    """Commands under one name, or under none."""

    def __init__(self, help: str, **settings: Any) -> None:
        super().__init__(help=help, cls=_Group, rich_markup_mode=None, **settings)

    def command(
        self, name: str | None = None, *, cls: Any = Command, **settings: Any
    ) -> Callable[[_Function], _Function]:
        return super().command(name, cls=cls, **settings)


class CommandWithFields(Command):
    """A command of many options: `--help` shows those most used, `--help-all` all of them and what `--set` takes."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self._format_arguments(ctx, formatter)
        self._format_panel(ctx, formatter, None)

    def full_help(self, ctx: Any) -> str:
        """What `--help-all` shows."""
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        for panel in dict.fromkeys(_PANELS.values()):
            self._format_panel(ctx, formatter, panel)
        _write_fields(formatter)
        return str(formatter.getvalue().rstrip())

    def _format_arguments(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Arguments"):
            formatter.write_dl([param.get_help_record(ctx) for param in self._of_type("argument", ctx)])

    def _format_panel(self, ctx: Any, formatter: Any, panel: str | None) -> None:
        options = [param for param in self._of_type("option", ctx) if _PANELS.get(param.name) == panel]
        if options:
            with formatter.section(panel or "Options"):
                formatter.write_dl([option.get_help_record(ctx) for option in options])

    def _of_type(self, kind: str, ctx: Any) -> list[Any]:
        return [param for param in self.get_params(ctx) if param.param_type_name == kind]


_PANELS = {
    **dict.fromkeys(("until", "trial_timeout"), "End of the search"),
    **dict.fromkeys(("engine", "storage", "keep_probabilities"), "Search and storage"),
    **dict.fromkeys(("workers_per_gpu", "scheduler", "scheduler_file", "dashboard"), "Cluster"),
    **dict.fromkeys(("require_gpu", "force", "profile"), "Checks"),
}
"""The parts of `--help-all` that `--help` leaves out, by the names of their options."""


def _write_fields(formatter: Any) -> None:
    from lsml.config.schema import TrainConfig

    rows = [
        (f"{spec.name}={spec.default}", f"{spec.description}  [{f'{spec.bounds} {spec.unit}'.strip()}]")
        for spec in TrainConfig.fields()
    ]
    with formatter.section("Fields for --set, with their defaults"):
        formatter.write_dl(rows, col_max=40)


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked and isinstance(context.command, CommandWithFields):
        typer.echo(context.command.full_help(context))
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option("--help-all", help="Show all options, and the fields of --set.", is_eager=True, callback=_show_all),
]
