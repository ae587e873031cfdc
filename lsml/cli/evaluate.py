"""`lsml evaluate` and `lsml predict`: a model on a split, on a folder of patches, and on a scene."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.evaluation.evaluate import EvaluationReport
    from lsml.evaluation.predict import PredictResult
    from lsml.scenes.maps import SceneResult
    from lsml.scoring.objects import ObjectCounts


def evaluate(
    run: options.Run = None,
    run_id: options.RunId = None,
    model: options.Model = None,
    split: Annotated[
        Literal["test", "valid"],
        typer.Option(
            "--split",
            help="Split to evaluate on; openings of test are counted.",
            parser=options.split("test", "valid"),
            metavar="test|validation",
        ),
    ] = "test",
    tta: Annotated[
        Literal["none", "d4"],
        typer.Option(
            "--tta", help="Test-time augmentation: also score the mean over the eight symmetries of each patch."
        ),
    ] = "none",
    data: options.Data = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also score a logistic regression on single pixels.")
    ] = False,
    by: Annotated[
        Literal["none", "region"],
        typer.Option("--by", help="Also score each region, as dataset.yaml tells them, by itself."),
    ] = "none",
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Evaluate a run's or a registered model on a split, and log the scores to MLflow."""
    from lsml.cli.output import Reporter

    asked = options.named(run, run_id, model)
    # After the name was looked at: a wrong one is told before MLflow and Keras are loaded.
    from lsml.workflows.evaluate import evaluate as job

    with Reporter() as reporter:
        report = job(
            run_id=asked,
            split=split,
            tta=tta,
            data=data,
            baseline=baseline,
            by=by,
            force=force,
            progress=reporter.step,
        )
    if json:
        options.print_json(_record(report))
    else:
        _print(report)


def _record(report: "EvaluationReport") -> dict[str, Any]:
    found = report.evaluation
    record: dict[str, Any] = {
        "run_id": report.run_id,
        "model_run_id": report.model_run_id,
        "split": report.split,
        "n_patches": len(found.patches),
        "threshold": found.threshold,
        "metrics": found.metrics,
        # For papers that report these; not comparable with the pooled scores.
        "other_averages": found.other_averages,
        "intervals": {name: list(interval) for name, interval in found.intervals.items()},
        "objects": asdict(found.objects),
        "test_openings": report.openings,
        "data_fingerprint": report.fingerprint,
    }
    if report.augmented:
        record["tta"] = {
            "name": "d4",
            "metrics": report.augmented.metrics,
            "intervals": {name: list(interval) for name, interval in report.augmented.intervals.items()},
            "f1_above_plain": report.gained._asdict() if report.gained else None,
        }
    if report.baseline:
        record["pixel_baseline"] = report.baseline.metrics
        record["f1_above_pixel_baseline"] = report.ahead._asdict() if report.ahead else None
    if report.regions:
        record["regions"] = [region.record() for region in report.regions]
    return record


def _print(report: "EvaluationReport") -> None:
    from lsml.cli.output import print_reliability, print_table
    from lsml.report.summary import Table, evaluation_tables
    from lsml.scoring.regions import RegionScore

    found = report.evaluation
    title = f"{report.split} split, {len(found.patches)} patches"
    for table in evaluation_tables(title, found, augmented=report.augmented, baseline=report.baseline):
        print_table(table)
    typer.echo("these means, as some papers report them, are not comparable with the pooled scores above")
    if ahead := report.ahead:
        typer.echo(f"F1 above logistic regression: {ahead.describe()}")
    if gained := report.gained:
        typer.echo(f"F1 of eight orientations above plain: {gained.describe()}")
        typer.echo("the threshold was chosen without test-time augmentation (--tta d4), and is used with it too")
    print_reliability(len(found.patches))
    if report.regions:
        print_table(Table.of_regions(report.regions, f"{report.split} split by region"))
        worst = RegionScore.worst(report.regions)
        if worst is None or len(report.regions) > 1:
            typer.echo(f"worst region: {worst.describe()}" if worst else "no region has landslides")
    for line in _describe_objects(found.objects, report.pixel_metres):
        typer.echo(line)
    typer.echo(f"threshold {found.threshold:.4f}, chosen on validation; model of run {report.model_run_id}")
    typer.echo(f"data: {report.data}")
    if report.split == "valid":
        typer.echo("optimistically biased: the model's epoch and threshold were chosen on these patches")
    if report.openings is not None:
        _print_openings(report.openings)
    if report.unreported:
        typer.echo(report.unreported)


def _print_openings(openings: int) -> None:
    times = "for the first time" if openings == 1 else f"{openings} times by now"
    typer.echo(f"opening {openings} of the test split: it has been opened {times} for this study or model")


