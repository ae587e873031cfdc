"""A GeoTIFF scene as the bands of a model: which band is which, in which unit, read window by window."""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from lsml.data.arrays import unreadable
from lsml.data.formats import opened
from lsml.data.formats.parts import printable
from lsml.data.listing import Finding
from lsml.data.quality import examine
from lsml.data.quality.look import Look
from lsml.data.sensor import BLUE, ELEVATION, GREEN, LANDSLIDE4SENSE, NEAR_INFRARED, RED, SLOPE, Band, Sensor, Unit
from lsml.data.tiles import cut, evenly
from lsml.errors import ConfigError, DataError
from lsml.scenes.terrain import Terrain, check_place
from lsml.scenes.tiling import Tiling

Values = Literal["auto", "stored", "physical"]
"""What a scene's numbers are: those of the patches that the model was trained on, or what was measured, in its unit."""

_TERRAIN = (SLOPE, ELEVATION)
_LOOKED_AT, _TRIED = 16, 64
_MAX_BLOCK = 2**28
"""Bytes of a block of a file, which is decompressed as a whole."""
_CACHE = 2**28, 5 * 2**27
"""Bytes of blocks that GDAL keeps, at least and at most: those of a row of tiles, which overlap."""
_OVERVIEW_CACHE = 2**25
"""The same while each block is read once."""

_SHORT = {"nir": NEAR_INFRARED, "swir_1": "short_wave_infrared_1", "swir_2": "short_wave_infrared_2"} | {
    f"{name}{number}": f"short_wave_infrared_{number}" for name in ("swir", "swir_band_") for number in (1, 2)
}
"""Usual names of bands besides their roles."""


class _Source(NamedTuple):
    """Where a band of the model comes from.

    Attributes:
        number: of the scene's band, from 1; 0 for the DEM.
        scale, offset: `value * scale + offset` is what patches of the model's sensor store.
        nodata: the stored value that stands for none, as the model's description says it.
    """

    number: int
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None


