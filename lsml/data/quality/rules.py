"""Every rule on the values of patches, once: a rule says of looks at them what is wrong, or nothing."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from lsml.data.quality.look import Look
from lsml.data.sensor import BLUE, Sensor

_AIR, _LEVEL, _CLOUD = 0.25, 4.0, 50.0
"""Stored values of Landslide4Sense, whose constants bring each band to about 1 (.72 to 1.31 in twelve real patches).
The median of B1 and B2 is not below the first: air alone scatters .57 back, over water too. That of the optical bands
is not above the second in the middle one of three patches, nor above the third in any: cloud that saturates the sensor
reaches about 20. Raw reflectance x 10,000 is 800 to 1,100 times as large, reflectance 0..1 a tenth."""

_SCALED = 5.0
"""So many times the model's training patches, or so much less, no other ground is; a cloud over all of it may be."""

_TURNED = 0.3
"""By how much elevation's gradient is better told by slope than the reverse: .46 or more in the real patches."""

_OUTSIDE = 0.01
"""The share of a band's values that may lie beyond its valid range: damaged pixels."""

_FITS, _BETTER = 0.6, 0.4
"""How far the logarithms of the optical bands' levels may be from the usual ones, all brightness apart, where two bands
change places, and by how much nearer than before: twelve real and 3,000 synthetic patches are never that."""

_SEVERAL = 4
"""So many patches make a rule of what one may show by chance."""

_DARK, _BARE = 0.01, 0.02
"""By how much of their brightness dark pixels are bluer than red, as air scatters blue light, and landslides redder
than what is around them: .018 and .034 or more, in the median of any six of 48 real pictures and 12 patches."""

_PUBLISHED = "take the files as they were published, or describe what they are in dataset.yaml"
_ORDER = "put the bands into the order of their description, or describe theirs in dataset.yaml"
_LOOK = "look how the files were made"
HOLES, REPLACED = "NaN or infinite values", "the train median of their band stands for them"


@dataclass(frozen=True)
class Seen:
    """Some looks at patches of a sensor; `trained` where its typical values are those that a model was trained on."""

    looks: Sequence[Look]
    sensor: Sensor
    trained: bool

    @cached_property
    def light(self) -> list[int]:
        """The bands whose level the ground decides."""
        optical = np.flatnonzero(self.sensor.optical).tolist()
        return [place for place in optical if self.sensor.bands[place].role != "cirrus"]

    @cached_property
    def levels(self) -> np.ndarray:
        """float64 `(C,)`: the median over patches of each one's, so that one under cloud counts once."""
        medians = np.array([look.median for look in self.looks])
        known = medians[np.isfinite(medians).all(1)]
        return np.median(known, axis=0) if len(known) else np.full(len(self.sensor), np.nan)

    @cached_property
    def range(self) -> np.ndarray:
        """float64 `(2, C)`: the least and the largest stored value of each band."""
        least, most = ([getattr(look, name) for look in self.looks] for name in ("minimum", "maximum"))
        return np.array([np.fmin.reduce(least), np.fmax.reduce(most)])

    def names(self, places: Iterable[int]) -> str:
        return ", ".join(self.sensor.bands[place].name for place in places)


def _empty(seen: Seen) -> str:
    """Which bands have no value at all."""
    empty = np.all([np.isnan(look.median) for look in seen.looks], axis=0)
    return f"{seen.names(np.flatnonzero(empty))}: no finite value; {_LOOK}" if empty.any() else ""


def _scale(seen: Seen) -> str:
    """Whether the light is so much stronger or weaker that it is in another unit."""
    if not seen.light or not np.isfinite(level := float(np.median(seen.levels[seen.light]))):
        return ""
    if seen.sensor.published:
        air = float(np.mean([seen.levels[seen.sensor.place(role)] for role in ("coastal", BLUE)]))
        if air < _AIR or level > (_LEVEL if len(seen.looks) > 2 else _CLOUD):
            found = air if air < _AIR else level
            unit = _unit(found, min(look.minimum[seen.light].min() for look in seen.looks))
            return f"optical bands are about {found:.3g}, published values about 1: {unit}; {_PUBLISHED}"
    times = float(np.median(np.abs(seen.levels[seen.light]) / seen.sensor.typical[seen.light]))
    if seen.trained and not 1 / _SCALED <= times <= _SCALED:
        return f"optical bands are {times:.3g} times those of the patches that the model was trained on; {_PUBLISHED}"
    return ""


def _unit(level: float, lowest: float) -> str:
    if lowest < 0:
        return "values below 0: looks standardised"
    if level > 100:
        return "looks like raw reflectance x 10,000"
    return "looks multiplied by ten" if level > 1 else "looks like reflectance 0..1, normalised, or divided by ten"


def _turned(seen: Seen) -> str:
    """Whether slope and elevation are each other's."""
    as_named, turned = np.mean([look.terrain for look in seen.looks], axis=0)
    return f"slope and elevation look swapped; {_ORDER}" if turned > as_named + _TURNED else ""


