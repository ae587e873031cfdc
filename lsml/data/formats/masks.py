"""What the values or colours of a mask mean: landslide, none, or that nobody knows."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lsml.data.sensor import IGNORED, Sensor
from lsml.errors import DataError

_ONE_BAND = "write one band: 1 where a landslide is, 0 elsewhere"
_NAME_COLOUR = "name it in dataset.yaml, such as mask: {landslide: [[255, 0, 0]]}"


def mask_of(
    path: Path,
    stored: np.ndarray,
    sensor: Sensor,
    notes: set[str] | None,
    *,
    alpha: bool = False,
    blurred: bool = False,
) -> np.ndarray:
    """1 where a landslide is, `IGNORED` where nobody knows, 0 elsewhere.

    Args:
        path: of the file, for errors.
        stored: what it holds, `(H, W)`, or with up to four channels last or first.
        notes: gets what was taken otherwise than usual.
        alpha: whether the last channel is the opacity of the others.
        blurred: whether compression changed values.

    Returns:
        uint8 `(H, W)`.

    Raises:
        DataError: it has another shape, or its values or colours have more than one meaning.
    """
    array = _channels_last(path, stored)
    if alpha:
        array = array[..., :-1] * (array[..., -1:] > 0)
    if array.shape[-1] not in (1, 3):
        raise DataError(f"mask {path}", f"has {array.shape[-1]} channels, expected 1, or 3 of a colour", _ONE_BAND)
    if not sensor.ignore:
        return _meaning(path, array, sensor, notes, blurred=blurred)
    if blurred:
        why = "a JPEG, in which colours run into each other: which pixels are to ignore?"
        raise DataError(f"mask {path}", why, "write masks as PNG or TIFF")
    ignored = _has(path, array, sensor.ignore)
    mask = _meaning(path, np.where(ignored[..., None], 0, array), sensor, notes, blurred=False)
    mask[ignored] = IGNORED
    return mask


def _meaning(path: Path, array: np.ndarray, sensor: Sensor, notes: set[str] | None, *, blurred: bool) -> np.ndarray:
    """Where `(H, W, C)`, C 1 or 3, means landslide, uint8 `(H, W)` of 0 and 1."""
    if sensor.at_least is not None:
        return _from(path, array, sensor.at_least)
    if blurred:
        return _of_blurred(path, array, sensor.landslide)
    return _of_colours(path, array, sensor.landslide, notes)


def _from(path: Path, array: np.ndarray, least: float) -> np.ndarray:
    """Where the greys `(H, W, C)` are `least` or more.

    Raises:
        DataError: it has colours, or values that are not finite.
    """
    if (array != array[..., :1]).any():
        unknown = f"{np.count_nonzero(~np.isfinite(array))} values that are not finite" if array.shape[-1] == 1 else ""
        why = f"has {unknown or 'colours'}, where dataset.yaml says at_least"
        fix = "write numbers alone: those that nobody knows as one that ignore names" if unknown else _NAME_COLOUR
        raise DataError(f"mask {path}", why, fix)
    return np.asarray(array[..., 0] >= least, np.uint8)


def _channels_last(path: Path, array: np.ndarray) -> np.ndarray:
    """A mask as `(H, W, C)`, C from 1 to 4, whatever axes of length 1 it has besides."""
    while array.ndim > 2 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if array.ndim == 3 and array.shape[-1] > 4 and array.shape[0] <= 4:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3 or array.shape[-1] > 4:
        raise DataError(f"mask {path}", f"has shape {array.shape}, expected (H, W)", _ONE_BAND)
    return array


def _of_blurred(path: Path, array: np.ndarray, landslide: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Where what compression blurred, `(H, W, C)`, is nearer to a colour of `landslide` than halfway to black.

    Where none is given, it is that of the lighter half of the greys.

    Raises:
        DataError: it has other colours than grey, and `landslide` is empty.
    """
    most = np.iinfo(array.dtype).max
    if not landslide and np.ptp(array, axis=-1).max() > most // 4:
        raise DataError(f"mask {path}", "a JPEG of colours: which of them is landslide?", _NAME_COLOUR)
    known = np.array(_colours_of(path, landslide or ((most,),), array.shape[-1]), float)
    near = [np.linalg.norm(array - colour, axis=-1) < np.linalg.norm(colour) / 2 for colour in known]
    return np.any(near, axis=0).astype(np.uint8)


