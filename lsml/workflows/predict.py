"""A model on a folder of patches, and on a scene."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from lsml.data.arrays import file_of
from lsml.data.quality import admit, look_at_files
from lsml.data.scan import scan_images
from lsml.errors import DataError
from lsml.evaluation.predict import (
    Augmentation,
    PredictResult,
    check_output_folder,
    over_symmetries,
    predict_patches,
    with_deviation,
)
from lsml.names import VERSION
from lsml.scenes.maps import (
    MASK,
    PLAIN,
    PROBABILITY,
    STEPS,
    UNCERTAIN,
    UNCERTAINTY,
    SceneResult,
    Unfinished,
    count_pixels,
    level_of,
    predict_rows,
    write_maps,
)
from lsml.scenes.polygons import GEOJSON, GEOPACKAGE, check_installed, write_polygons
from lsml.scenes.quicklook import PAGE, QUICKLOOK, draw_overview, write_quicklook
from lsml.scenes.reading import Scene, Values
from lsml.scenes.stac import ITEM, time_of, write_item
from lsml.scenes.tiling import Tiling
from lsml.tracking import asked_for
from lsml.tracking.models import RunModel
from lsml.tracking.store import open_store
from lsml.tracking.study import model_run, named_run
from lsml.workflows.sources import SILENT
from lsml.workspace import STATE_FOLDER, Progress, exclusively, lock_file, make_folder

_OF_POLYGONS = (GEOPACKAGE, GEOJSON, QUICKLOOK, PAGE, ITEM)
"""Files that are made of a scene's polygons; the last lists the others."""


def predict(
    folder: str | Path,
    *,
    run_id: str | None = None,
    model: str | None = None,
    out: str | Path = "predictions",
    pictures: int = 12,
    tta: Augmentation = "none",
    force: bool = False,
    progress: Progress = SILENT.step,
) -> PredictResult:
    """Writes masks, probabilities and pictures of the patches in `folder` below `out`.

    The model is that of a run (a study's run stands for its best trial) or `NAME@ALIAS` or `NAME/VERSION` of the
    registry. What an interrupted call wrote is written again.

    Args:
        folder: that holds `image_<number>.h5`, or `img/` with them.
        out: gets `mask/` (uint8 `(H, W)` of 0 and 1), `probability/` (float32 `(H, W)` in 0..1) and `panel/` (PNG).
        pictures: of so many patches, those with the largest share of landslide.
        tta: `d4` for the mean over the eight symmetries of each patch.
        force: only warn of values that look wrong.
        progress: hears how many patches are done.

    Raises:
        ConfigError: neither or both of run and model.
        DataError: patches that cannot be read, or an `out` that holds other things.
        StorageError: no such run or registered model.
        ModelError: the run has no model, or one that is refused.

    Examples:
        >>> result = lsml.predict("patches", model="demo@champion", out="maps")
        >>> result.to_frame().sort_values("landslide_share")
    """
    name = asked_for(run_id, model)
    patches, out = scan_images(Path(folder)), Path(out)
    check_output_folder(out, [file_of(patch.image) for patch in patches])
    client = open_store()
    source = str(model_run(client, named_run(client, name)).info.run_id)
    loaded = RunModel(client, source).load()
    admit({f"folder {folder}": look_at_files(patches, loaded.sensor)}, force=force)
    predictions = predict_patches(
        over_symmetries(loaded.predict) if tta == "d4" else loaded.predict,
        patches,
        loaded.threshold,
        out,
        sensor=loaded.sensor,
        pictures=pictures,
        progress=lambda done, total: progress("patches", done, total),
    )
    return PredictResult(predictions, loaded.threshold, source)


