"""Test-time augmentation: what a model says of a patch in all its orientations, averaged."""

import numpy as np

from lsml.predict.patches import Predict


def over_symmetries(predict: Predict) -> Predict:
    """A predictor that gives the mean probability over the eight symmetries of the square (the group D4).

    Each patch is mirrored or not and turned by 0, 90, 180 and 270 degrees, and what `predict` says of it is turned
    and mirrored back. The mean no longer depends on orientation: of a turned patch it is the turned mean. It costs
    eight predictions. A patch that is not square is turned into one of `(W, H)`, which `predict` has to take.
    """

    def mean(images: np.ndarray) -> np.ndarray:
        total = np.zeros((*images.shape[:3], 1))
        for mirrored in (False, True):
            for quarters in range(4):
                said = predict(np.ascontiguousarray(_turned(images, mirrored, quarters)))
                total += _turned_back(np.asarray(said), mirrored, quarters)
        return (total / 8).astype(np.float32)

    return mean


def _turned(images: np.ndarray, mirrored: bool, quarters: int) -> np.ndarray:
    return np.rot90(images[:, :, ::-1] if mirrored else images, quarters, axes=(1, 2))


def _turned_back(images: np.ndarray, mirrored: bool, quarters: int) -> np.ndarray:
    upright = np.rot90(images, -quarters, axes=(1, 2))
    return upright[:, :, ::-1] if mirrored else upright