def _colours_of(path: Path, colours: tuple[tuple[int, ...], ...], channels: int) -> list[tuple[int, ...]]:
    """The colours that mean something, each with so many channels; a single number is grey."""
    if any(channels < len(colour) for colour in colours):
        fix = "name its value there, such as mask: {landslide: [255]}"
        raise DataError(f"mask {path}", "has one channel, where dataset.yaml names a colour of three", fix)
    return [colour if len(colour) == channels else colour * channels for colour in colours]


def values_in(path: Path, stored: np.ndarray) -> set[object]:
    """The values, or colours, that a mask holds as it lies in its file.

    Raises:
        DataError: it has another shape than masks have.
    """
    array = _channels_last(path, stored)
    return {_plain(colour) for colour in _distinct(array.reshape(-1, array.shape[-1]))}


def shown(values: Iterable[object]) -> str:
    """At most six of them."""
    each = [str(value) for value in values]
    return ", ".join(each[:6]) + (", ..." if len(each) > 6 else "")


def _has(path: Path, array: np.ndarray, colours: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Where `(H, W, C)` has one of the colours, bool `(H, W)`."""
    wanted = _colours_of(path, colours, array.shape[-1])
    return np.isin(_as_keys(array), _as_keys(np.array(wanted)))


def _of_colours(
    path: Path, array: np.ndarray, landslide: tuple[tuple[int, ...], ...], notes: set[str] | None
) -> np.ndarray:
    """Where `(H, W, C)` has one of the colours `landslide`, or the only one beside black where none is given."""
    if landslide:
        return _has(path, array, landslide).astype(np.uint8)
    colours = _distinct(array.reshape(-1, array.shape[-1]))
    marks = colours[(colours != 0).any(axis=1)]
    if len(marks) > 1 or not (np.isfinite(marks.astype(np.float64)).all() and (marks >= 0).all()):
        raise DataError(
            f"mask {path}", f"values {{{shown(map(_plain, colours))}}}: which of them are landslide?", _name(marks[-1])
        )
    if notes is not None:
        notes.update(f"masks of 0 and {_plain(mark)}" for mark in marks if _plain(mark) != 1)
    return (array != 0).max(axis=-1).astype(np.uint8)


def _distinct(pixels: np.ndarray) -> np.ndarray:
    """The colours of pixels `(N, C)`, N at least 1, each once and in order."""
    # Sorting rows is slow, and next to most pixels of a mask is one like it.
    borders = (pixels[1:] != pixels[:-1]).any(axis=1)
    firsts = pixels[np.concatenate([[True], borders])]
    return np.unique(firsts, axis=0) if firsts.shape[1] > 1 else np.unique(firsts)[:, None]


def _name(mark: np.ndarray) -> str:
    """What to write into dataset.yaml, by the example of a colour that is there."""
    example = str(_plain(mark)).replace("(", "[").replace(")", "]")
    return f"name them in dataset.yaml, such as mask: {{landslide: [{example}]}}, and what nobody knows as ignore"


def _as_keys(colours: np.ndarray) -> np.ndarray:
    """`(..., C)` as one number each."""
    keys = np.zeros(colours.shape[:-1])
    for channel in np.moveaxis(colours, -1, 0):
        keys = keys * 65536 + channel
    return keys


def _plain(colour: np.ndarray) -> object:
    values = tuple(int(value) if float(value).is_integer() else float(value) for value in colour)
    return values[0] if len(values) == 1 else values
