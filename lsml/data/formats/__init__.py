"""Reads an image or a mask in any of the formats that patches come in, without trusting the file.

HDF5 is read by `hdf5`; GeoTIFF, TIFF, PNG and JPEG by GDAL's drivers for these and no others; NumPy's files without
pickles. Sizes are checked as the file declares them, before anything is read.
"""

import contextlib
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsml.data.arrays import NPZ, NUMPY, array_in, arrays_in, beginning, file_of, mapped, unreadable
from lsml.data.formats import hdf5
from lsml.data.formats.masks import mask_of, values_in
from lsml.data.formats.parts import Part, chosen, printable
from lsml.data.formats.processes import apart
from lsml.data.layout import HDF5, RASTERS
from lsml.data.sensor import Sensor
from lsml.errors import DataError

_DRIVERS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
}
"""GDAL's name of each format by the bytes that its files begin with, whatever their ending."""
JPEG2000 = {b"\0\0\0\x0cjP": "JP2OpenJPEG"}
"""The same of a format that patches do not come in, but products of satellites do."""

if TYPE_CHECKING:
    import rasterio

_OPTIONS = {
    # Nothing beside the file is looked at: no side-car, no overview, no world file.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # What a truncated or damaged file lacks would come as zeros otherwise.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
}

_MAX_VALUES = 2**29
"""Of one file; as float64, in which images are read, they take 4 GiB, of whatever type they lie there."""
_MAX_BANDS = 2**10
"""Each is read by itself, and the time that libtiff takes for all grows with the square of their number."""
_INDEX_TYPES = ("uint8", "uint16")
"""Of a palette, which has a colour for each value of the type."""
_LIMITS = (120, 2**35)
"""Seconds and bytes that GDAL gets for one file. The largest, compressed, take a third of either."""
_REPLACE = "replace it by an intact copy"
_ONE_IMAGE = "write an image a file"
_NUMBERS = "write it as integers or floats"
_DESCRIBE = "describe it in dataset.yaml: lsml data describe DIR writes a draft"
_PLACE = "write GeoTIFF with a coordinate system, or name regions in a CSV file: patches in dataset.yaml"


class _Raster(NamedTuple):
    """What a file holds.

    Attributes:
        array: `(H, W, C)` or `(C, H, W)` as it lies there, of its own type; of a file with a palette, indices.
        palette: uint8 `(N, 3)`, the colour of each index; None where the values are themselves what was measured.
        nodata: the value that, by the header, stands for no measurement; None where it names none.
        alpha: whether the header calls the last channel the opacity of the others.
        blurred: whether compression changed values, as JPEG does.
    """

    array: np.ndarray
    palette: np.ndarray | None = None
    nodata: float | None = None
    alpha: bool = False
    blurred: bool = False

    @property
    def colours(self) -> np.ndarray:
        """`array`, or where it holds indices, uint8 `(H, W, 3)` of the palette."""
        return self.array if self.palette is None else self.palette[self.array[..., 0]]


def read_array(path: Path, named: str = "") -> np.ndarray:
    """The image in a raster or NumPy file, `(H, W, C)` or `(C, H, W)` as it lies there, of its own type.

    Args:
        named: its array, where the file holds others too and it cannot be told.

    Raises:
        DataError: the file cannot be read, has more than 2**29 values, or holds no numbers.
    """
    return _read(path, "image", named).colours


def _read(path: Path, part: Part, named: str, notes: set[str] | None = None) -> _Raster:
    if path.suffix.lower() in NPZ:
        return _Raster(_read_archived(path, part, named, notes))
    raster = (
        _Raster(_read_numpy(path))
        if file_of(path).suffix.lower() in NUMPY
        else apart(_read_raster, path, limits=_LIMITS)
    )
    _check_numeric(path, raster.array.dtype)
    return raster


def _read_raster(path: Path) -> _Raster:
    with opened(path) as file:
        if file.dtypes[0].startswith("complex"):
            raise DataError(f"file {path}", f"holds {file.dtypes[0]}, not numbers", _NUMBERS)
        _check_size(path, (file.count, file.height, file.width))
        array = np.ascontiguousarray(np.moveaxis(file.read(), 0, -1))
        alpha = file.count > 1 and file.colorinterp[-1].name == "alpha" and array.dtype.kind == "u"
        return _Raster(array, _palette(file), file.nodata, alpha, file.driver == "JPEG")


def raster_size(path: Path, named: str = "") -> tuple[int, int]:
    """Height and width of an image that the header of a file declares; of a NumPy file all axes but the shortest.

    Args:
        named: as of `read_array`.

    Raises:
        DataError: it cannot be read.
    """
    if (suffix := file_of(path).suffix.lower()) in (*NUMPY, *NPZ):
        shape = list(_declared(path, "image", named)[2] if suffix in NPZ else mapped(path).shape)
        if len(shape) == 3:
            shape.remove(min(shape))
        if len(shape) != 2:
            raise DataError(f"file {path}", f"has shape {tuple(shape)}, expected (H, W, C)", _ONE_IMAGE)
        return shape[0], shape[1]
    return apart(_declared_size, path, limits=_LIMITS)


