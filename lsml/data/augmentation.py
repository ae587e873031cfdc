"""Random changes of a training patch, geometric and photometric, drawn from (seed, epoch, index) alone."""

import os
from collections.abc import Iterator

import cv2
import numpy as np

from lsml.data.photometric import BAND_GAIN, ILLUMINATION, NOISE, Photometric, band_gain, illumination, noise

# Without this, importing albumentations asks a server for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations

STREAM = 2
"""Keeps these random numbers apart from others that derive from the same seed (weights 0, patch order 1)."""

MAX_ROTATION = 45.0
MAX_ZOOM = 0.25
MAX_STRETCH = 0.2
SMALLEST_CROP = 0.5


def transforms(strength: float, size: tuple[int, int]) -> Iterator[albumentations.DualTransform | Photometric]:
    """The transforms of a strength above 0, in the order in which they apply.

    | transform | at strength s | chance |
    |---|---|---|
    | flip left-right, flip up-down, transpose | together all eight symmetries of the square | min(.5, s) each |
    | rotation and zoom about the centre | within 45 s degrees, zoom 1 -+ .25 s; the border is a mirror | s |
    | crop, resized back | 1 - .5 s to all of the area, sides stretched by up to .2 s | s |
    | light on all optical bands | times 1 -+ .2 s | s |
    | gain of each optical band | times 1 -+ .05 s, each its own | s |
    | noise in each optical value | plus -+ .03 s, each its own | s |

    The geometric ones alter values only by interpolation between pixels. The photometric ones come after them, in
    the order in which light, sensor and noise act: noise belongs to the pixels that the network sees, and
    interpolation would smooth it. Slope and elevation are no light and stay out of them.

    The place in this order is a transform's number, from which its random numbers derive: a new one goes to the end.
    """
    yield from _geometric(strength, size)
    yield Photometric(illumination, ILLUMINATION * strength, p=strength)
    yield Photometric(band_gain, BAND_GAIN * strength, p=strength)
    yield Photometric(noise, NOISE * strength, p=strength)


def _geometric(strength: float, size: tuple[int, int]) -> Iterator[albumentations.DualTransform]:
    symmetry = min(0.5, strength)
    yield albumentations.HorizontalFlip(p=symmetry)
    yield albumentations.VerticalFlip(p=symmetry)
    yield albumentations.Transpose(p=symmetry)
    yield albumentations.Affine(
        rotate=(-MAX_ROTATION * strength, MAX_ROTATION * strength),
        scale=(1 - MAX_ZOOM * strength, 1 + MAX_ZOOM * strength),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
        p=strength,
    )
    stretch = 1 + MAX_STRETCH * strength
    yield albumentations.RandomResizedCrop(
        size,
        scale=(1 - SMALLEST_CROP * strength, 1.0),
        ratio=(1 / stretch, stretch),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        p=strength,
    )


class Augmentation:
    """Augments patches of one size; what comes out depends on (seed, epoch, index) and on nothing drawn before.

    An object holds the transforms' state and serves one thread.

    Args:
        strength: 0 (every patch stays as it is) to 1; see `transforms`.
        size: height and width of the patches, equal.
    """

    def __init__(self, strength: float, size: tuple[int, int]) -> None:
        # A patch is too small to share among cores: OpenCV's threads only take them from the network.
        cv2.setNumThreads(1)
        self._transforms = list(transforms(strength, size)) if strength > 0 else []

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, *, seed: int, epoch: int, index: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A patch float32 `(H, W, 14)` and its mask uint8 `(H, W)`, moved alike; neither is written to.

        Args:
            seed: of the training run.
            epoch: which pass over the split.
            index: the patch's place in the split.
        """
        for number, transform in enumerate(self._transforms):
            # One seed for all, as `Compose` gives, would flip both ways together or not at all.
            sequence = np.random.SeedSequence(seed, spawn_key=(STREAM, epoch, index, number))
            transform.set_random_seed(int(sequence.generate_state(1)[0]))
            changed = transform(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return image, mask
