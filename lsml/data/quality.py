"""What no patches may be that are trained on, scored or predicted: cheap rules, the same at every door.

A few patches are looked at, evenly over all. What cannot be learnt from, or would be mistaken for something else, is
refused; what is only unusual is for `lsml data check` to tell.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lsml.data.formats import read_image
from lsml.data.layout import PatchFiles
from lsml.data.pack import PackedSplit
from lsml.data.sensor import ELEVATION, SLOPE, Sensor
from lsml.errors import DataError

_LOOKED_AT = 16

_LEVEL = (0.25, 4.0)
"""The middle of the optical bands in Landslide4Sense, whose constants bring each to about 1: .72 to 1.31 in twelve
real patches. Raw reflectance x 10,000 is some 800, reflectance 0..1, or a tenth of the values, some .1."""

_SCALED = 5.0
"""So many times the model's training patches, or so much less, no other ground is; a cloud over all of it may be."""

_SWAPPED = 0.3
"""By how much elevation's gradient is better told by slope than the reverse: .46 or more in the real patches."""

_OUTSIDE = 0.01
"""The share of a band's values that may lie beyond its valid range: damaged pixels."""

_FIX = "take the files as they were published, or describe what they are in dataset.yaml"


def require_usable(*splits: PackedSplit) -> None:
    """Whether each split can be learnt from and scored, and its values are what its sensor says that they are.

    Raises:
        DataError: a split has no landslide, or nothing else; or its values are in another unit or order.
    """
    for split in splits:
        _require_plausible(f"{split.name} split", split.image, len(split), split.sensor)
        share = float(split.landslide_fractions.mean())
        if share in (0.0, 1.0):
            why = "not one landslide pixel" if share == 0 else "every pixel is landslide"
            fix = "add patches with and without landslide, or look at the masks: lsml data check"
            raise DataError(f"{split.name} split", f"{why}: nothing to learn from or to score", fix)


def require_known(name: str, files: Sequence[PatchFiles], sensor: Sensor) -> None:
    """Whether the values of files that a model is to predict are such as it was trained on.

    Args:
        name: of the patches, in the error.
        sensor: the model's, whose typical values are those of the patches that it was trained on.

    Raises:
        DataError: they are not, or a file cannot be read.
    """
    _require_plausible(name, lambda place: read_image(files[place].image, sensor), len(files), sensor, trained=True)


def _require_plausible(
    name: str, image: Callable[[int], np.ndarray], count: int, sensor: Sensor, *, trained: bool = False
) -> None:
    """Of a few of `count` patches, of which `image` gives the stored bands `(H, W, C)`, finite or not."""
    places = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).round().astype(int))
    images = [image(int(place)) for place in places]
    looks = (
        _empty(images, sensor)
        or _scale(images, sensor, trained=trained)
        or _out_of_range(images, sensor)
        or _terrain(images, sensor)
    )
    if looks:
        raise DataError(name, looks, _FIX)


def _empty(images: Sequence[np.ndarray], sensor: Sensor) -> str:
    """Which band has no value at all."""
    known = np.any([np.isfinite(image).any(axis=(0, 1)) for image in images], axis=0)
    return "" if known.all() else f"{sensor.bands[int(np.argmin(known))].name} has no finite value"


def _out_of_range(images: Sequence[np.ndarray], sensor: Sensor) -> str:
    """Which band has values that cannot be."""
    for place, band in enumerate(sensor.bands):
        if band.valid is None:
            continue
        values = np.concatenate([image[..., place].ravel() for image in images])
        values = values[np.isfinite(values)] * band.scale + band.offset
        outside = float(((values < band.valid[0]) | (values > band.valid[1])).mean())
        if outside > _OUTSIDE:
            low, high = values.min(), values.max()
            limits = f"{band.valid[0]:g} to {band.valid[1]:g} {band.unit}"
            return f"{outside:.0%} of {band.name} is not within {limits}: {low:.4g} to {high:.4g}"
    return ""


def _scale(images: Sequence[np.ndarray], sensor: Sensor, *, trained: bool) -> str:
    """Whether the light is so much stronger or weaker that it is in another unit."""
    seen = [place for place in np.flatnonzero(sensor.optical) if sensor.bands[place].role != "cirrus"]
    if not seen:
        return ""
    # Of each patch, so that a cloud over one of them counts once.
    pixels = (np.where(np.isfinite(image), image, np.nan)[..., seen].reshape(-1, len(seen)) for image in images)
    medians = [np.nanmedian(values, axis=0) for values in pixels if not np.isnan(values).all(axis=0).any()]
    if not medians:
        return ""
    levels = np.median(medians, axis=0)
    level = float(np.median(levels))
    if sensor.published and not _LEVEL[0] <= level <= _LEVEL[1]:
        return f"optical bands are about {level:.3g}, published values about 1: {_unit(level)}"
    times = float(np.median(np.abs(levels) / sensor.typical[seen]))
    if trained and not 1 / _SCALED <= times <= _SCALED:
        return f"optical bands are {times:.3g} times those of the patches that the model was trained on"
    return ""


def _unit(level: float) -> str:
    if level > 100:
        return "looks like raw reflectance x 10,000"
    return "looks multiplied by ten" if level > 1 else "looks like reflectance 0..1, normalised, or divided by ten"


def _terrain(images: Sequence[np.ndarray], sensor: Sensor) -> str:
    """Whether slope and elevation are each other's: the steepness of the elevation has to follow the slope."""
    if not sensor.has(SLOPE, ELEVATION):
        return ""
    slope, elevation = sensor.place(SLOPE), sensor.place(ELEVATION)
    as_named, swapped = (
        np.mean([_correlation(image[..., one], _steepness(image[..., other])) for image in images])
        for one, other in ((slope, elevation), (elevation, slope))
    )
    return "slope and elevation look swapped" if swapped > as_named + _SWAPPED else ""


def _steepness(height: np.ndarray) -> np.ndarray:
    down, right = np.gradient(np.nan_to_num(height.astype(np.float64)))
    return np.hypot(down, right)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, 0 where either is constant."""
    a, b = (values - values.mean() for values in (np.nan_to_num(one.astype(np.float64)), other))
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0
