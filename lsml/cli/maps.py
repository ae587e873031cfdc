"""`lsml map`: how right a map of a scene is, and how much area is landslide."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.scoring.area import MapAccuracy

app = options.Commands("Assess maps of scenes.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # Typer makes a group of one command only where there is such a function.
    pass


@app.command("assess")
def _assess(
    mask: Annotated[Path, typer.Argument(help="The mask.tif that lsml predict wrote.", metavar="MASK")],
    labelled: Annotated[
        Path | None,
        typer.Option(
            "--labelled",
            help="The points with a label each: estimate accuracy and area.  [default: draw points to label]",
            parser=options.path,
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="GeoJSON of points to write.", metavar="FILE")] = Path(
        "points.geojson"
    ),
    points: Annotated[
        int | None,
        typer.Option("--points", help="Number of points.  [default: by --standard-error]", min=4, show_default=False),
    ] = None,
    standard_error: Annotated[
        float,
        typer.Option("--standard-error", help="Of the overall accuracy that is aimed at.", min=0.001, max=0.5),
    ] = 0.01,
    expected: Annotated[
        str,
        typer.Option(
            "--expected",
            help="User's accuracies that are expected of landslide and of the rest, for --standard-error.",
            metavar="U,U",
        ),
    ] = "0.7,0.95",
    seed: options.Seed = None,
    json: options.Json = False,
) -> None:
    """Draw random points of a mask to look at and label; with --labelled, estimate accuracy and landslide area of them.

    Points are stratified by the mask's two classes. Each gets a label of 1 for landslide and 0 for none, in QGIS or an
    editor. Estimates have 95 % intervals (Olofsson et al. 2014).
    """
    from lsml.workflows.assess import draw_sample, estimate

    if labelled is None:
        users = _shares(expected)
        sample = draw_sample(
            mask, out=out, points=points, standard_error=standard_error, expected=users, seed=seed or 0
        )
        _print_sample(sample, mask, out, json=json)
    else:
        _print_accuracy(estimate(mask, labelled), json=json)


def _shares(text: str) -> tuple[float, float]:
    """Two numbers in 0..1.

    Raises BadParameter where it is something else.
    """
    try:
        landslide, other = (float(part) for part in text.split(","))
    except ValueError:
        landslide = other = -1.0
    if not (0 <= landslide <= 1 and 0 <= other <= 1):
        raise typer.BadParameter(f"{text!r} is not two accuracies, such as 0.7,0.95", param_hint="--expected")
    return landslide, other


def _print_sample(sample: tuple[int, int], mask: Path, out: Path, *, json: bool) -> None:
    if json:
        options.print_json({"points": str(out), "landslide": sample[0], "not_landslide": sample[1]})
        return
    typer.echo(f"{sample[0]} points of landslide and {sample[1]} of the rest, in random order, in {out}")
    typer.echo("next: set the label of each to 1 for landslide and 0 for none, without a look at the mask")
    typer.echo(f"then: lsml map assess {mask} --labelled {out}")


def _print_accuracy(accuracy: "MapAccuracy", *, json: bool) -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import accuracy_table

    if json:
        options.print_json(_record(accuracy))
        return
    print_table(accuracy_table(accuracy))
    typer.echo(f"overall accuracy {accuracy.overall.describe()}")
    typer.echo("95 % intervals, of 1.96 standard errors (Olofsson et al. 2014)")


def _record(accuracy: "MapAccuracy") -> dict[str, Any]:
    landslide = {
        "users_accuracy": accuracy.users[0],
        "producers_accuracy": accuracy.producers[0],
        "share": accuracy.shares[0],
        "area_m2": accuracy.areas[0],
    }
    other = {"users_accuracy": accuracy.users[1], "producers_accuracy": accuracy.producers[1]}
    return {
        "overall_accuracy": accuracy.overall.record(),
        "landslide": {name: estimate.record() for name, estimate in landslide.items()},
        "not_landslide": {name: estimate.record() for name, estimate in other.items()},
    }
