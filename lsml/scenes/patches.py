"""Patches of scenes with masks of landslides that somebody mapped, divided into splits by where they lie."""

import csv
import io
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from lsml.data.description import write_bands
from lsml.data.formats import opened
from lsml.data.layout import DESCRIPTION
from lsml.data.listing import SPLITS
from lsml.data.sensor import ELEVATION, SLOPE, Band, Sensor, Unit
from lsml.errors import ConfigError, DataError
from lsml.scenes.mapped import Outlines, Polygons
from lsml.scenes.reading import Scene, Values, bands_of
from lsml.scenes.terrain import pixel_areas
from lsml.workspace import rename_durably

IMAGES, MASKS, TABLE = "images", "masks", "patches.csv"

_IGNORE = 255
"""In a mask: the scene has no value there, or nobody looked."""
_LEAST_KNOWN = 0.5
"""A patch of which less than this share is known is left out."""
_BLOCKS = 7
"""Of a scene at most: the last for test, the one before it for validation."""
_TRAIN_SHARE = (_BLOCKS - 2) / _BLOCKS
_NOT_ONE = 10.0
"""What a split without a landslide counts when ways to divide are compared: more than all shares together."""


class _Patch(NamedTuple):
    """A patch that was written.

    Attributes:
        name: of its files, without their ending.
        place: row and column of the grid of patches.
        landslide, known: pixels.
        usual: median of absolute stored values of each band, NaN where it has none.
    """

    name: str
    place: tuple[int, int]
    landslide: int
    known: int
    usual: np.ndarray


class _TiledSplit(NamedTuple):
    """How many patches a split has, of how many pixels it is known what they are, and how many are landslide."""

    patches: int
    known: int
    landslide: int

    @property
    def landslide_share(self) -> float:
        """Of the pixels of which it is known, 0..1."""
        return self.landslide / max(self.known, 1)


@dataclass(frozen=True)
class TiledScenes:
    """A dataset that was made of scenes.

    Attributes:
        splits: by name.
        regions: how many.
        left_out: squares of the scenes of which less than half is known.
        between: patches that were left out between splits.
        met, polygons: how many polygons touch a square of a scene with values, and how many there are.
    """

    splits: Mapping[str, _TiledSplit]
    regions: int
    left_out: int
    between: int
    met: int
    polygons: int


def tile_scenes(
    scenes: Sequence[Path],
    landslides: Sequence[Path],
    out: Path,
    *,
    size: int,
    layer: str | None = None,
    mapped: Path | None = None,
    dems: Sequence[Path] = (),
    sensor: Sensor | None = None,
    bands: Mapping[str, int] | None = None,
    values: Values = "auto",
    gap: int = 0,
    progress: Callable[[str, int, int], None],
) -> TiledScenes:
    """Writes a dataset of patches with masks: squares of scenes that touch and do not overlap; or nothing.

    `images/` and `masks/` hold GeoTIFFs, `patches.csv` says split and region of each, `dataset.yaml` what the bands
    are. A pixel is landslide where its middle lies in a polygon, as GDAL has it. It is ignored where the scene has no
    value in any band, beyond the scene's edge, and outside of `mapped`. A scene's rows, or columns, of patches are at
    most seven contiguous blocks, of which the last is for test, the one before it for validation; see `_divide`.

    Args:
        scenes: GeoTIFFs with a coordinate system, of the same bands by their names.
        landslides: files of polygons, of any coordinate system.
        out: a folder that does not exist yet, or is empty.
        size: side of a patch in pixels.
        layer: of the files of polygons.
        mapped: polygons of where landslides were looked for; None for everywhere.
        dems: none, one for all scenes, or one for each; of which slope and elevation are made.
        sensor: what patches are to hold; None for what the first scene does.
        bands, values: as of `Scene.of`; without a sensor patches hold the bands that are named, by these names.
        gap: rows of patches that are left out between two splits.

    Raises:
        ConfigError: numbers that cannot be.
        DataError: a file cannot be used, `out` holds something or cannot be written, or there is too little to divide.
    """
    names = _names(scenes)
    if len(dems) not in (0, 1, len(scenes)):
        raise ConfigError("--dem", f"{len(dems)} for {len(scenes)} scenes", "give one for all, or one for each in turn")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"dataset {out}", "already exists", "choose another folder")
    drawn = [Polygons.of(path, layer) for path in landslides]
    looked_at = [Polygons.of(mapped, layer)] if mapped else []
    terrain: Sequence[Path | None] = [*dems] * len(scenes) if len(dems) == 1 else [*dems] or [None] * len(scenes)
    sensor = sensor or _sensor_of(scenes[0], bands or {}, terrain=bool(dems))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            dataset = _Dataset(Path(staging) / "dataset", size, gap)
            for path, name, dem in zip(scenes, names, terrain, strict=True):
                with Scene.of(path, sensor, dem=dem, bands=bands or {}, values=values) as scene:
                    outlines = Outlines(drawn, scene.file)
                    limits = Outlines(looked_at, scene.file) if looked_at else None
                    dataset.add(_Cutter(scene, name, size, outlines, limits, dataset.folder), partial(progress, name))
                    dataset.met |= outlines.met
            splits = dataset.finish(sensor, scenes, landslides)
            rename_durably(dataset.folder, out)
    except (OSError, RasterioError) as error:
        why = f"cannot be written: {getattr(error, 'strerror', None) or error}"
        raise DataError(f"dataset {out}", why, "free space there or choose another folder") from None
    polygons = sum(len(each.outlines) for each in drawn)
    regions = len({region for _, _, region in dataset.rows})
    return TiledScenes(splits, regions, dataset.left_out, dataset.between, len(dataset.met), polygons)


