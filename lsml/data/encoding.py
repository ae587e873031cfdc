"""Turns stored band values into the uint16 or float32 numbers of a pack, and back."""

import numpy as np

from lsml.bands import CONSTANTS

_CONSTANTS = np.array(CONSTANTS)
_CONSTANTS.setflags(write=False)

_ABSOLUTE, _RELATIVE = 1e-6, 2.0**-23
"""How far `stored * constant` may be from an integer: below what float32, which the network sees, resolves."""


def as_integers(stored: np.ndarray) -> np.ndarray | None:
    """`stored * constant` as uint16, or None where a value is no integer in 0..65535.

    A product counts as the integer k when it is within 1e-6 + k * 2**-23 of it: published float64 values miss k by
    less than 5e-13, values that went through float32 by half of k * 2**-23.

    Args:
        stored: finite values `(..., 14)`.
    """
    products = stored * _CONSTANTS
    integers = np.rint(products)
    if integers.min() < 0 or integers.max() > 65535:
        return None
    products -= integers
    if (np.abs(products, out=products) > integers * _RELATIVE + _ABSOLUTE).any():
        return None
    return integers.astype(np.uint16)


def as_stored(packed: np.ndarray) -> np.ndarray:
    """Stored band values float32 `(..., 14)`, from uint16 integers or from float32 as they are."""
    if packed.dtype == np.uint16:
        return (packed / _CONSTANTS).astype(np.float32)
    return np.array(packed, np.float32)