def _describe_objects(objects: "ObjectCounts", pixel_metres: float | None) -> Iterator[str]:
    """Landslides hit by size, and false alarms, as far as there are patches to tell."""
    from lsml.scoring.objects import SIZE_LIMITS

    def size(pixels: int) -> str:
        return f"{pixels} pixels" if pixel_metres is None else f"{pixels * pixel_metres**2 / 10_000:g} ha"

    sizes = [f"up to {size(limit)}" for limit in SIZE_LIMITS] + ["larger"]
    hits = zip(sizes, objects.hits, objects.landslides, strict=True)
    yield "landslides hit (half of their pixels): " + ", ".join(f"{hit} of {n} {size}" for size, hit, n in hits)
    yield f"false alarms: {objects.false_alarms} of {objects.predicted} predicted areas"
    if objects.empty_pixels and pixel_metres is not None:
        alarms, area = objects.empty_false_alarms, objects.empty_km2(pixel_metres)
        yield f"patches without landslide: {alarms} false alarms on {area:.2f} km2, {alarms / area:.2f} a km2"


_OF_SCENES = ("dem", "bands", "values", "tile", "overlap", "uncertainty", "polygons", "min_area")
"""Parameters of `predict` that folders of patches do not have; `pictures` is one that scenes do not."""


def predict(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(help="Folder that holds image_N.h5 or img/, or a GeoTIFF scene.", metavar="DIR|SCENE"),
    ],
    run: options.Run = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.", metavar="DIR")] = Path("predictions"),
    run_id: options.RunId = None,
    model: options.Model = None,
    pictures: Annotated[
        int,
        typer.Option("--pictures", help="Patches to draw: those with the most landslide.", min=0, metavar="N"),
    ] = 12,
    dem: Annotated[
        Path | None,
        typer.Option(
            "--dem",
            help="GeoTIFF of elevations, of which a scene's slope and elevation are made.",
            parser=options.path,
            metavar="FILE",
        ),
    ] = None,
    bands: Annotated[
        str,
        typer.Option(
            "--bands",
            help="Which of a scene's bands is which of the model's, such as red=3,green=2; else by their descriptions.",
            metavar="NAME=N,...",
        ),
    ] = "",
    values: Annotated[
        Literal["auto", "stored", "physical"],
        typer.Option(
            "--values",
            help="What a scene's numbers are: those of the model's training patches, or reflectance and such.",
        ),
    ] = "auto",
    tile: Annotated[int, typer.Option("--tile", help="Side of a scene's tiles in pixels.", metavar="N")] = 256,
    overlap: Annotated[int, typer.Option("--overlap", help="Pixels that neighbours share.", metavar="N")] = 64,
    tta: Annotated[
        Literal["none", "d4"],
        typer.Option("--tta", help="Test-time augmentation: the mean over the eight symmetries of each tile."),
    ] = "none",
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write a scene's uncertainty: deviation over members and orientations, and entropy. Each tile is "
            "predicted nine times.",
        ),
    ] = False,
    polygons: Annotated[
        bool,
        typer.Option(
            "--polygons/--no-polygons", help="Also write a scene's landslides as GeoPackage, GeoJSON, picture and page."
        ),
    ] = True,
    min_area: Annotated[
        float, typer.Option("--min-area", help="Square metres of the smallest polygon.", min=0, metavar="M2")
    ] = 0.0,
    force: options.Force = False,
) -> None:
    """Write landslide masks and probabilities: of a folder of patches, or of a scene as GeoTIFF."""
    from lsml.cli.output import Reporter

    is_scene = source.is_file() or source.suffix.lower() in (".tif", ".tiff")
    for name in ("pictures",) if is_scene else _OF_SCENES:
        options.check_not_given(context, name, "a folder of patches" if is_scene else "a scene")
    asked = options.named(run, run_id, model)
    from lsml.workflows.predict import predict as job
    from lsml.workflows.predict import predict_scene

    chosen: dict[str, Any] = {"run_id": asked, "out": out, "tta": tta, "force": force}
    result: PredictResult | SceneResult
    with Reporter() as reporter:
        if is_scene:
            result = scene = predict_scene(
                source,
                dem=dem,
                bands=options.band_numbers(bands),
                values=values,
                tile=tile,
                overlap=overlap,
                uncertainty=uncertainty,
                polygons=polygons,
                min_area=min_area,
                progress=reporter.step,
                **chosen,
            )
            lines = _describe_scene(scene)
        else:
            result = patches = job(source, pictures=pictures, progress=reporter.step, **chosen)
            lines = _describe_patches(patches, out, pictures)
    typer.echo(f"model of run {result.model_run_id}, landslide from probability {result.threshold:.4f} on")
    for line in lines:
        typer.echo(line)


def _describe_scene(result: "SceneResult") -> Iterator[str]:
    counted = f", {result.landslides:,} landslides" if result.landslides is not None else ""
    yield f"{result.pixels:,} pixels, {result.landslide_share:.2%} of them landslide{counted}"
    yield f"wrote {', '.join(sorted(path.name for path in result.out.iterdir()))} in {result.out}"


def _describe_patches(result: "PredictResult", out: Path, pictures: int) -> Iterator[str]:
    shares = [prediction.landslide_share for prediction in result.predictions]
    yield f"{len(shares)} patches, {sum(shares) / len(shares):.2%} of their pixels landslide"
    drawn = f" and {min(pictures, len(shares))} pictures in {out / 'panel'}" if pictures else ""
    yield f"wrote {out / 'mask'}, {out / 'probability'}{drawn}"