class _Dataset:
    """A folder of patches on its way.

    Attributes:
        rows: of the table: path, split and region of each patch.
        met: places of the polygons that touch a square of a scene with values.
        left_out, between: see `TiledScenes`.
    """

    def __init__(self, folder: Path, size: int, gap: int) -> None:
        self.folder, self._size, self._gap = folder, size, gap
        self.rows: list[tuple[str, str, str]] = []
        self.met: set[int] = set()
        self.left_out = self.between = 0
        self._kept: list[tuple[str, _Patch]] = []
        for kind in (IMAGES, MASKS):
            (folder / kind).mkdir(parents=True)

    def add(self, cutter: "_Cutter", progress: Callable[[int, int], None]) -> None:
        """Writes the patches of a scene, and keeps those that are in a split.

        Raises:
            DataError: the scene or its DEM cannot be read.
            OSError, RasterioError: a patch cannot be written.
        """
        patches = list(cutter.cut(progress))
        told = _divide(patches, self._gap)
        self.left_out += cutter.left_out
        for patch in patches:
            split, block = told[patch.place]
            if split:
                region = f"{cutter.name}-{block}" if block else cutter.name
                self.rows.append((f"{IMAGES}/{patch.name}.tif", split, region))
                self._kept.append((split, patch))
            else:
                self.between += 1
                for kind in (IMAGES, MASKS):
                    (self.folder / kind / f"{patch.name}.tif").unlink()

    def finish(self, sensor: Sensor, scenes: Sequence[Path], landslides: Sequence[Path]) -> dict[str, _TiledSplit]:
        """Writes what says what the patches are.

        Raises:
            DataError: a split has no patch or no landslide.
            OSError: it cannot be written.
        """
        splits = _summary(self._kept)
        _check_splits(splits, self._size, self._gap, landslides)
        (self.folder / TABLE).write_text(_csv(self.rows), encoding="utf-8")
        typical = _medians(np.array([patch.usual for _, patch in self._kept]))
        described = _description(sensor.with_typical(np.nan_to_num(typical).tolist()), scenes)
        (self.folder / DESCRIPTION).write_text(described, encoding="utf-8")
        return splits


