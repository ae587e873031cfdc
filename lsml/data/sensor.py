"""What the bands of a patch are: name, role, unit and scale of each, and the numbers that a pack stores of them.

Only this module knows a sensor's bands. All others ask for a role, and do without what a sensor lacks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

SLOPE, ELEVATION = "slope", "elevation"
_TERRAIN = (SLOPE, ELEVATION)
BLUE, GREEN, RED, RED_EDGE, NEAR_INFRARED = "blue", "green", "red", "red_edge_705", "near_infrared"
SHORT_WAVE_INFRARED_1, SHORT_WAVE_INFRARED_2 = "short_wave_infrared_1", "short_wave_infrared_2"
"""Roles that something is computed of."""

IGNORED = 2
"""In a mask: nobody knows whether that pixel is landslide. It counts neither in training nor in any score."""

GROUPS = {
    "visible": (BLUE, GREEN, RED),
    "red_edge": (RED_EDGE, "red_edge_740", "red_edge_783"),
    "near_infrared": (NEAR_INFRARED,),
    "short_wave_infrared": (SHORT_WAVE_INFRARED_1, SHORT_WAVE_INFRARED_2),
    "atmospheric": ("coastal", "water_vapour", "cirrus"),
    "terrain": _TERRAIN,
}
"""All roles, by the field of `lsml.config.schema.InputConfig` that turns their bands on and off."""


class Unit(StrEnum):
    """Of physical values."""

    REFLECTANCE = "reflectance x 10,000"
    DEGREES = "degrees"
    METRES = "metres"
    DECIBELS = "decibels"
    NUMBER = "digital number"


_ABSOLUTE, _RELATIVE = 1e-6, 2.0**-23
"""How far `stored * divisor` may be from an integer: below what float32, which the network sees, resolves."""


@dataclass(frozen=True)
class Band:
    """One band of a patch.

    Attributes:
        name: for people; its first word is short.
        role: one of `GROUPS`; empty where the band has none.
        unit: of physical values.
        scale, offset: `stored * scale + offset` is the physical value.
        divisor: where a stored value times this is an integer of 0..65,535, packs hold the integer.
        typical: a usual stored value, above 0: what noise is relative to.
        valid: the least and the largest physical value that can be; None where nothing is known.
        nodata: the stored value that stands for none; None where there is none.
    """

    name: str
    role: str = ""
    unit: Unit = Unit.NUMBER
    scale: float = 1.0
    offset: float = 0.0
    divisor: float = 1.0
    typical: float = 1.0
    valid: tuple[float, float] | None = None
    nodata: float | None = None


_LATER = ("ignore", "at_least", "arrays")
"""Fields of a sensor that packs and models of before do not have."""


@dataclass(frozen=True)
class Sensor:
    """The bands of a patch, in their order.

    Attributes:
        name: for people.
        bands: at least one.
        pixel_metres: the side of a pixel on the ground, in metres; None where it is not known.
        tile: the side of the squares that images are cut into to train on, in pixels; None where they are not cut.
        landslide: the values or colours of a mask that mean landslide; empty: the only one beside 0.
        ignore: those of pixels of which nobody knows; only masks of a sensor with such hold `IGNORED`.
        at_least: the value from which on a mask means landslide, above 0; None: by `landslide`.
        arrays: the names of image and mask in files that hold both, each empty where it need not be named; or none.
    """

    name: str
    bands: tuple[Band, ...]
    pixel_metres: float | None = None
    tile: int | None = None
    landslide: tuple[tuple[int, ...], ...] = ()
    ignore: tuple[tuple[int, ...], ...] = ()
    at_least: float | None = None
    arrays: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.bands)

    def has(self, *roles: str) -> bool:
        """Whether there is a band of each of the roles."""
        return {band.role for band in self.bands}.issuperset(roles)

    def place(self, role: str) -> int:
        """The index of the band of that role.

        Raises:
            ValueError: there is none.
        """
        return [band.role for band in self.bands].index(role)

    def physical(self, stored: np.ndarray, *roles: str) -> np.ndarray:
        """Physical values of the bands of these roles, float64 `(..., roles)`, of stored bands `(..., C)`.

        Without roles, of all bands.

        Raises:
            ValueError: there is no such band.
        """
        chosen = [self.place(role) for role in roles] if roles else [*range(len(self))]
        return stored[..., chosen].astype(np.float64) * self.scales[chosen] + self.offsets[chosen]

    def least_sum(self, *roles: str) -> float:
        """The least denominator of an index of the bands of these roles, in physical values; below it all is dark.

        A reflectance of .0001, one step of the published integers; in other units a ten-thousandth of what is usual.

        Raises:
            ValueError: there is no such band.
        """
        bands = [self.bands[self.place(role)] for role in roles]
        if all(band.unit == Unit.REFLECTANCE for band in bands):
            return 1.0
        return sum(abs(band.typical * band.scale) for band in bands) / 10_000

    @cached_property
    def optical(self) -> np.ndarray:
        """bool `(C,)`: the bands that hold light, which the sun's height and the sensor's gain change."""
        return np.array(
            [band.role not in _TERRAIN and band.unit in (Unit.REFLECTANCE, Unit.NUMBER) for band in self.bands]
        )

    @cached_property
    def scales(self) -> np.ndarray:
        """float64 `(C,)`."""
        return np.array([band.scale for band in self.bands])

    @cached_property
    def offsets(self) -> np.ndarray:
        """float64 `(C,)`."""
        return np.array([band.offset for band in self.bands])

    @cached_property
    def divisors(self) -> np.ndarray:
        """float64 `(C,)`."""
        return np.array([band.divisor for band in self.bands])

    @cached_property
    def typical(self) -> np.ndarray:
        """float64 `(C,)`."""
        return np.array([band.typical for band in self.bands])

    @property
    def without_effect(self) -> frozenset[str]:
        """The fields of the configuration that change nothing, as they choose among bands that are not there."""
        groups = [group for group, roles in GROUPS.items() if not any(map(self.has, roles))]
        # Every index is of near infrared and another band.
        idle = groups if self.has(NEAR_INFRARED) else [*groups, "indices"]
        return frozenset(f"input.{name}" for name in idle)

    @property
    def identity(self) -> Any:
        """Two sensors with the same one are the same; plain data.

        Of Landslide4Sense the divisors alone, as packs have always had it in their fingerprint. What arrays are called
        in files changes nothing that they say.
        """
        return (
            list(self.divisors)
            if self.published and not (self.landslide or self.ignore or self.at_least)
            else replace(self, arrays=()).to_dict()
        )

    @property
    def image_array(self) -> str:
        """The name of the image in files that hold a mask too; empty where it is not needed."""
        return self.arrays[0] if self.arrays else ""

    @property
    def mask_array(self) -> str:
        """The name of the mask there."""
        return self.arrays[1] if self.arrays else ""

    @property
    def published(self) -> bool:
        """Whether the bands are Landslide4Sense's, whatever the lsml that recorded them knew of them."""
        return [band.divisor for band in self.bands] == [band.divisor for band in LANDSLIDE4SENSE.bands]

    def as_integers(self, stored: np.ndarray) -> np.ndarray | None:
        """`stored * divisor` as uint16, or None where a value is no integer in 0..65535, or not finite.

        A product counts as the integer k when it is within 1e-6 + k * 2**-23 of it: the float64 values that
        Landslide4Sense publishes miss k by less than 5e-13, values that went through float32 by half of k * 2**-23.

        Args:
            stored: `(..., W, C)`.
        """
        # NumPy is fast along rows, not along a few bands.
        products = stored.reshape(-1, stored.shape[-2] * len(self)) * np.tile(self.divisors, stored.shape[-2])
        integers = np.rint(products)
        # Of NaN no comparison holds.
        if not (integers.min() >= 0 and integers.max() <= 65535):
            return None
        products -= integers
        np.abs(products, out=products)
        if not (products.max() <= _ABSOLUTE or (products <= integers * _RELATIVE + _ABSOLUTE).all()):
            return None
        return integers.astype(np.uint16).reshape(stored.shape)

    def over_divisors(self, values: np.ndarray) -> np.ndarray:
        """bool `(C,)`: over which bands' divisors all stored values `(N,)` are integers, as `as_integers` says it."""
        products = values[:, None] * self.divisors
        integers = np.rint(products)
        return (np.abs(products - integers) <= np.abs(integers) * _RELATIVE + _ABSOLUTE).all(axis=0)

    def as_stored(self, packed: np.ndarray) -> np.ndarray:
        """Stored band values float32 `(..., W, C)`, from uint16 integers or from float32 as they are."""
        if packed.dtype != np.uint16:
            return np.array(packed, np.float32)
        # NumPy is fast along rows, not along a few bands.
        rows = packed.reshape(*packed.shape[:-2], -1)
        stored = np.empty(rows.shape, np.float32)
        # For every integer and divisor of Landslide4Sense, this rounds to the float32 that the quotient does.
        np.multiply(rows, np.tile(1 / self.divisors, packed.shape[-2]), out=stored, casting="unsafe")
        return stored.reshape(packed.shape)

    @property
    def remarks(self) -> str:
        """What is to be said of other patches than Landslide4Sense's: which bands, how cut, and what is lacking."""
        if self.published:
            return ""
        cut = f", cut into squares of {self.tile} pixels" if self.tile else ""
        lacking = [role.replace("_", " ") for role in (RED, NEAR_INFRARED, SLOPE, ELEVATION) if not self.has(role)]
        without = f"; no {', no '.join(lacking)}: indices and baselines of them are left out" if lacking else ""
        return f"; {self.name}: {', '.join(band.name for band in self.bands)}{cut}{without}"

    def with_typical(self, values: Sequence[float]) -> "Sensor":
        """The same bands with these usual stored values, such as the medians of what a model was trained on."""
        pairs = zip(self.bands, values, strict=True)
        return replace(self, bands=tuple(replace(band, typical=abs(value) or band.typical) for band, value in pairs))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; what packs and models of before did not know is left out where it says nothing."""
        return {name: value for name, value in asdict(self).items() if value or name not in _LATER}

    @classmethod
    def from_dict(cls, tree: Any) -> "Sensor":
        """The reverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: `tree` is not what `to_dict` gives.
        """
        bands = (
            {**band, "unit": Unit(band["unit"]), "valid": band["valid"] and tuple(band["valid"])}
            for band in tree["bands"]
        )
        landslide, ignore = (tuple(map(tuple, tree.get(name, ()))) for name in ("landslide", "ignore"))
        described = tuple(Band(**band) for band in bands)
        meaning = landslide, ignore, tree.get("at_least"), tuple(tree.get("arrays", ()))
        return cls(tree["name"], described, tree["pixel_metres"], tree["tile"], *meaning)


def landslide_share(mask: np.ndarray) -> float:
    """The share of landslide among the pixels of a mask, of any shape, of which it is known; 0 where there are none."""
    return int((mask == 1).sum()) / max(int((mask != IGNORED).sum()), 1)


_POSSIBLE = {Unit.REFLECTANCE: (0.0, 65_535.0), Unit.DEGREES: (0.0, 90.0), Unit.METRES: (-430.0, 8_850.0)}
"""Of a uint16, of ground that is not overhanging, from the Dead Sea's shore to Mount Everest."""