def predict_scene(
    scene: str | Path,
    *,
    run_id: str | None = None,
    model: str | None = None,
    out: str | Path = "predictions",
    dem: str | Path | None = None,
    bands: Mapping[str, int] | None = None,
    values: Values = "auto",
    tile: int = 256,
    overlap: int = 64,
    tta: Augmentation = "none",
    uncertainty: bool = False,
    polygons: bool = True,
    min_area: float = 0.0,
    force: bool = False,
    progress: Progress = SILENT.step,
) -> SceneResult:
    """Writes maps of a GeoTIFF of any size below `out`, on its grid: probability and mask; and landslides as polygons.

    Memory is that of a row of tiles. What was interrupted goes on with the row of tiles where it was, if scene, model
    and settings are the same; else from the start.

    Args:
        scene: a GeoTIFF with a coordinate system.
        dem: a GeoTIFF of elevations in metres, of which the model's slope and elevation are made.
        bands: which of the scene's bands, from 1, is which of the model's, by name or role; without it by the
            descriptions in the file, and by order where it has none.
        values: see `Scene.of`.
        tile: see `Tiling`.
        overlap: see `Tiling`.
        tta: `d4` for the mean over the eight symmetries of each tile.
        uncertainty: also write `uncertainty.tif`, see `write_maps`, and the mean of its first band of each polygon; by
            the members of a mean, each over the eight symmetries, see `lsml.evaluation.predict.with_deviation`.
        polygons: also write `landslides.gpkg` and `landslides.geojson`, see `write_polygons`, `quicklook.png` and
            `map.html` of them, see `write_quicklook`, and `item.json` of all, see `write_item`.
        min_area: of the smallest polygon, in square metres.
        force: only warn of values that look wrong.
        progress: hears how many tiles are done.

    Raises:
        ConfigError: neither or both of run and model; bands or tiles that cannot be; a package is missing.
        DataError: a scene or a DEM that cannot be used, or an `out` that holds other things or cannot be written.
        StorageError: no such run or registered model, or another process maps into the same folder.
        ModelError: the run has no model, or one that is refused.
    """
    name = asked_for(run_id, model)
    scene, dem, out = Path(scene), Path(dem) if dem else None, Path(out)
    if polygons:
        check_installed(", or go without polygons: --no-polygons")
    client = open_store()
    source = str(model_run(client, named_run(client, name)).info.run_id)
    loaded = RunModel(client, source).load()
    key = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    settings = {"bands": dict(bands or {}), "values": values, "tile": tile, "overlap": overlap, "tta": tta}
    settings |= {"uncertainty": uncertainty}
    with exclusively(lock_file(f"scene-{key}"), f"folder {out}", fix="wait for it, or give another --out"):
        with Scene.of(scene, loaded.sensor, dem=dem, bands=bands or {}, values=values) as opened:
            tiling = Tiling.of(opened.file.height, opened.file.width, tile=tile, overlap=overlap)
            admit({f"scene {scene}": opened.examine(tiling)}, force=force)
            _make_output_folder(out)
            files = [_file_identity(path) for path in (scene, dem) if path]
            identity = {"version": VERSION, "model": loaded.sha256, "files": files, **settings}
            layers = UNCERTAIN if uncertainty else PLAIN
            unfinished = Unfinished(STATE_FOLDER / "scenes" / key, identity, opened.file.shape, layers)
            predict = over_symmetries(loaded.predict_whole) if tta == "d4" else loaded.predict_whole
            if uncertainty:
                predict = with_deviation(predict, loaded.members())
            predict_rows(opened, tiling, predict, unfinished, partial(progress, "tiles"))
            facts = {
                "lsml": VERSION,
                "model_run_id": source,
                "model_sha256": loaded.sha256,
                "threshold": str(level_of(loaded.threshold) / STEPS),
                "scene": scene.name,
                **{name: str(value) for name, value in settings.items() if value},
            }
            kept: dict[str, Any] = {"grid": opened.grid, "facts": facts}
            count, beside = None, ThreadPoolExecutor(1)
            try:
                # GDAL does these without Python's lock, while the outlines are found.
                picture = beside.submit(draw_overview, opened) if polygons else None
                maps = beside.submit(write_maps, unfinished, loaded.threshold, out, **kept)
                if picture is not None:
                    options: dict[str, Any] = {"min_area": min_area, "progress": partial(progress, "polygons")}
                    landslides = write_polygons(unfinished, loaded.threshold, out, **options, **kept)
                    write_quicklook(picture.result(), landslides, out, **kept)
                    count = len(landslides)
                maps.result()
            finally:
                beside.shutdown(cancel_futures=True)
            # What an earlier call left would be taken for this one's.
            for name in (*(() if uncertainty else (UNCERTAINTY,)), *(() if polygons else _OF_POLYGONS)):
                (out / name).unlink(missing_ok=True)
            if polygons:
                names = [PROBABILITY, MASK, *([UNCERTAINTY] if uncertainty else []), *_OF_POLYGONS[:-1]]
                write_item(out, names, time=time_of(opened.file, scene), **kept)
        pixels, share = count_pixels(unfinished, loaded.threshold)
        unfinished.remove()
    return SceneResult(out, pixels, share, count, loaded.threshold, source)


def _file_identity(path: Path) -> list[str | int]:
    """What tells a file from another, and from itself after a change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _make_output_folder(out: Path) -> None:
    """Raises DataError where maps cannot be written into a folder, before anything is predicted."""
    check_output_folder(out, (), (PROBABILITY, MASK, UNCERTAINTY, *_OF_POLYGONS))
    try:
        make_folder(out)
        check = out / f"{PROBABILITY}.partial"
        check.touch()
        check.unlink()
    except OSError as error:
        raise DataError(f"folder {out}", f"cannot be written to: {error.strerror}", "give another --out") from None
