"""What training asks of a split, whether it is a whole pack or some patches of one."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Split(Protocol):
    """Patches with their masks; `lsml.data.pack.PackedSplit` and `lsml.data.folds.SplitView` are such splits."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change when any patch does."""

    @property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """float32 `(H, W, 14)`: stored values, always finite."""

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`, 0 or 1."""

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, H, W, 14)` and masks float32 `(B, H, W, 1)`."""
