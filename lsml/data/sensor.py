"""The 14 bands of a Landslide4Sense patch: names, order, the constants that give back physical values, and the uint16
or float32 numbers that a pack stores.

A stored value is an integer divided by its band's constant, so `stored * constant` is an exact integer:
reflectance x 10,000 for the twelve Sentinel-2 bands, degrees for slope, metres for elevation (ALOS PALSAR).
The constants were read off real patches, where the product misses an integer by less than 5e-13.
"""

from typing import NamedTuple

import numpy as np


class _Band(NamedTuple):
    """One band of a patch; its index is its place in `BANDS`."""

    name: str
    constant: float
    unit: str


_REFLECTANCE = "reflectance x 10,000"

BANDS = (
    _Band("B1 coastal 443 nm", 1111.81236406, _REFLECTANCE),
    _Band("B2 blue 490 nm", 824.63171476, _REFLECTANCE),
    _Band("B3 green 560 nm", 663.41636217, _REFLECTANCE),
    _Band("B4 red 665 nm", 445.17289745, _REFLECTANCE),
    _Band("B5 red edge 705 nm", 645.8582926, _REFLECTANCE),
    _Band("B6 red edge 740 nm", 1547.73508126, _REFLECTANCE),
    _Band("B7 red edge 783 nm", 1960.44401001, _REFLECTANCE),
    _Band("B8 near infrared 842 nm", 1941.32229668, _REFLECTANCE),
    _Band("B9 water vapour 945 nm", 674.07572865, _REFLECTANCE),
    _Band("B10 cirrus 1375 nm", 9.04787384, _REFLECTANCE),
    _Band("B11 short-wave infrared 1610 nm", 1113.98338755, _REFLECTANCE),
    _Band("B12 short-wave infrared 2190 nm", 519.90397929, _REFLECTANCE),
    _Band("slope", 20.29228266, "degrees"),
    _Band("elevation", 772.83144788, "metres"),
)

N_BANDS = len(BANDS)
PATCH_SIZE = 128
PATCH_SHAPE = (PATCH_SIZE, PATCH_SIZE, N_BANDS)
PIXEL_METRES = 10.0

BLUE, GREEN, RED, NEAR_INFRARED, SHORT_WAVE_INFRARED_2 = 1, 2, 3, 7, 11
SLOPE, ELEVATION = 12, 13

CONSTANTS = tuple(band.constant for band in BANDS)

_CONSTANTS = np.array(CONSTANTS)
_CONSTANTS.setflags(write=False)

_ABSOLUTE, _RELATIVE = 1e-6, 2.0**-23
"""How far `stored * constant` may be from an integer: below what float32, which the network sees, resolves."""


def as_integers(stored: np.ndarray) -> np.ndarray | None:
    """`stored * constant` as uint16, or None where a value is no integer in 0..65535, or not finite.

    A product counts as the integer k when it is within 1e-6 + k * 2**-23 of it: published float64 values miss k by
    less than 5e-13, values that went through float32 by half of k * 2**-23.

    Args:
        stored: `(..., W, 14)`.
    """
    # NumPy is fast along rows, not along fourteen bands.
    products = stored.reshape(-1, stored.shape[-2] * N_BANDS) * np.tile(_CONSTANTS, stored.shape[-2])
    integers = np.rint(products)
    # Of NaN no comparison holds.
    if not (integers.min() >= 0 and integers.max() <= 65535):
        return None
    products -= integers
    np.abs(products, out=products)
    if not (products.max() <= _ABSOLUTE or (products <= integers * _RELATIVE + _ABSOLUTE).all()):
        return None
    return integers.astype(np.uint16).reshape(stored.shape)


def as_stored(packed: np.ndarray) -> np.ndarray:
    """Stored band values float32 `(..., W, 14)`, from uint16 integers or from float32 as they are."""
    if packed.dtype != np.uint16:
        return np.array(packed, np.float32)
    # NumPy is fast along rows, not along fourteen bands.
    rows = packed.reshape(*packed.shape[:-2], -1)
    stored = np.empty(rows.shape, np.float32)
    # For every integer and constant, the product with the inverse rounds to the float32 that the quotient does.
    np.multiply(rows, np.tile(1 / _CONSTANTS, packed.shape[-2]), out=stored, casting="unsafe")
    return stored.reshape(packed.shape)
