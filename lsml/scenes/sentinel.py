"""A product of Sentinel-2 as one scene: its bands on one grid by their names, what changed since another product, and
slope and elevation of a DEM."""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window, from_bounds

from lsml.data.arrays import unreadable
from lsml.data.formats import JPEG2000, opened
from lsml.data.sensor import ELEVATION, SLOPE
from lsml.errors import ConfigError, DataError
from lsml.names import VERSION
from lsml.scenes.terrain import Terrain, check_place

_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""In the order of `band_id` in a product's metadata (Sentinel-2 Products Specification Document)."""
_FILE = re.compile(r"_(B\d\d|B8A)(?:_\d\dm)?\.(?:jp2|tiff?)$", re.IGNORECASE)
_OFFSETS_SINCE = (4, 0)
"""The processing baseline from which on stored values have an offset."""
_MOST_METADATA = 2**26
"""Bytes."""
_STORED_TERRAIN = {SLOPE: (0.01, -0.01), ELEVATION: (0.2, -1000.2)}
"""Scale and offset by which terrain is stored as uint16, 0 being none: 0 degrees, and 1,000 m below the sea, are 1."""
_CHANGE, _STORED_CHANGE = "-change", (1e-4, -3.2768)
"""What the name of a difference of reflectance ends with, and its scale and offset as uint16, 0 being none."""
_STRIP = 512
_FIX = "give the folder *.SAFE as it is unpacked"


_Read = Callable[[Window], np.ndarray]
"""Gives stored values uint16 of a window of a product's finest grid, 0 for none."""


class _Metadata(NamedTuple):
    """What a product says of itself.

    Attributes:
        level: `Level-1C` or `Level-2A`.
        acquired: date and time in UTC, as ISO 8601 has it.
        quantification: `(stored + offset) / quantification` is reflectance.
        offsets: of each band that has one.
    """

    level: str
    baseline: str
    acquired: str
    quantification: float
    offsets: dict[str, float]

    @classmethod
    def of(cls, path: Path) -> "_Metadata":
        """Reads `MTD_MSIL1C.xml` or `MTD_MSIL2A.xml`.

        Raises:
            DataError: it cannot be read, or lacks what values mean.
        """
        what = f"metadata {path}"
        try:
            if path.stat().st_size > _MOST_METADATA:
                raise DataError(what, f"has more than {_MOST_METADATA:,} bytes", _FIX)
            tree = ElementTree.fromstring(path.read_bytes())
        except OSError as error:
            raise unreadable(path, error) from None
        except ElementTree.ParseError as error:
            raise DataError(what, f"is no XML: {error}", _FIX) from None

        def said(*names: str) -> str:
            for name in names:
                if (found := tree.findtext(f".//{{*}}{name}")) is not None:
                    return found.strip()
            raise DataError(what, f"has no {names[0]}", _FIX)

        try:
            offsets = {
                _BANDS[int(element.get("band_id", ""))]: float(element.text or "")
                for name in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET")
                for element in tree.iterfind(f".//{{*}}{name}")
            }
            baseline = said("PROCESSING_BASELINE")
            quantification = float(said("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE"))
            later = tuple(int(part) for part in baseline.split(".")) >= _OFFSETS_SINCE
        except (ValueError, IndexError):
            raise DataError(what, "has a number or a band that cannot be read", _FIX) from None
        if later and not offsets:
            raise DataError(what, f"has no offsets, which baseline {baseline} uses", _FIX)
        return cls(said("PROCESSING_LEVEL"), baseline, said("PRODUCT_START_TIME"), quantification, offsets)

    def layer(self, name: str, read: "_Read") -> "_Layer":
        """A band of the product."""
        return _Layer(name, 1 / self.quantification, self.offsets.get(name, 0.0) / self.quantification, read)