def _of_landslide4sense(name: str, role: str, constant: float, unit: Unit = Unit.REFLECTANCE) -> Band:
    """A stored value is an integer divided by the band's constant, and that integer the physical value."""
    return Band(name, role, unit, scale=constant, divisor=constant, valid=_POSSIBLE[unit])


LANDSLIDE4SENSE = Sensor(
    "Landslide4Sense",
    (
        _of_landslide4sense("B1 coastal 443 nm", "coastal", 1111.81236406),
        _of_landslide4sense("B2 blue 490 nm", BLUE, 824.63171476),
        _of_landslide4sense("B3 green 560 nm", GREEN, 663.41636217),
        _of_landslide4sense("B4 red 665 nm", RED, 445.17289745),
        _of_landslide4sense("B5 red edge 705 nm", RED_EDGE, 645.8582926),
        _of_landslide4sense("B6 red edge 740 nm", "red_edge_740", 1547.73508126),
        _of_landslide4sense("B7 red edge 783 nm", "red_edge_783", 1960.44401001),
        _of_landslide4sense("B8 near infrared 842 nm", NEAR_INFRARED, 1941.32229668),
        _of_landslide4sense("B9 water vapour 945 nm", "water_vapour", 674.07572865),
        _of_landslide4sense("B10 cirrus 1375 nm", "cirrus", 9.04787384),
        _of_landslide4sense("B11 short-wave infrared 1610 nm", SHORT_WAVE_INFRARED_1, 1113.98338755),
        _of_landslide4sense("B12 short-wave infrared 2190 nm", SHORT_WAVE_INFRARED_2, 519.90397929),
        _of_landslide4sense("slope", SLOPE, 20.29228266, Unit.DEGREES),
        _of_landslide4sense("elevation", ELEVATION, 772.83144788, Unit.METRES),
    ),
    pixel_metres=10.0,
)
"""Sentinel-2's bands at level 1C, and slope and elevation of ALOS PALSAR.

The constants were read off real patches, where the product misses an integer by less than 5e-13.
"""

RGB = Sensor(
    "RGB",
    tuple(Band(name, name, typical=128.0, valid=(0.0, 255.0)) for name in (RED, GREEN, BLUE)),
)
"""Colour pictures of 8 bits."""
