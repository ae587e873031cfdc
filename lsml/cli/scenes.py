"""`lsml scene`: scenes of products; `lsml data tile` and `suggest`: patches of scenes, and where to map next."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.scenes.patches import TiledScenes

app = options.Commands("Make scenes of products.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # Typer makes a group of one command only where there is such a function.
    pass


@app.command("assemble")
def _assemble(
    product: Annotated[
        Path, typer.Argument(help="Folder *.SAFE of Sentinel-2, of level 1C or 2A, unpacked.", metavar="PRODUCT")
    ],
    out: Annotated[Path, typer.Option("--out", help="GeoTIFF to write.", metavar="FILE")] = Path("scene.tif"),
    before: Annotated[
        Path | None,
        typer.Option("--before", help="Product of an earlier day: also write what changed since, as bands B01-change "
                     "and so on.", parser=options.path, metavar="PRODUCT"),
    ] = None,
    dem: Annotated[
        Path | None,
        typer.Option("--dem", help="GeoTIFF of elevations, of which slope and elevation are made.",
                     parser=options.path, metavar="FILE"),
    ] = None,
    only: Annotated[
        str, typer.Option("--only", help="Bands to take, such as B02,B03,B04,B08.  [default: all]",
                          metavar="NAME,...", show_default=False)
    ] = "",
    bounds: Annotated[
        str, typer.Option("--bounds", help="Part to take, as west,south,east,north in degrees.  [default: all]",
                          metavar="W,S,E,N", show_default=False)
    ] = "",
    json: options.Json = False,
) -> None:  # fmt: skip
    """Write a Sentinel-2 product, and a DEM's slope and elevation, as one GeoTIFF of named bands on its finest grid.

    Values stay as they are stored; scale and offset in the file make them reflectance, degrees and metres.
    """
    from lsml.cli.output import Reporter
    from lsml.scenes.sentinel import assemble as job

    names = [name.strip().upper() for name in only.split(",") if name.strip()]
    with Reporter() as reporter:
        given: dict[str, Any] = {"before": before, "dem": dem, "only": names, "bounds": _box(bounds)}
        done = job(product, out, **given, progress=partial(reporter.step, "rows"))
    if json:
        options.print_json(done._asdict() | {"scene": str(out)})
        return
    height, width = done.shape
    typer.echo(f"{done.level} of {done.acquired}, baseline {done.baseline}: {', '.join(done.bands)}")
    typer.echo(f"made a scene of {height} x {width} pixels: {out}")
    typer.echo(f"next: lsml predict {out} --model demo@champion --out maps")


def _box(text: str) -> tuple[float, float, float, float] | None:
    """Four numbers.

    Raises BadParameter where it is something else.
    """
    if not text:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        west = south = east = north = 0.0
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise typer.BadParameter(f"{text!r} is not W,S,E,N in degrees, such as 86.9,28,87,28.1", param_hint="--bounds")
    return west, south, east, north


def tile(
    scenes: Annotated[list[Path], typer.Argument(help="GeoTIFF scenes of the same bands.", metavar="SCENE")],
    landslides: Annotated[
        list[Path],
        typer.Option("--landslides", help="Polygons of landslides, of any format and coordinate system.",
                     metavar="FILE"),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to create.", metavar="DIR")],
    size: Annotated[int, typer.Option("--size", help="Side of a patch in pixels.", min=16, max=2048)] = 256,
    dem: Annotated[
        list[Path] | None,
        typer.Option("--dem", help="GeoTIFF of elevations, for slope and elevation: one for all scenes, or one each.",
                     metavar="FILE"),
    ] = None,
    mapped: Annotated[
        Path | None,
        typer.Option("--mapped", help="Polygons of where landslides were mapped; elsewhere pixels are ignored.",
                     parser=options.path, metavar="FILE"),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Of files with several layers of polygons.", metavar="NAME")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", help="Dataset whose bands the patches get, by name.  [default: all of the first scene]",
                     parser=options.path, metavar="DIR", show_default=False),
    ] = None,
    bands: Annotated[
        str,
        typer.Option("--bands", help="Which of a scene's bands is which, such as red=3,green=2; else by their "
                     "descriptions. Without --like the patches get these bands alone, by these names.",
                     metavar="NAME=N,..."),
    ] = "",
    values: Annotated[
        Literal["auto", "stored", "physical"],
        typer.Option(
            "--values", help="What scenes' numbers are, with --like: those of its patches, or reflectance and such."
        ),
    ] = "auto",
    gap: Annotated[
        int, typer.Option("--gap", help="Rows of patches left out between two splits.", min=0, metavar="N")
    ] = 0,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Make patches with masks of scenes and polygons of landslides, divided into splits by contiguous blocks.

    A pixel is landslide where its middle lies in a polygon. Of each scene at most seven blocks of rows or columns of
    patches are regions; one of them is for validation and one for test.
    """
    from lsml.cli.output import Reporter
    from lsml.workflows.scenes import tile as job

    with Reporter() as reporter:
        made = job(
            scenes,
            landslides,
            out,
            size=size,
            dems=dem or [],
            mapped=mapped,
            layer=layer,
            like=like,
            bands=options.band_numbers(bands),
            values=values,
            gap=gap,
            progress=reporter.step,
        )
    if json:
        options.print_json(_tiled_record(made) | {"dataset": str(out)})
        return
    for name, split in made.splits.items():
        typer.echo(f"{name}: {split.patches} patches, {split.landslide_share:.2%} of their pixels landslide")
    typer.echo(f"{made.met:,} of {made.polygons:,} polygons lie in the scenes; {made.regions} regions")
    typer.echo(f"left out: {made.left_out} squares with too few values, {made.between} between splits")
    typer.echo(f"made patches of {size} x {size} pixels in {out}")
    typer.echo(f"next: lsml data check {out}")