class AssembledScene(NamedTuple):
    """What was written.

    Attributes:
        bands: names in their order.
        shape: height and width.
        level, baseline, acquired: of the product.
    """

    bands: tuple[str, ...]
    shape: tuple[int, int]
    level: str
    baseline: str
    acquired: str


@dataclass(frozen=True)
class _Layer:
    """A band of the scene to be: how it is called, stored and made."""

    name: str
    scale: float
    offset: float
    read: _Read


def assemble(
    product: Path,
    out: Path,
    *,
    before: Path | None = None,
    dem: Path | None = None,
    only: Collection[str] = (),
    bounds: tuple[float, float, float, float] | None = None,
    progress: Callable[[int, int], None],
) -> AssembledScene:
    """Writes a product's bands, `B01` to `B12`, and a DEM's slope and elevation as one GeoTIFF on its finest grid.

    Stored values stay as they are, uint16 with 0 for none; scale and offset in the file make them reflectance 0..1,
    degrees and metres. Coarser bands, and those of another grid, are interpolated linearly. Memory is that of a strip.

    Args:
        product: a folder of level 1C or 2A with one granule, as `*.SAFE` is unpacked; its images JPEG 2000 or GeoTIFF.
        before: a product of an earlier day and the same level, of which bands `B01-change` to `B12-change` are made:
            reflectance of `product` less that of this one.
        dem: a GeoTIFF of elevations in metres.
        only: names of bands; none for all that the product has.
        bounds: west, south, east and north in degrees; None for all of the product.
        progress: hears how many rows are written.

    Raises:
        ConfigError: bands that the product has not, bounds that it does not reach, or an earlier product that does not
            suit it.
        DataError: no such product, a file that cannot be read, or `out` is there already or cannot be written.
    """
    if out.exists():
        raise DataError(f"scene {out}", "already exists", "choose another --out")
    metadata = _metadata_of(product)
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=2**28))
        files = _opened(stack, product, only)
        finest = min(files.values(), key=lambda file: file.transform.a)
        window = _window(finest, bounds)
        layers = [metadata.layer(name, _reader(file, finest)) for name, file in files.items()]
        if before:
            layers += _changes(stack, layers, metadata, before, finest, window)
        if dem:
            shape = {"height": window.height, "width": window.width}
            # What the DEM has to cover is the part alone.
            part = stack.enter_context(WarpedVRT(finest, transform=_place(finest, window), **shape))
            terrain = stack.enter_context(Terrain.of(dem, part))
            layers += [
                _Layer(role, *stored, _terrain_reader(terrain, role, window))
                for role, stored in _STORED_TERRAIN.items()
            ]
        tags = {"lsml": VERSION, "product": product.name, "level": metadata.level, "baseline": metadata.baseline}
        tags |= {"before": before.name} if before else {}
        tags["TIFFTAG_DATETIME"] = re.sub(r"^(\d+)-(\d+)-(\d+)T([\d:]{8}).*", r"\1:\2:\3 \4", metadata.acquired)
        _write(out, layers, finest, window, tags, progress)
    names = tuple(layer.name for layer in layers)
    return AssembledScene(names, (window.height, window.width), *metadata[:3])


def _metadata_of(product: Path) -> _Metadata:
    return _Metadata.of(_one(product, "MTD_MSIL*.xml", "metadata file"))


def _opened(stack: contextlib.ExitStack, product: Path, only: Collection[str]) -> dict[str, "rasterio.DatasetReader"]:
    """The finest image of each band, open until the stack ends, all of one coordinate system.

    Raises:
        ConfigError: bands that the product has not.
        DataError: a file that cannot be read or placed.
    """
    paths = _images(product, only)
    files = {name: stack.enter_context(_finest(candidates)) for name, candidates in paths.items()}
    for name, file in files.items():
        check_place(paths[name][0], file)
        if file.crs != next(iter(files.values())).crs:
            raise DataError(f"file {file.name}", "has another coordinate system than other bands", _FIX)
    return files