@dataclass(frozen=True)
class Scene:
    """An open scene, read as the stored bands of a sensor."""

    path: Path
    file: "rasterio.DatasetReader"
    sensor: Sensor
    sources: tuple[_Source, ...]
    terrain: Terrain | None

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, path: Path, sensor: Sensor, *, dem: Path | None, bands: Mapping[str, int], values: Values = "auto"
    ) -> Iterator["Scene"]:
        """The scene in a GeoTIFF, open within the block.

        Args:
            sensor: what the model's bands are.
            dem: a GeoTIFF of elevations in metres, of which the sensor's slope and elevation are made.
            bands: the scene's band, from 1, by the name, its first word or the role of a band of the sensor.
            values: `auto` takes numbers for what was measured where the file says scales or offsets, or has integers
                where patches store integers over a divisor; else for those that patches store.

        Raises:
            DataError: a file that cannot be read or placed, or that lacks a band; a DEM that lies elsewhere.
            ConfigError: `bands` names what there is not.
        """
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(opened(path))
            _check_file(path, file)
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_cache(file)))
            terrain = None
            if dem and not any(map(sensor.has, _TERRAIN)):
                raise ConfigError("--dem", "the model has neither slope nor elevation", "leave it out")
            if dem:
                terrain = stack.enter_context(Terrain.of(dem, file))
            numbers = _numbers(path, file, sensor, dem=dem is not None, bands=bands)
            sources = tuple(
                _source(file, number, band, values) for number, band in zip(numbers, sensor.bands, strict=True)
            )
            yield cls(path, file, sensor, sources, terrain)

    def read(self, row: int, column: int, tile: int, *, into: np.ndarray | None = None) -> np.ndarray | None:
        """Stored bands of a square, float32 `(tile, tile, C)`, NaN for none; beyond the scene's edge it is mirrored.

        None where the scene has not one value in it.

        Args:
            into: an array of that shape and kind that gets them and is given back.

        Raises:
            DataError: the scene or the DEM cannot be read.
        """
        height, width = (
            min(tile, length - start) for length, start in zip(self.file.shape, (row, column), strict=True)
        )
        square = np.empty((tile, tile, len(self.sensor)), np.float32) if into is None else into
        stored = square[:height, :width]
        window = Window(column, row, width, height)
        own = [place for place, source in enumerate(self.sources) if source.number]
        read = _values(self.file, [self.sources[place].number for place in own], window)
        try:
            # A band at a time: its memory is taken for the next, that of all would be the system's, cleared each time.
            for place, values in zip(own, read, strict=True):
                stored[..., place] = self._stored(place, values)
        except (OSError, RasterioError) as error:
            raise unreadable(self.path, error) from None
        if not self.known(stored).any():
            return None
        if self.terrain:
            found = self.terrain.read(row, column, height, width)
            for place, band in enumerate(self.sensor.bands):
                if not self.sources[place].number:
                    stored[..., place] = self._stored(place, found[band.role])
        if stored.shape != square.shape:
            square[...] = cut(stored, 0, 0, tile)
        return square

    def _stored(self, place: int, values: np.ndarray) -> np.ndarray:
        source = self.sources[place]
        stored = values * np.float32(source.scale)
        stored += np.float32(source.offset)
        if source.nodata is not None:
            stored[values == source.nodata] = np.nan
        return stored

    def overview(self, side: int) -> tuple[np.ndarray, Sensor]:
        """The scene at most `side` pixels wide and high: stored bands float32 `(h, w, C)`, NaN for none; their sensor.

        The bands are red, green and blue, or the first one where there are no such. Pixels are means; overviews in the
        file are used, and the rest is read block by block.

        Raises:
            DataError: the scene cannot be read.
        """
        colours = (RED, GREEN, BLUE)
        places = [self.sensor.place(role) for role in colours] if self.sensor.has(*colours) else []
        places = places or [next(place for place, source in enumerate(self.sources) if source.number)]
        shrink = max(*self.file.shape, side) / side
        shape = tuple(max(round(length / shrink), 1) for length in self.file.shape)
        numbers = [self.sources[place].number for place in places]
        try:
            with rasterio.Env(GDAL_CACHEMAX=_OVERVIEW_CACHE):
                read = self.file.read(
                    numbers, out_shape=(len(places), *shape), masked=True, resampling=Resampling.average
                )
        except (OSError, RasterioError) as error:
            raise unreadable(self.path, error) from None
        bands = [
            self._stored(place, values.astype(np.float32).filled(np.nan))
            for place, values in zip(places, read, strict=True)
        ]
        return np.stack(bands, axis=-1), replace(self.sensor, bands=tuple(self.sensor.bands[n] for n in places))

    def known(self, stored: np.ndarray) -> np.ndarray:
        """bool `(H, W)`: where the scene itself, without the DEM, has a value in any band."""
        known = np.zeros(stored.shape[:2], bool)
        for place, source in enumerate(self.sources):
            if source.number and not known.all():
                known |= np.isfinite(stored[..., place])
        return known

    def examine(self, tiling: Tiling) -> list[Finding]:
        """What is wrong with the values of a few tiles, evenly over the scene, for the model's sensor.

        Tiles that are whole, where there are any: what lies beyond the edge of a swath is nobody's mistake.

        Raises:
            DataError: none of them has a value.
        """
        places = [(top, left) for top in tiling.tops for left in tiling.lefts]
        looks: dict[bool, list[Look]] = {True: [], False: []}
        for row, column in (places[place] for place in evenly(len(places), _TRIED)):
            stored = self.read(row, column, tiling.tile) if len(looks[True]) < _LOOKED_AT else None
            if stored is not None:
                whole = bool(self.known(stored).all())
                looks[whole].append(Look.of(f"rows from {row}, columns from {column}", stored, self.sensor))
        chosen = looks[True] or looks[False][:_LOOKED_AT]
        if not chosen:
            raise DataError(f"scene {self.path}", "all of it is nodata", "give a scene with values")
        found = examine(chosen, self.sensor, trained=True)
        # A scene is no pack, whose integers over the band constants take half the room.
        return [_of_scene(finding) for finding in found if finding.kind != "off the grid"]

    @property
    def grid(self) -> dict[str, object]:
        """Size, coordinate system and transform, as rasterio's profiles have them."""
        file = self.file
        return {"height": file.height, "width": file.width, "crs": file.crs, "transform": file.transform}


