"""Elastic distortion of a patch and its mask: neighbouring pixels move together, distant ones by themselves."""

import cv2
import numpy as np

from lsml.data.operation import Operation

ELASTIC = 0.02
"""Largest standard deviation of the displacement, as a share of the patch's side: Ronneberger et al. 2015 move tiles
of 512 pixels by 10."""

GRID = 3
"""Displacements are drawn on 3 x 3 points and interpolated between them, as there."""


class Elastic(Operation):
    """A distortion that happens by chance.

    Not albumentations' `ElasticTransform`: it smooths noise with its borders repeated, so that corners move by six
    times as much as the centre (measured at sigma 8 on 128 pixels), and takes nine times as long.

    Args:
        deviation: standard deviation of the displacement at the grid's points, as a share of the side.
        p: its chance, 0..1.
    """

    def __init__(self, deviation: float, *, p: float) -> None:
        super().__init__(p=p)
        self._deviation = deviation

    def _change(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves the image with linear interpolation, the mask with the nearest; outside lies the mirror image."""
        height, width = mask.shape
        drawn = self._random.normal(0, self._deviation, (GRID, GRID, 2)) * (width, height)
        moved = cv2.resize(drawn.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        # OpenCV wants its arrays contiguous, which a transposed patch is not.
        places = columns + moved[..., 0], rows + moved[..., 1]
        return (
            _remap(np.ascontiguousarray(image), *places, cv2.INTER_LINEAR),
            _remap(np.ascontiguousarray(mask), *places, cv2.INTER_NEAREST),
        )


def _remap(array: np.ndarray, columns: np.ndarray, rows: np.ndarray, interpolation: int) -> np.ndarray:
    return np.asarray(cv2.remap(array, columns, rows, interpolation, borderMode=cv2.BORDER_REFLECT_101))
