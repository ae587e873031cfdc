"""Help for hyperparameters, read off `TrainConfig` only when help is asked for."""

from typing import Any

import typer.core


class CommandWithFields(typer.core.TyperCommand):
    """A command whose help ends with the fields that `--set` takes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        from lsml.config import fields

        rows = [
            (f"{spec.name}={spec.default}", f"{spec.description}  [{f'{spec.bounds} {spec.unit}'.strip()}]")
            for spec in fields()
        ]
        with formatter.section("Fields for --set, with their defaults"):
            formatter.write_dl(rows, col_max=40)