def _values(file: "rasterio.DatasetReader", numbers: Sequence[int], window: Window) -> Iterator[np.ndarray]:
    """Bands of a window as the file has them, one after the other: float32 `(H, W)`, NaN for none."""
    kinds = {kind for number in numbers for kind in file.mask_flag_enums[number - 1]}
    if np.dtype(file.dtypes[0]).kind not in "iu" or kinds - {MaskFlags.nodata, MaskFlags.all_valid}:
        yield from file.read(numbers, window=window, masked=True).astype(np.float32).filled(np.nan)
        return
    # The same in half the time: a whole number is the one that stands for none, or it is not.
    for number in numbers:
        stored, nodata = file.read(number, window=window), file.nodatavals[number - 1]
        values = stored.astype(np.float32)
        if nodata is not None:
            values[stored == (int(nodata) if nodata.is_integer() else nodata)] = np.nan
        yield values


def _of_scene(finding: Finding) -> Finding:
    """A finding with what can be done about it in a scene, besides what can be in patches."""
    extra = {"scale": "--values says what a scene's numbers are", "band order": "--bands says which is which"}
    return finding._replace(text="; ".join(filter(None, [finding.text, extra.get(finding.kind)])))


def _check_file(path: Path, file: "rasterio.DatasetReader") -> None:
    """Raises DataError for a raster that is no scene, or cannot be read window by window."""
    check_place(path, file)
    if any(dtype.startswith("complex") for dtype in file.dtypes):
        raise DataError(f"file {path}", f"holds {file.dtypes[0]}, not numbers", "write it as integers or floats")
    pairs = zip(file.block_shapes, file.dtypes, strict=True)
    together = file.count if file.interleaving and file.interleaving.name.lower() == "pixel" else 1
    largest = together * max(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in pairs)
    if largest > _MAX_BLOCK:
        why = f"is stored in blocks of {largest:,} bytes, limit {_MAX_BLOCK:,}"
        raise DataError(f"file {path}", why, "rewrite it: gdal_translate -co TILED=YES IN OUT")