def _names(scenes: Sequence[Path]) -> list[str]:
    """What the patches of each scene are called after.

    Raises:
        ConfigError: two scenes would share a name.
    """
    names = [re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_") or "scene" for path in scenes]
    plain = [re.sub(r"0+(?=\d)", "", name.lower()) for name in names]
    for path, name in zip(scenes, plain, strict=True):
        if plain.count(name) > 1:
            raise ConfigError(f"scene {path}", "another is called alike", "give scenes of different names")
    return names


def _sensor_of(path: Path, named: Mapping[str, int], *, terrain: bool) -> Sensor:
    """What a scene holds, by its file or as `named` says, and of a DEM slope and elevation.

    Raises:
        DataError: it cannot be read or placed.
        ConfigError: `named` has a number that there is not.
    """
    with opened(path) as file:
        bands = [band for band in bands_of(file, named) if not (terrain and band.role in (SLOPE, ELEVATION))]
        metres = float(np.sqrt(np.median(pixel_areas(file)))) if file.crs else None
    if terrain:
        bands += [Band("slope", SLOPE, Unit.DEGREES), Band("elevation", ELEVATION, Unit.METRES)]
    return Sensor(path.stem, tuple(bands), pixel_metres=metres and float(f"{metres:.4g}"))


class _Cutter:
    """Cuts a scene into patches.

    Attributes:
        name: what they are called after.
        left_out: squares that were not written, as less than half of them is known.
    """

    def __init__(
        self, scene: Scene, name: str, size: int, outlines: Outlines, limits: Outlines | None, folder: Path
    ) -> None:
        self._scene, self.name, self._size, self._folder = scene, name, size, folder
        self._outlines, self._limits = outlines, limits
        self.left_out = 0

    def cut(self, progress: Callable[[int, int], None]) -> Iterator[_Patch]:
        """Writes the patches, row after row.

        Raises:
            DataError: the scene or its DEM cannot be read.
            OSError, RasterioError: a patch cannot be written.
        """
        file, size = self._scene.file, self._size
        tops, lefts = range(0, file.height, size), range(0, file.width, size)
        for row, top in enumerate(tops):
            for column, left in enumerate(lefts):
                patch = self._patch(top, left, (row, column))
                self.left_out += patch is None
                if patch is not None:
                    yield patch
                progress(row * len(lefts) + column + 1, len(tops) * len(lefts))

    def _patch(self, top: int, left: int, place: tuple[int, int]) -> _Patch | None:
        scene, size = self._scene, self._size
        stored = scene.read(top, left, size)
        if stored is None:
            return None
        # Mirrored pixels beyond the edge would be counted twice.
        stored[scene.file.height - top :] = np.nan
        stored[:, scene.file.width - left :] = np.nan
        transform = scene.file.transform @ rasterio.Affine.translation(left, top)
        known = scene.known(stored)
        if self._limits:
            known &= self._limits.draw(transform, size)
        if known.mean() < _LEAST_KNOWN:
            return None
        landslide = self._outlines.draw(transform, size) & known
        name = f"{self.name}_r{place[0]:04d}_c{place[1]:04d}"
        self._write(IMAGES, name, np.moveaxis(stored, -1, 0), transform, np.nan)
        self._write(MASKS, name, np.where(known, landslide, _IGNORE).astype(np.uint8)[None], transform, _IGNORE)
        return _Patch(name, place, int(landslide.sum()), int(known.sum()), _medians(np.abs(stored[known])))

    def _write(self, kind: str, name: str, array: np.ndarray, transform: rasterio.Affine, nodata: float) -> None:
        shape = {"count": len(array), "height": self._size, "width": self._size, "dtype": array.dtype}
        place = {"crs": self._scene.file.crs, "transform": transform, "nodata": nodata}
        path = self._folder / kind / f"{name}.tif"
        with rasterio.open(path, "w", driver="GTiff", compress="deflate", zlevel=1, **shape, **place) as file:
            file.write(array)
            titles = [band.name for band in self._scene.sensor.bands] if kind == IMAGES else ["landslide"]
            for number, title in enumerate(titles, start=1):
                file.set_band_description(number, title)


def _medians(values: np.ndarray) -> np.ndarray:
    """Of each column of `(N, C)` over its finite values; NaN where there are none."""
    finite = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.median(column) if len(column) else np.nan for column in finite])


