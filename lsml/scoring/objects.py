"""Landslides and false alarms as objects: pixels of one patch that touch, also at a corner, counted as integers."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from lsml.data.sensor import IGNORED

SIZE_LIMITS = (10, 100)
"""Pixels up to which a landslide is small and medium; beyond it is large.

At 10 m a pixel these are 0.1 ha and 1 ha. Up to ten pixels a landslide is about three wide and hardly a pixel of
it is free of its edge, where the mask itself is uncertain; from a hundred on, most of its pixels lie inside.
"""

_TOUCHING = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class ObjectCounts:
    """Objects of any number of patches; those of several are summed with `+`, a sum may start from `ObjectCounts()`.

    Attributes:
        landslides: how many there are, by size: up to each of `SIZE_LIMITS`, and beyond.
        hits: how many of them are hit.
        predicted: objects in the prediction.
        false_alarms: those of them without a landslide pixel.
        empty_false_alarms: those on patches without landslide.
        empty_pixels: of patches without landslide.
    """

    landslides: tuple[int, ...] = (0,) * (len(SIZE_LIMITS) + 1)
    hits: tuple[int, ...] = (0,) * (len(SIZE_LIMITS) + 1)
    predicted: int = 0
    false_alarms: int = 0
    empty_false_alarms: int = 0
    empty_pixels: int = 0

    @classmethod
    def of_patch(cls, truth: np.ndarray, predicted: np.ndarray) -> Self:
        """The objects of one patch; what its border cuts off of one does not count.

        A landslide is hit where at least half of its pixels are predicted. Were any one pixel enough, specks strewn
        over a patch would hit every large landslide; were more than half needed, a small one, nearly all edge, would
        depend on what its mask itself is not sure of.

        Args:
            truth: `(H, W)`, 0, 1 or `IGNORED`; no object is there, and what reaches into it ends at its edge.
            predicted: `(H, W)`, called landslide where above 0.
        """
        # Here, because the command line must not wait for it.
        from scipy.ndimage import label

        true, known = np.asarray(truth) == 1, np.asarray(truth) != IGNORED
        called = (np.asarray(predicted) > 0) & known
        (landslides, n_landslides), (objects, n_objects) = label(true, _TOUCHING), label(called, _TOUCHING)
        pixels = np.bincount(landslides.ravel(), minlength=n_landslides + 1)[1:]
        covered = np.bincount(landslides[called], minlength=n_landslides + 1)[1:]
        touched = np.bincount(objects[true], minlength=n_objects + 1)[1:]
        size = np.searchsorted(SIZE_LIMITS, pixels)
        false_alarms, empty = int((touched == 0).sum()), n_landslides == 0
        return cls(
            landslides=_by_size(size),
            hits=_by_size(size[2 * covered >= pixels]),
            predicted=int(n_objects),
            false_alarms=false_alarms,
            empty_false_alarms=false_alarms if empty else 0,
            empty_pixels=int(known.sum()) if empty else 0,
        )

    def __add__(self, other: "ObjectCounts") -> "ObjectCounts":
        return ObjectCounts(
            landslides=_added(self.landslides, other.landslides),
            hits=_added(self.hits, other.hits),
            predicted=self.predicted + other.predicted,
            false_alarms=self.false_alarms + other.false_alarms,
            empty_false_alarms=self.empty_false_alarms + other.empty_false_alarms,
            empty_pixels=self.empty_pixels + other.empty_pixels,
        )

    def empty_km2(self, pixel_metres: float) -> float:
        """Area of the patches without landslide."""
        return self.empty_pixels * pixel_metres**2 / 1e6

    def scores(self) -> dict[str, float]:
        """Two shares, each 0..1 and 0 where there is nothing to divide by.

        `object_hit_rate` is that of landslides of any size that are hit, `object_precision` that of predicted objects
        with a landslide pixel. Neither says how well outlines fit: one object over all of a patch scores 1 in both.
        """
        return {
            "object_hit_rate": sum(self.hits) / max(sum(self.landslides), 1),
            "object_precision": (self.predicted - self.false_alarms) / max(self.predicted, 1),
        }


def _by_size(sizes: np.ndarray) -> tuple[int, ...]:
    return tuple(np.bincount(sizes, minlength=len(SIZE_LIMITS) + 1).tolist())


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