def _cache(file: "rasterio.DatasetReader") -> int:
    """Bytes of two rows of a file's blocks, within limits: a row of tiles lies in two, and would read both anew."""
    pairs = zip(file.block_shapes, file.dtypes, strict=True)
    row = sum(height * -(-file.width // width) * width * np.dtype(kind).itemsize for (height, width), kind in pairs)
    return min(max(2 * row, _CACHE[0]), _CACHE[1])


def _numbers(
    path: Path, file: "rasterio.DatasetReader", sensor: Sensor, *, dem: bool, bands: Mapping[str, int]
) -> list[int]:
    """The scene's band of each of the sensor's, 0 for what comes from the DEM."""
    asked = [place for place, band in enumerate(sensor.bands) if not (dem and band.role in _TERRAIN)]
    given = _given(sensor, file.count, bands)
    described = [_words(text or "") for text in file.descriptions]
    named = {place: _named(sensor.bands[place], described) for place in asked}
    left = [place for place in asked if place not in given]
    if not given and not any(map(len, named.values())):
        spectral = [n for n, kind in enumerate(file.colorinterp, start=1) if kind != ColorInterp.alpha]
        if len(spectral) != len(asked):
            why = f"has {len(spectral)} bands without names, and the model takes {len(asked)}"
            raise DataError(f"scene {path}", why, _how(sensor, asked, dem=dem))
        given, left = dict(zip(asked, spectral, strict=True)), []
    lacking = [place for place in left if len(named[place]) != 1]
    if lacking:
        name = sensor.bands[lacking[0]].name
        many = f"{len(named[lacking[0]])} bands that may be" if named[lacking[0]] else "no band"
        found = ", ".join(printable(text or "unnamed", 40) for text in file.descriptions[:16])
        raise DataError(f"scene {path}", f"{many} '{name}' (found: {found})", _how(sensor, lacking, dem=dem))
    found_at = given | {place: named[place][0] for place in left}
    return [found_at.get(place, 0) for place in range(len(sensor))]


def _how(sensor: Sensor, places: Sequence[int], *, dem: bool) -> str:
    """What to do about bands of the sensor that were not found."""
    chosen = [sensor.bands[place] for place in places]
    terrain = " or give a DEM: --dem DEM.tif" if not dem and any(band.role in _TERRAIN for band in chosen) else ""
    example = ",".join(f"{band.role or band.name.split()[0]}={n}" for n, band in enumerate(chosen[:3], start=1))
    return f"say which is which, for instance --bands {example}{terrain}"


def _given(sensor: Sensor, count: int, bands: Mapping[str, int]) -> dict[int, int]:
    """The scene's band by the place of the sensor's, as `--bands` says."""
    given = {}
    for name, index in bands.items():
        word = _word(name)
        places = [place for place, band in enumerate(sensor.bands) if word in _names(band)]
        if len(places) != 1:
            known = ", ".join(band.role or band.name for band in sensor.bands)
            raise ConfigError(f"--bands {name}", "no such band is asked for", f"give one of {known}")
        _check_number(name, index, count)
        given[places[0]] = index
    return given


def _check_number(name: str, number: int, count: int) -> None:
    """Raises ConfigError where a scene of so many bands has no such one."""
    if not 1 <= number <= count:
        raise ConfigError(f"--bands {name}={number}", "no such band of the scene", f"its bands are 1 to {count}")


def _word(text: str) -> str:
    """A name as it is compared: small letters and digits, `B04` as `b4`."""
    word = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return _SHORT.get(word, re.sub(r"^b0+(?=\d)", "b", word))


def _words(text: str) -> set[str]:
    """What a description may be meant by: all of it, and its first word."""
    return {_word(part) for part in (text, *text.split()[:1]) if part.strip()}


def _names(band: Band) -> set[str]:
    return _words(band.name) | ({band.role} if band.role else set())


def _named(band: Band, described: Sequence[set[str]]) -> list[int]:
    """The bands of a scene, from 1, whose description names a band of the sensor: all of its name before a part."""
    whole = [number for number, words in enumerate(described, start=1) if _word(band.name) in words]
    return whole or [number for number, words in enumerate(described, start=1) if words & _names(band)]


def bands_of(file: "rasterio.DatasetReader", named: Mapping[str, int]) -> list[Band]:
    """What a scene's bands are by what its file says of them, their stored values being the file's own.

    Those of `named` alone, by these names, where there are any; else all, by their descriptions.

    Names like those of Landslide4Sense's bands, or of their roles, give role and unit. Reflectance is x 10,000 where
    the file has integers and says no scale, as `Scene.of` takes it.

    Raises:
        ConfigError: `named` has a number that there is not.
    """
    bands: list[Band] = []
    described = enumerate(file.descriptions, start=1)
    texts = {number: text for number, text in described if file.colorinterp[number - 1] != ColorInterp.alpha}
    for name, number in named.items():
        _check_number(name, number, file.count)
    for number, text in ({number: name for name, number in named.items()} or texts).items():
        taken = {band.role for band in bands}
        like = [band for band in LANDSLIDE4SENSE.bands if _words(text or "") & _names(band) and band.role not in taken]
        role, unit = (like[0].role, like[0].unit) if like else ("", Unit.NUMBER)
        scale, offset = file.scales[number - 1], file.offsets[number - 1]
        share = (scale, offset) != (1.0, 0.0) or np.dtype(file.dtypes[number - 1]).kind == "f"
        factor = 10_000.0 if share and unit == Unit.REFLECTANCE else 1.0
        bands.append(Band(text or f"band {number}", role, unit, factor * scale, factor * offset))
    return bands


def _source(file: "rasterio.DatasetReader", number: int, band: Band, values: Values) -> _Source:
    """How the values of a scene's band become those that patches store."""
    if not number:
        return _Source(0, 1 / band.scale, -band.offset / band.scale)
    scale, offset, dtype = file.scales[number - 1], file.offsets[number - 1], file.dtypes[number - 1]
    said = (scale, offset) != (1.0, 0.0)
    # Where patches store integers over a divisor, integers are no such values.
    measured = said or (band.divisor != 1 and np.dtype(dtype).kind in "iu")
    if values == "stored" or (values == "auto" and not measured):
        return _Source(number, nodata=band.nodata)
    # As whole numbers reflectance is x 10,000; as fractions, or by the file's own scale, it is 0..1.
    share = said or np.dtype(dtype).kind == "f"
    unit = 10_000.0 if share and band.unit == Unit.REFLECTANCE else 1.0
    return _Source(number, unit * scale / band.scale, (unit * offset - band.offset) / band.scale)
