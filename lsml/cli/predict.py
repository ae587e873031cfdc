"""`lsml predict`: apply a model to a folder of patches."""

from pathlib import Path
from typing import Annotated

import typer

from lsml.cli import options


def predict(
    folder: Annotated[Path, typer.Argument(help="folder that holds image_N.h5, or img/ with them", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="folder to write", metavar="DIR")] = Path("predictions"),
    run_id: options.RunId = None,
    model: options.Model = None,
) -> None:
    """Write landslide masks, probabilities and pictures of a folder of patches."""
    from lsml.cli.output import Reporter
    from lsml.jobs.predict import predict as job

    with Reporter() as reporter:
        result = job(folder, run_id=run_id, model=model, out=out, progress=reporter.step)
    shares = [prediction.landslide_share for prediction in result.predictions]
    typer.echo(f"model of run {result.model_run_id}, landslide from probability {result.threshold:.4f} on")
    typer.echo(f"{len(shares)} patches, {sum(shares) / len(shares):.2%} of their pixels landslide")
    typer.echo(f"wrote {out / 'mask'}, {out / 'probability'} and {out / 'panel'}")