def _shuffled(seen: Seen) -> str:
    """Whose values the bands have, where these are integers over another band's divisor, in most patches."""
    own = tuple(range(len(seen.sensor)))
    odd = [look.order for look in seen.looks if look.order != own]
    if 2 * len(odd) <= len(seen.looks):
        return ""
    moved = [place for place in own if odd[0][place] != place]
    return f"{seen.names(moved)} hold the values of {seen.names(odd[0][place] for place in moved)}; {_ORDER}"


def _exchanged(seen: Seen) -> str:
    """Which two optical bands have each other's levels, by those that are usual for the sensor or were trained on."""
    light, sensor = seen.light, seen.sensor
    levels, usual = (sensor.physical(values)[light] for values in (seen.levels, sensor.typical))
    if not (seen.trained or sensor.published) or len(light) < 3 or not ((levels > 0) & (usual > 0)).all():
        return ""
    levels, usual = np.log(levels), np.log(usual)
    least, pair = _apart(levels - usual) - _BETTER, (0, 0)
    if least < 0:
        return ""
    for one, other in itertools.combinations(range(len(light)), 2):
        changed = levels.copy()
        changed[[one, other]] = levels[[other, one]]
        if (apart := _apart(changed - usual)) <= min(least, _FITS):
            least, pair = apart, (light[one], light[other])
    return f"{seen.names(pair)} look swapped: each has the level of the other; {_ORDER}" if any(pair) else ""


def _apart(logarithms: np.ndarray) -> float:
    """The largest, all brightness apart."""
    return float(np.abs(logarithms - np.median(logarithms)).max())


def _blue_first(seen: Seen) -> str:
    """Whether red and blue are each other's, by dark pixels, which are bluer, and by landslides, which are redder."""
    dark, bare = (np.array([getattr(look, name) for look in seen.looks]) for name in ("dark_red", "bare_red"))
    dark, bare = dark[np.isfinite(dark)], bare[np.isfinite(bare)]
    if len(dark) < _SEVERAL or np.median(dark) < _DARK or (len(bare) >= _SEVERAL and np.median(bare) > -_BARE):
        return ""
    slides = ", landslides bluer than what is around them" if len(bare) >= _SEVERAL else ""
    return f"red and blue look swapped, blue first: dark pixels are redder than blue{slides}; {_ORDER}"


def _beyond(seen: Seen) -> str:
    """Which band has values that cannot be, more than a few."""
    return _outside_of(seen, _OUTSIDE)


def _few_beyond(seen: Seen) -> str:
    """Which band has any."""
    return _outside_of(seen, 0.0)


def _outside_of(seen: Seen, share: float) -> str:
    outside = np.mean([look.outside for look in seen.looks], axis=0)
    place = int(np.argmax(outside))
    band = seen.sensor.bands[place]
    if outside[place] <= share or band.valid is None:
        return ""
    low, high = seen.sensor.physical(seen.range)[:, place]
    limits = f"{band.valid[0]:g} to {band.valid[1]:g} {band.unit}"
    found = f"{100 * outside[place]:.3g}% of {band.name} is not within {limits}"
    return f"{found}: {low:.4g} to {high:.4g}; {_PUBLISHED}"


def _off_the_grid(seen: Seen) -> str:
    """Whether values of Landslide4Sense are not those that were published."""
    if not seen.sensor.published or all(look.on_grid for look in seen.looks):
        return ""
    return "values are not integers over the band constants: packed as float32, twice as large; resampled?"


def _not_finite(seen: Seen) -> str:
    """How many values are lacking in which band."""
    counts = np.sum([look.nonfinite for look in seen.looks], axis=0)
    named = ", ".join(f"{n} in {band.name}" for band, n in zip(seen.sensor.bands, counts, strict=True) if n)
    return f"{HOLES}: {named}; {REPLACED}" if named else ""


def _constant(seen: Seen) -> str:
    """Which bands have one value, in one patch or in all."""
    least, most = seen.range
    bands = np.flatnonzero(least == most)
    if not len(bands):
        return ""
    where = (
        "all over the patch; a gap in the source, or flat ground?" if len(seen.looks) == 1 else f"everywhere; {_LOOK}"
    )
    return f"{seen.names(bands)}: one value {where}"


class _Rule(NamedTuple):
    """What can be wrong with patches.

    Attributes:
        kind: of its findings.
        says: what is wrong and, after a semicolon, what to do; empty where nothing is.
        together, alone: how bad it is where that is said of the patches as a whole, and where of some alone.
    """

    kind: str
    says: Callable[[Seen], str]
    together: Literal["error", "warning"]
    alone: Literal["error", "warning"]


RULES = (
    _Rule("no values", _empty, "error", "warning"),
    _Rule("scale", _scale, "error", "error"),
    _Rule("terrain", _turned, "error", "error"),
    _Rule("band order", _shuffled, "error", "error"),
    _Rule("band order", _exchanged, "error", "error"),
    _Rule("range", _beyond, "error", "warning"),
    _Rule("range", _few_beyond, "warning", "warning"),
    _Rule("band order", _blue_first, "warning", "warning"),
    _Rule("not finite", _not_finite, "warning", "warning"),
    _Rule("constant band", _constant, "warning", "warning"),
    _Rule("off the grid", _off_the_grid, "warning", "warning"),
)
"""In this order: what is an error of one rule is not looked at by those after it."""