def _changes(
    stack: contextlib.ExitStack,
    layers: Sequence[_Layer],
    metadata: _Metadata,
    before: Path,
    finest: "rasterio.DatasetReader",
    window: Window,
) -> list[_Layer]:
    """The difference of each layer to that of an earlier product, on the finest grid of the later one.

    Raises:
        ConfigError: the earlier product is of another level, or does not reach the window.
        DataError: it cannot be used, or lacks a band.
    """
    earlier = _metadata_of(before)
    if earlier.level != metadata.level:
        raise ConfigError(
            f"--before {before}", f"is of {earlier.level}, not {metadata.level}", "give both of one level"
        )
    if earlier.acquired >= metadata.acquired:
        why = f"is of {earlier.acquired}, not before {metadata.acquired}"
        raise ConfigError(f"--before {before}", why, "give the earlier product there")
    files = _opened(stack, before, [layer.name for layer in layers])
    place = _place(finest, window)
    (left, top), (right, bottom) = place @ (0, 0), place @ (window.width, window.height)
    for file in files.values():
        west, south, east, north = transform_bounds(file.crs, finest.crs, *file.bounds)
        if west >= right or east <= left or south >= top or north <= bottom:
            raise ConfigError(f"--before {before}", "does not cover the scene", "give one of the same place")
    old = {name: earlier.layer(name, _reader(file, finest)) for name, file in files.items()}
    return [
        _Layer(f"{layer.name}{_CHANGE}", *_STORED_CHANGE, partial(_change, layer, old[layer.name])) for layer in layers
    ]


def _change(after: _Layer, before: _Layer, window: Window) -> np.ndarray:
    """Stored values of a difference, 0 where either has none."""
    stored = [layer.read(window) for layer in (after, before)]
    new, old = (layer.offset + layer.scale * values for layer, values in zip((after, before), stored, strict=True))
    scale, offset = _STORED_CHANGE
    found = np.rint((new - old - offset) / scale).clip(1, 65_535)
    return np.where((stored[0] > 0) & (stored[1] > 0), found, 0).astype(np.uint16)