_Places = dict[tuple[int, int], tuple[str, int]]
"""Split and block, from 1, of a patch by its place; no split where it is left out, block 0 where there are none."""


def _divide(patches: Sequence[_Patch], gap: int) -> _Places:
    """The split of each patch of a scene: contiguous blocks of whole rows, or whole columns, of patches.

    Of the four ways, along rows or columns, with test at either end, that is taken in which the splits' shares of
    patches and of landslide pixels are nearest to 5/7, 1/7 and 1/7. A scene that has too few rows is for train.
    """
    ways = [_blocks(patches, axis, gap, backwards=way) for axis in (0, 1) for way in (False, True)]
    possible = [way for way in ways if way]
    if not possible:
        return {patch.place: ("train", 0) for patch in patches}
    return min(possible, key=lambda way: _unevenness(patches, way))


def _blocks(patches: Sequence[_Patch], axis: int, gap: int, *, backwards: bool) -> _Places | None:
    """A way to divide; None where there are too few rows."""
    lines = sorted({patch.place[axis] for patch in patches}, reverse=backwards)
    free = len(lines) - 2 * gap
    if free < len(SPLITS):
        return None
    held = max(round(free / _BLOCKS), 1)
    train = free - 2 * held
    own = [("train", part.tolist()) for part in np.array_split(lines[:train], min(_BLOCKS - 2, train))]
    own += [("validation", lines[train + gap : train + gap + held]), ("test", lines[-held:])]
    told = {line: (split, block) for block, (split, part) in enumerate(own, start=1) for line in part}
    return {patch.place: told.get(patch.place[axis], ("", 0)) for patch in patches}


def _unevenness(patches: Sequence[_Patch], told: _Places) -> float:
    """How far shares of patches and of landslides are from those that are wanted."""
    splits = _summary([(told[patch.place][0], patch) for patch in patches])
    landslides = max(sum(split.landslide for split in splits.values()), 1)
    total = 0.0
    for name, split in splits.items():
        wanted = _TRAIN_SHARE if name == "train" else 1 / _BLOCKS
        total += abs(split.patches / len(patches) - wanted) + abs(split.landslide / landslides - wanted)
        total += _NOT_ONE * (split.landslide == 0)
    return total


def _summary(kept: Sequence[tuple[str, _Patch]]) -> dict[str, _TiledSplit]:
    patches, known, landslide = Counter[str](), Counter[str](), Counter[str]()
    for split, patch in kept:
        patches[split] += 1
        known[split] += patch.known
        landslide[split] += patch.landslide
    return {split: _TiledSplit(patches[split], known[split], landslide[split]) for split in SPLITS}


def _check_splits(splits: Mapping[str, _TiledSplit], size: int, gap: int, landslides: Sequence[Path]) -> None:
    """Raises DataError where a split has no patch, or no landslide to learn from or to be scored by."""
    if not any(split.landslide for split in splits.values()):
        where = ", ".join(map(str, landslides))
        fix = "check that they are of the scenes' place, and their coordinate system"
        raise DataError(f"polygons {where}", "none of them covers a pixel of a scene", fix)
    for name, split in splits.items():
        if not split.landslide:
            lacking = "landslide" if split.patches else "patch"
            count = sum(each.patches for each in splits.values())
            why = f"not one {lacking} in {name}, of {count} patches of {size} pixels with a gap of {gap}"
            raise DataError("dataset", why, "give smaller patches with --size, a smaller --gap, or more scenes")


def _csv(rows: Sequence[tuple[str, str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("patch", "split", "region"), *rows])
    return text.getvalue()


def _description(sensor: Sensor, scenes: Sequence[Path]) -> str:
    masks = replace(sensor, landslide=((1,),), ignore=((_IGNORE,),), at_least=None, arrays=(), tile=None)
    more: dict[str, Any] = {name: f"{name}/{{id}}.tif" for name in (IMAGES, MASKS)} | {"patches": TABLE}
    return write_bands(masks, more, f"Patches of {', '.join(path.name for path in scenes)}.")