def _declared_size(path: Path) -> tuple[int, int]:
    with opened(path) as file:
        return file.height, file.width


def raster_centre(path: Path) -> tuple[float, float]:
    """Longitude and latitude in degrees of the middle of a GeoTIFF file, by its header.

    Raises:
        DataError: it cannot be read, or does not say where it lies.
    """
    return apart(_declared_centre, path, limits=_LIMITS)


def _declared_centre(path: Path) -> tuple[float, float]:
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    nowhere = DataError(f"file {path}", "does not say where on the ground it lies", _PLACE)
    if path.suffix.lower() not in RASTERS:
        raise nowhere
    with opened(path) as file:
        if file.crs is None or file.transform.is_identity:
            raise nowhere
        east, north = file.xy(file.height / 2, file.width / 2, offset="ul")
        try:
            (longitude,), (latitude,) = transform(file.crs, "EPSG:4326", [east], [north])
        except (CRSError, CPLE_BaseError):
            raise nowhere from None
    if not (abs(longitude) <= 360 and abs(latitude) <= 90):
        raise nowhere
    return float(longitude), float(latitude)


def look(path: Path, named: str = "") -> np.ndarray:
    """An image of bands that are not known, float64 `(H, W, C)`: the shortest axis is taken for the bands.

    Values that are not finite, and those that the header says stand for none, are NaN.

    Args:
        named: as of `read_array`.

    Raises:
        DataError: it cannot be read, or is no image.
    """
    if path.suffix.lower() in HDF5:
        array = hdf5.read_bands(path, None, named=named)
    else:
        raster = _read(path, "image", named)
        array = _measured(raster.colours, raster.nodata)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise DataError(f"file {path}", f"has shape {array.shape}, expected (H, W, C)", _ONE_IMAGE)
    return np.moveaxis(np.where(np.isfinite(array), array, np.nan), int(np.argmin(array.shape)), -1)


def _measured(array: np.ndarray, nodata: float | None) -> np.ndarray:
    """As float64, with NaN for `nodata`."""
    values = array.astype(np.float64)
    if nodata is not None:
        values[array == nodata] = np.nan
    return values


