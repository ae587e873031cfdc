"""Parts of a trial's panels as small PNGs."""

import io

import numpy as np
from matplotlib.image import imread, imsave

from lsml.figures import panel_parts


def true_colour_png(panel: bytes) -> bytes:
    """The true colour of a panel."""
    return _small(panel_parts(_read(panel)).true_colour)


def outcome_png(panel: bytes) -> bytes:
    """The hits, misses and false alarms of a panel."""
    return _small(panel_parts(_read(panel)).outcome)


def _read(png: bytes) -> np.ndarray:
    return (imread(io.BytesIO(png), format="png")[..., :3] * 255).round().astype(np.uint8)


def _small(picture: np.ndarray) -> bytes:
    """As PNG, one pixel for each two by two: so large a panel draws each pixel of its patch."""
    file = io.BytesIO()
    imsave(file, np.ascontiguousarray(picture[::2, ::2]), format="png")
    return file.getvalue()