def _tiled_record(made: "TiledScenes") -> dict[str, Any]:
    splits = {
        name: {"patches": split.patches, "landslide_share": split.landslide_share}
        for name, split in made.splits.items()
    }
    counts = {"left_out": made.left_out, "between_splits": made.between, "regions": made.regions}
    return {"splits": splits, **counts, "polygons": made.polygons, "polygons_in_scenes": made.met}


def suggest(
    maps: Annotated[
        list[Path],
        typer.Argument(help="Folder that lsml predict wrote, or a raster of uncertainty.", metavar="DIR|RASTER"),
    ],
    out: Annotated[Path, typer.Option("--out", help="GeoJSON of squares to write.", metavar="FILE")] = Path(
        "squares.geojson"
    ),
    by: Annotated[
        Literal["deviation", "entropy"],
        typer.Option("--by", help="What counts of uncertainty.tif: its first band, or its second."),
    ] = "deviation",
    count: Annotated[int, typer.Option("--count", help="Number of squares at most.", min=1, metavar="N")] = 20,
    size: Annotated[int, typer.Option("--size", help="Side of a square in pixels.", min=16, max=2048)] = 256,
    distance: Annotated[
        float | None,
        typer.Option(
            "--distance",
            help="Least distance between middles in metres.  [default: two sides of a square]",
            min=0,
            metavar="M",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say where to map landslides next: the squares of which a model is least certain, at a distance from each other.

    Of uncertainty.tif the deviation counts, without one the entropy of probability.tif. Squares are the patches that
    lsml data tile cuts the scene into with the same --size.
    """
    from lsml.scenes.polygons import check_installed
    from lsml.scenes.suggestion import suggest_squares

    check_installed()
    squares = suggest_squares(maps, out, by=by, count=count, size=size, distance=distance)
    if json:
        shown = [{"raster": str(one.raster), "row": one.row, "column": one.column, "mean_uncertainty": one.score}
                 for one in squares]  # fmt: skip
        options.print_json({"squares": shown, "file": str(out)})
        return
    scores = f"mean uncertainty {squares[0].score:.4f} to {squares[-1].score:.4f}"
    typer.echo(f"{len(squares)} squares of {size} x {size} pixels, {scores}, in {out}")
    typer.echo("next: map all landslides in them as polygons")
    typer.echo(f"then: lsml data tile SCENE --landslides POLYGONS --mapped {out} --size {size} --out DIR")