@contextlib.contextmanager
def opened(path: Path, *, also: Mapping[bytes, str] | None = None) -> Iterator["rasterio.DatasetReader"]:
    """A GeoTIFF, PNG or JPEG, opened by GDAL's driver for it and no other, without a look at what lies beside it.

    Args:
        also: drivers of other formats that are taken too, by the bytes that their files begin with.

    Raises:
        DataError: it is none of these, or cannot be read, also within the block.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with contextlib.ExitStack() as stack:
        try:
            driver = _driver(path, _DRIVERS | {**(also or {})})
            _drop_undecoded()
            stack.enter_context(rasterio.Env(**_OPTIONS))
            stack.enter_context(warnings.catch_warnings())
            # Pictures lie nowhere on the ground.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = stack.enter_context(rasterio.open(path, driver=driver, sharing=False))
            if file.count > _MAX_BANDS:
                why = f"declares {file.count:,} bands, limit {_MAX_BANDS:,}"
                raise DataError(f"file {path}", why, _REPLACE)
        except (OSError, RasterioError, CPLE_BaseError) as error:
            raise unreadable(path, error) from None
        try:
            yield file
        except (RasterioError, CPLE_BaseError) as error:
            # Not any OSError: what is written within the block, or printed, fails for reasons of its own.
            raise unreadable(path, error) from None


def _drop_undecoded() -> None:
    """Has Python's hooks drop that rasterio could not decode a message of GDAL, which quotes any bytes of a file.

    rasterio can raise nothing there, so Python prints two tracebacks; what is wrong with the file is raised as ever.
    """
    said, unraisable = sys.excepthook, sys.unraisablehook

    def say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not (kind is UnicodeDecodeError and traceback is None):
            said(kind, error, traceback)

    def drop(dropped: "sys.UnraisableHookArgs") -> None:
        if not (dropped.exc_type is UnicodeDecodeError and dropped.object == "rasterio._env.log_error"):
            unraisable(dropped)

    # Each by itself: what else sets one of them does not have the other wrapped again and again.
    if said.__module__ != __name__:
        sys.excepthook = say
    if unraisable.__module__ != __name__:
        sys.unraisablehook = drop


def _driver(path: Path, drivers: Mapping[bytes, str]) -> str:
    signature = beginning(path)
    for known, driver in drivers.items():
        if signature.startswith(known):
            return driver
    raise DataError(f"file {path}", "neither TIFF, PNG nor JPEG", _REPLACE)


def _palette(file: "rasterio.DatasetReader") -> np.ndarray | None:
    """The colour of each index that the type of an image of indices can hold, uint8 `(N, 3)`; None of any other."""
    if file.count != 1 or file.colorinterp[0].name != "palette":
        return None
    if file.dtypes[0] not in _INDEX_TYPES:
        why = f"has a palette, and indices of {file.dtypes[0]}"
        raise DataError(f"file {file.name}", why, "write it without a palette, or with indices of uint8 or uint16")
    colours = np.zeros((np.iinfo(file.dtypes[0]).max + 1, 3), np.uint8)
    for index, colour in file.colormap(1).items():
        colours[index] = colour[:3]
    return colours


def _read_numpy(path: Path) -> np.ndarray:
    array = mapped(path)
    _check_size(path, array.shape)
    return np.array(array)


def _declared(path: Path, part: Part, named: str) -> tuple[str, np.dtype, tuple[int, ...]]:
    """Name, type and shape of the image or the mask in an archive of arrays."""
    arrays = arrays_in(path)
    name = chosen(path, part, named, {name: partial(tuple, shape) for name, (_, shape) in arrays.items()})
    return name, *arrays[name]


def _read_archived(path: Path, part: Part, named: str, notes: set[str] | None) -> np.ndarray:
    name, dtype, shape = _declared(path, part, named)
    _check_numeric(path, dtype)
    _check_size(path, shape)
    if notes is not None:
        notes.add(f"{part} from array '{printable(name, 40)}'")
    return array_in(path, name)


def _check_numeric(path: Path, dtype: np.dtype) -> None:
    if dtype.kind not in "biuf":
        raise DataError(f"file {path}", f"holds {dtype}, not numbers", _NUMBERS)


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    values = math.prod(shape)
    if values > _MAX_VALUES:
        why = f"declares {values:,} values, which take {8 * values:,} bytes in memory, limit {8 * _MAX_VALUES:,}"
        raise DataError(f"file {path}", why, "cut it into patches")
    if values == 0:
        raise DataError(f"file {path}", f"holds nothing: shape {shape}", _REPLACE)


def read_image(path: Path, sensor: Sensor, notes: set[str] | None = None) -> np.ndarray:
    """The stored bands of a patch, as they are: NaN and inf included.

    NaN too are a band's nodata value, by the sensor or the file's header, and pixels that an alpha channel says are
    transparent.

    Args:
        notes: gets what was taken otherwise than usual, such as "channels first".

    Returns:
        float64 `(H, W, C)`, with the bands of `sensor`.

    Raises:
        DataError: the file cannot be read, or has other bands.
    """
    if path.suffix.lower() in HDF5:
        image = hdf5.read_bands(path, len(sensor), notes, sensor.image_array)
    else:
        raster = _read(path, "image", sensor.image_array, notes)
        image = _measured(_bands_last(path, raster, len(sensor), notes), raster.nodata)
        if raster.alpha and raster.array.shape[-1] == len(sensor) + 1:
            image[raster.array[..., -1] == 0] = np.nan
    for place, band in enumerate(sensor.bands):
        if band.nodata is not None:
            image[..., place][image[..., place] == band.nodata] = np.nan
    return image


def _bands_last(path: Path, raster: _Raster, bands: int, notes: set[str] | None) -> np.ndarray:
    """`(H, W, C)`, without an alpha channel."""
    array = raster.colours
    if array.ndim == 2 and bands == 1:
        return array[..., None]
    if raster.alpha and array.shape[-1] == bands + 1:
        if np.isin(array[..., -1], (0, np.iinfo(array.dtype).max)).all():
            return array[..., :bands]
        why = f"has a band beside its {bands} that is half transparent"
        raise DataError(f"file {path}", why, _DESCRIBE)
    last, first = (array.ndim == 3 and array.shape[axis] == bands for axis in (-1, 0))
    if last == first:
        why = f"has shape {array.shape}, expected {bands} band{'s' * (bands != 1)}"
        raise DataError(f"file {path}", why, _DESCRIBE)
    if first and notes is not None:
        notes.add("channels first")
    return array if last else np.moveaxis(array, 0, -1)


def read_mask(path: Path, sensor: Sensor, notes: set[str] | None = None) -> np.ndarray:
    """The mask of a patch: 1 where a landslide is, `IGNORED` where nobody knows, 0 elsewhere.

    Args:
        notes: gets what was taken otherwise than usual, such as "masks of 0 and 255".

    Returns:
        uint8 `(H, W)`.

    Raises:
        DataError: the file cannot be read, or its values or colours have more than one meaning.
    """
    if path.suffix.lower() in HDF5:
        return mask_of(path, hdf5.read_labels(path, notes, sensor.mask_array), sensor, notes)
    raster = _read(path, "mask", sensor.mask_array, notes)
    return mask_of(path, _labels(raster, sensor), sensor, notes, alpha=raster.alpha, blurred=raster.blurred)


def _labels(raster: _Raster, sensor: Sensor) -> np.ndarray:
    """What `dataset.yaml` speaks of: a number means what is stored, three of them a colour."""
    numbers = bool(sensor.at_least) or any(len(colour) == 1 for colour in (*sensor.landslide, *sensor.ignore))
    return raster.array if numbers else raster.colours


def mask_values(path: Path, sensor: Sensor) -> set[object]:
    """The values, or colours, in the mask of a patch, whatever they mean.

    Raises:
        DataError: the file cannot be read, or is no mask.
    """
    if path.suffix.lower() in HDF5:
        return values_in(path, hdf5.read_labels(path, named=sensor.mask_array))
    return values_in(path, _labels(_read(path, "mask", sensor.mask_array), sensor))