def _one(folder: Path, pattern: str, what: str) -> Path:
    """The only path in a folder that fits.

    Raises:
        DataError: there is none, or there are several.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        why = f"has {len(found) or 'no'} {what}{'s' * (len(found) > 1)} {pattern}"
        raise DataError(f"product {folder}", why, f"{_FIX}; it has to be one tile of level 1C or 2A")
    return found[0]


def _images(product: Path, only: Collection[str]) -> dict[str, list[Path]]:
    """The files of each band by its name, in the order of bands; of level 2A several of different grids."""
    granule = _one(product, "GRANULE/*/IMG_DATA", "granule")
    found: dict[str, list[Path]] = {}
    for path in sorted(granule.rglob("*")):
        if match := _FILE.search(path.name):
            found.setdefault(match[1].upper(), []).append(path)
    if not found:
        raise DataError(f"product {product}", f"has no images of bands below {granule}", _FIX)
    if wrong := sorted(set(only) - found.keys()):
        raise ConfigError(f"--only {wrong[0]}", "no such band of the product", f"its bands are {', '.join(found)}")
    return {name: found[name] for name in _BANDS if name in found and (not only or name in only)}


@contextlib.contextmanager
def _finest(paths: Sequence[Path]) -> Iterator["rasterio.DatasetReader"]:
    """The image with the smallest pixels, open within the block.

    Raises:
        DataError: one of them cannot be read.
    """
    pixels = {}
    for path in paths:
        with opened(path, also=JPEG2000) as file:
            pixels[path] = file.transform.a
    with opened(min(paths, key=lambda path: pixels[path]), also=JPEG2000) as file:
        yield file


def _window(file: "rasterio.DatasetReader", bounds: tuple[float, float, float, float] | None) -> Window:
    """The part of a grid that holds a box of degrees."""
    whole = Window(0, 0, file.width, file.height)
    if bounds is None:
        return whole
    box = transform_bounds("EPSG:4326", file.crs, *bounds)
    part = from_bounds(*box, transform=file.transform)
    left, top = max(int(np.floor(part.col_off)), 0), max(int(np.floor(part.row_off)), 0)
    right = min(int(np.ceil(part.col_off + part.width)), file.width)
    bottom = min(int(np.ceil(part.row_off + part.height)), file.height)
    if right <= left or bottom <= top:
        given = ",".join(f"{value:g}" for value in bounds)
        raise ConfigError(
            f"--bounds {given}", "the product does not reach there", "give west,south,east,north in degrees"
        )
    return Window(left, top, right - left, bottom - top)


def _place(file: "rasterio.DatasetReader", window: Window) -> rasterio.Affine:
    """The transform of a window."""
    return file.transform @ rasterio.Affine.translation(window.col_off, window.row_off)


def _reader(file: "rasterio.DatasetReader", finest: "rasterio.DatasetReader") -> _Read:
    """What reads windows of the finest grid from a band of the same or a coarser one."""

    def read(window: Window) -> np.ndarray:
        try:
            if (file.crs, file.transform, file.shape) == (finest.crs, finest.transform, finest.shape):
                return file.read(1, window=window)
            stored = np.zeros((window.height, window.width), np.uint16)
            reproject(
                rasterio.band(file, 1),
                stored,
                dst_transform=_place(finest, window),
                dst_crs=finest.crs,
                src_nodata=0,
                dst_nodata=0,
                resampling=Resampling.bilinear,
            )
        except (OSError, RasterioError) as error:
            raise unreadable(Path(file.name), error) from None
        return stored

    return read


def _terrain_reader(terrain: Terrain, role: str, whole: Window) -> _Read:
    """What reads windows of the finest grid from terrain on a part of it."""
    scale, offset = _STORED_TERRAIN[role]

    def read(window: Window) -> np.ndarray:
        row, column = window.row_off - whole.row_off, window.col_off - whole.col_off
        values = terrain.read(row, column, window.height, window.width)[role]
        stored = np.rint((values.astype(np.float64) - offset) / scale).clip(1, 65_535)
        return np.where(np.isfinite(values), stored, 0).astype(np.uint16)

    return read


def _write(
    out: Path,
    layers: Sequence[_Layer],
    finest: "rasterio.DatasetReader",
    window: Window,
    tags: dict[str, str],
    progress: Callable[[int, int], None],
) -> None:
    """Writes the scene strip by strip; the file is there once it is whole.

    Raises:
        DataError: a band cannot be read, or the scene not be written.
    """
    profile = {"driver": "GTiff", "dtype": "uint16", "nodata": 0, "count": len(layers), "crs": finest.crs}
    profile |= {"height": window.height, "width": window.width, "tiled": True, "interleave": "band"}
    profile |= {"compress": "deflate", "predictor": 2, "zlevel": 1, "bigtiff": "if_safer"}
    unfinished = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(unfinished, "w", transform=_place(finest, window), **profile) as file:
            for top in range(0, window.height, _STRIP):
                rows = min(_STRIP, window.height - top)
                part = Window(window.col_off, window.row_off + top, window.width, rows)
                for number, layer in enumerate(layers, start=1):
                    file.write(layer.read(part), number, window=Window(0, top, window.width, rows))
                progress(top + rows, window.height)
            for number, layer in enumerate(layers, start=1):
                file.set_band_description(number, layer.name)
            file.scales, file.offsets = [layer.scale for layer in layers], [layer.offset for layer in layers]
            file.update_tags(**tags)
        unfinished.replace(out)
    except (OSError, RasterioError) as error:
        size = 2 * len(layers) * window.height * window.width
        why = f"cannot be written ({size:,} bytes before compression): {getattr(error, 'strerror', None) or error}"
        raise DataError(f"scene {out}", why, "free space there or choose another --out") from None
    finally:
        unfinished.unlink(missing_ok=True)
