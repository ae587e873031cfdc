"""What operations of our own on a patch share: a chance, a seed, and being called as albumentations' transforms are."""

from abc import ABC, abstractmethod

import numpy as np


class Operation(ABC):
    """A change of a patch that happens by chance.

    Args:
        p: its chance, 0..1.
    """

    def __init__(self, *, p: float) -> None:
        self.p = p
        self._random = np.random.default_rng()

    def set_random_seed(self, seed: int) -> None:
        """Everything drawn from here on follows from `seed`."""
        self._random = np.random.default_rng(seed)

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """`image` float32 `(H, W, 14)` and `mask` uint8 `(H, W)` as they are or changed; neither is written to."""
        if self._random.random() < self.p:
            image, mask = self._change(image, mask)
        return {"image": image, "mask": mask}

    @abstractmethod
    def _change(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, changed by what `self._random` draws."""
