"""Options that several commands share, each declared once, and help for hyperparameters.

An empty string means "not given": MLflow's project runner passes every parameter of an entry point.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

DEFAULT_EXPERIMENT = "experiments/demo.yaml"


def _optional(convert: Callable[[str], Any], name: str) -> Any:
    def parse(text: str) -> Any:
        return None if text == "" else convert(text)

    parse.__name__ = name
    return parse


text = _optional(str, "text")
integer = _optional(int, "integer")
path = _optional(Path, "path")

Experiment = Annotated[str, typer.Argument(help="the experiment's YAML file", metavar="EXPERIMENT", show_default=True)]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="folder of the patches, instead of the experiment's own", parser=path, metavar="DIR"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="give a hyperparameter another value: --set model.depth=4", metavar="FIELD=VALUE"),
]
Seed = Annotated[int | None, typer.Option("--seed", help="start of every random choice", parser=integer, metavar="N")]
Study = Annotated[
    str | None,
    typer.Option("--study", help="name of the study, instead of the experiment's", parser=text, metavar="NAME"),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="database of the studies, as a URL without password  [default: sqlite:///optuna.db]",
        parser=text,
        metavar="URL",
        show_default=False,
    ),
]
RunId = Annotated[
    str | None,
    typer.Option("--run-id", help="a trial's, a study's or a training's run", parser=text, metavar="ID"),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="a registered model: demo@candidate or demo/1", parser=text, metavar="NAME@ALIAS|NAME/VERSION"
    ),
]
RequireGpu = Annotated[bool, typer.Option("--require-gpu", help="a machine without a usable GPU is an error")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]


class CommandWithFields(typer.core.TyperCommand):
    """A command whose help ends with the fields that `--set` takes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        from lsml.config.schema import fields

        rows = [
            (f"{spec.name}={spec.default}", f"{spec.description}  [{f'{spec.bounds} {spec.unit}'.strip()}]")
            for spec in fields()
        ]
        with formatter.section("Fields for --set, with their defaults"):
            formatter.write_dl(rows, col_max=40)
