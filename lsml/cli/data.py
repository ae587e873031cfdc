"""`lsml data`: make patches, look at patches."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lsml.cli import options

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("synth")
def synth(
    out: Annotated[Path, typer.Argument(help="folder to make", metavar="OUT")] = Path("data/synthetic"),
    seed: options.Seed = None,
    train: Annotated[int, typer.Option(help="patches in the train split", min=1)] = 96,
    validation: Annotated[int, typer.Option(help="patches in the validation split", min=1)] = 32,
    test: Annotated[int, typer.Option(help="patches in the test split", min=1)] = 32,
) -> None:
    """Make a synthetic dataset in the Landslide4Sense format."""
    from lsml.cli.output import Reporter
    from lsml.data.synthetic import synthesize

    with Reporter() as reporter:
        synthesize(
            out,
            train=train,
            validation=validation,
            test=test,
            seed=seed or 0,
            progress=lambda done, total: reporter.step("patches", done, total),
        )
    typer.echo(f"made {train} train, {validation} validation and {test} test patches in {out}")
    typer.echo(f"next: lsml data show {out}")


@app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(help="folder of the patches", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="PNG file to write", metavar="FILE")] = Path("patches.png"),
    patches: Annotated[int, typer.Option("--patches", help="how many, evenly over the split", min=1, max=64)] = 6,
    split: Annotated[Literal["train", "validation"], typer.Option("--split", help="which split")] = "train",
) -> None:
    """Draw true colour, false colour, slope and mask of some patches into one PNG."""
    from lsml.jobs.show import show as job

    drawn = job(folder, out=out, patches=patches, split=split)
    typer.echo(f"drew {', '.join(drawn)} into {out}")
