"""Reads an image or a mask in any of the formats that patches come in, without trusting the file.

HDF5 is read by `hdf5`; GeoTIFF, TIFF, PNG and JPEG by GDAL's drivers for these and no others; NumPy's files without
pickles. Sizes are checked as the file declares them, before anything is read.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsml.data.formats import hdf5
from lsml.data.layout import HDF5, NUMPY
from lsml.data.sensor import Sensor
from lsml.errors import DataError

_DRIVERS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
}
"""GDAL's name of each format by the bytes that its files begin with, whatever their ending."""

if TYPE_CHECKING:
    import rasterio

_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
"""Options of GDAL by which it looks at nothing beside the file: no side-car, no overview, no world file."""

_MAX_BYTES = 2**30
_DESCRIBE = "describe it in dataset.yaml: lsml data describe DIR writes a draft"


def read_array(path: Path) -> np.ndarray:
    """What a raster or NumPy file holds, `(H, W, C)` or `(C, H, W)` as it lies there, of its own type.

    Raises:
        DataError: the file cannot be read, is larger than 1 GiB, or holds no numbers.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"file {path}", "not a regular file", "give a folder of patches")
    read: Callable[[Path], np.ndarray] = _read_numpy if path.suffix.lower() in NUMPY else _read_raster
    try:
        array = read(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"file {path}", f"holds {array.dtype}, not numbers", "write it as integers or floats")
    return array


def _unreadable(path: Path, error: Exception) -> DataError:
    # Libraries name the file again, some over several lines.
    said = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "damaged")
    why = said.removeprefix(f"{path}").strip(" :,")[:200]
    return DataError(f"file {path}", f"cannot be read: {why}", "replace it by an intact copy")


def _read_raster(path: Path) -> np.ndarray:
    from rasterio.errors import RasterioError

    try:
        with _opened(path) as file:
            _check_size(path, (file.count, file.height, file.width), file.dtypes[0])
            colours = _palette(file)
            bands = file.read()
            if colours is not None:
                return colours[bands[0]]
            array = np.moveaxis(bands, 0, -1)
            if file.nodata is not None and array.dtype.kind == "f":
                array = np.where(array == file.nodata, np.nan, array)
            return array
    except RasterioError as error:
        raise _unreadable(path, error) from None


def raster_size(path: Path) -> tuple[int, int]:
    """Height and width that the header of a TIFF, PNG or JPEG file declares.

    Raises:
        DataError: it cannot be read.
    """
    from rasterio.errors import RasterioError

    try:
        with _opened(path) as file:
            return file.height, file.width
    except (OSError, RasterioError) as error:
        raise _unreadable(path, error) from None


def look(path: Path) -> np.ndarray:
    """An image of bands that are not known, float64 `(H, W, C)`: the shortest axis is taken for the bands.

    Raises:
        DataError: it cannot be read.
    """
    array = read_array(path).astype(np.float64)
    array = array[..., None] if array.ndim == 2 else array
    return np.moveaxis(array, int(np.argmin(array.shape)), -1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["rasterio.DatasetReader"]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    driver = _driver(path)
    with rasterio.Env(**_ALONE), warnings.catch_warnings():
        # Pictures lie nowhere on the ground.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver=driver, sharing=False) as file:
            yield file


def _driver(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(4)
    for signature, driver in _DRIVERS.items():
        if beginning.startswith(signature):
            return driver
    raise DataError(f"file {path}", "neither TIFF, PNG nor JPEG", "replace it by an intact copy")


def _palette(file: "rasterio.DatasetReader") -> np.ndarray | None:
    """The colours of an image of indices, uint8 `(256, 3)`; None of any other."""
    if file.count != 1 or file.colorinterp[0].name != "palette":
        return None
    colours = np.zeros((256, 3), np.uint8)
    for index, colour in file.colormap(1).items():
        colours[index] = colour[:3]
    return colours


def _read_numpy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _unreadable(path, error) from None
    _check_size(path, array.shape, array.dtype)
    return np.array(array)


def _check_size(path: Path, shape: tuple[int, ...], dtype: str | np.dtype) -> None:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > _MAX_BYTES:
        raise DataError(f"file {path}", f"declares {size:,} bytes, limit {_MAX_BYTES:,}", "cut it into patches")


def read_image(path: Path, sensor: Sensor, notes: set[str] | None = None) -> np.ndarray:
    """The stored bands of a patch, as they are: NaN and inf included; a band's nodata value is NaN.

    Args:
        notes: gets what was taken otherwise than usual, such as "channels first".

    Returns:
        float64 `(H, W, C)`, with the bands of `sensor`.

    Raises:
        DataError: the file cannot be read, or has other bands.
    """
    if path.suffix.lower() in HDF5:
        image = hdf5.read_bands(path, len(sensor), notes)
    else:
        image = _bands_last(path, read_array(path), len(sensor), notes).astype(np.float64)
    for place, band in enumerate(sensor.bands):
        if band.nodata is not None:
            image[..., place][image[..., place] == band.nodata] = np.nan
    return image


def _bands_last(path: Path, array: np.ndarray, bands: int, notes: set[str] | None) -> np.ndarray:
    """`(H, W, C)`; an opaque alpha channel is left out."""
    if array.ndim == 2 and bands == 1:
        return array[..., None]
    if array.ndim == 3 and array.shape[-1] == bands + 1 and bands in (1, 3) and path.suffix.lower() == ".png":
        return array[..., :bands]
    last, first = (array.ndim == 3 and array.shape[axis] == bands for axis in (-1, 0))
    if last == first:
        why = f"has shape {array.shape}, expected {bands} band{'s' * (bands != 1)}"
        raise DataError(f"file {path}", why, _DESCRIBE)
    if first and notes is not None:
        notes.add("channels first")
    return array if last else np.moveaxis(array, 0, -1)


def read_mask(path: Path, sensor: Sensor, notes: set[str] | None = None) -> np.ndarray:
    """The mask of a patch: 1 where a landslide is, 0 elsewhere.

    Args:
        notes: gets what was taken otherwise than usual, such as "masks of 0 and 255".

    Returns:
        uint8 `(H, W)`.

    Raises:
        DataError: the file cannot be read, or its values or colours have more than one meaning.
    """
    if path.suffix.lower() in HDF5:
        return _of_colours(path, hdf5.read_labels(path, notes)[..., None], sensor.landslide, notes)
    array = np.squeeze(read_array(path))
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[-1] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3):
        raise DataError(f"mask {path}", f"has shape {array.shape}, expected (H, W)", "write one band")
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[-1] in (2, 4):
        array = array[..., :-1]  # without alpha
    if path.suffix.lower() in (".jpg", ".jpeg"):
        # Compression blurs what was black and white.
        return (array.max(axis=-1) > np.iinfo(array.dtype).max // 2).astype(np.uint8)
    return _of_colours(path, array, sensor.landslide, notes)


def _of_colours(
    path: Path, array: np.ndarray, landslide: tuple[tuple[int, ...], ...], notes: set[str] | None
) -> np.ndarray:
    """Where `(H, W, C)` has one of the colours `landslide`, or the only one beside black where none is given."""
    colours = np.unique(array.reshape(-1, array.shape[-1]), axis=0)
    if landslide:
        wanted = [colour if len(colour) == array.shape[-1] else colour[:1] * array.shape[-1] for colour in landslide]
        marked: np.ndarray = np.isin(_as_keys(array), _as_keys(np.array(wanted)))
        return marked.astype(np.uint8)
    marks = colours[(colours != 0).any(axis=1)]
    if len(marks) > 1 or not (np.isfinite(marks.astype(np.float64)).all() and (marks >= 0).all()):
        shown = ", ".join(str(_plain(colour)) for colour in colours[:6]) + (", ..." if len(colours) > 6 else "")
        why = f"values {{{shown}}}: which of them are landslide?"
        raise DataError(f"mask {path}", why, "name them in dataset.yaml, such as mask: {landslide: [255]}")
    if notes is not None:
        notes.update(f"masks of 0 and {_plain(mark)}" for mark in marks if _plain(mark) != 1)
    return (array != 0).max(axis=-1).astype(np.uint8)


def _as_keys(colours: np.ndarray) -> np.ndarray:
    """`(..., C)` as one number each."""
    keys = np.zeros(colours.shape[:-1])
    for channel in np.moveaxis(colours, -1, 0):
        keys = keys * 65536 + channel
    return keys


def _plain(colour: np.ndarray) -> object:
    values = tuple(int(value) if float(value).is_integer() else float(value) for value in colour)
    return values[0] if len(values) == 1 else values
