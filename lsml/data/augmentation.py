"""Random changes of training patches, geometric, photometric and between patches, drawn from (seed, epoch, place)."""

import os
from collections.abc import Iterator

import cv2
import numpy as np

from lsml.config.schema import AugmentConfig
from lsml.data.transforms import (
    BAND_GAIN,
    CUTTING,
    ELASTIC,
    FADING,
    GAP,
    ILLUMINATION,
    NOISE,
    Elastic,
    Operation,
    Photometric,
    band_gain,
    cut_mix,
    gaps,
    illumination,
    mix_up,
    noise,
)

# Without this, importing albumentations asks a server for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations

STREAM = 2
"""Keeps these random numbers apart from others that derive from the same seed (weights 0, patch order 1)."""

MAX_ROTATION = 45.0
MAX_ZOOM = 0.25
MAX_STRETCH = 0.2
SMALLEST_CROP = 0.5


def operations(
    config: AugmentConfig, size: tuple[int, int]
) -> Iterator[tuple[int, albumentations.DualTransform | Operation]]:
    """What a strength s above 0 does to a patch, in the order in which it applies, each with its number.

    | operation | at strength s | chance |
    |---|---|---|
    | flip left-right, flip up-down, transpose | together all eight symmetries of the square | min(.5, s) flips each |
    | rotation and zoom about the centre | within 45 s degrees, zoom 1 -+ .25 s; the border is a mirror | s rotation |
    | crop, resized back | 1 - .5 s to all of the area, sides stretched by up to .2 s | s crop |
    | elastic distortion | displaced by .02 s of the side (standard deviation) | s elastic |
    | light on all optical bands | times 1 -+ .2 s | s light |
    | gain of each optical band | times 1 -+ .05 s, each its own | s gain |
    | noise in each optical value | plus -+ .03 s, each its own | s noise |
    | gaps in all optical bands | 1 to 8 rectangles of up to .25 s of the side, filled with means | s dropout |
    | mix-up, in `Augmentation.mix` | up to .5 s of another patch of the batch over all of it | s mixup |
    | CutMix, in `Augmentation.mix` | a rectangle of up to s of the area from another patch of the batch | s cutmix |

    flips, rotation, ... are the shares of `AugmentConfig`. The geometric operations alter values only by interpolation
    between pixels. The photometric ones come after them, in the order in which light, sensor and noise act: noise
    belongs to the pixels that the network sees, and interpolation would smooth it. Slope and elevation are no light
    and stay out of them.

    An operation's random numbers derive from its number, wherever it stands: a new one takes the next that is free.
    """
    s = config.strength
    symmetry = min(0.5, s) * config.flips
    yield 0, albumentations.HorizontalFlip(p=symmetry)
    yield 1, albumentations.VerticalFlip(p=symmetry)
    yield 2, albumentations.Transpose(p=symmetry)
    yield 3, _rotation(s, chance=s * config.rotation)
    yield 4, _crop(s, size, chance=s * config.crop)
    yield 8, Elastic(ELASTIC * s, p=s * config.elastic)
    yield 5, Photometric(illumination, ILLUMINATION * s, p=s * config.light)
    yield 6, Photometric(band_gain, BAND_GAIN * s, p=s * config.gain)
    yield 7, Photometric(noise, NOISE * s, p=s * config.noise)
    yield 9, Photometric(gaps, GAP * s, p=s * config.dropout)


CUT_MIX, MIX_UP = 10, 11
"""Their numbers."""


def _rotation(strength: float, *, chance: float) -> albumentations.Affine:
    return albumentations.Affine(
        rotate=(-MAX_ROTATION * strength, MAX_ROTATION * strength),
        scale=(1 - MAX_ZOOM * strength, 1 + MAX_ZOOM * strength),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
        p=chance,
    )


def _crop(strength: float, size: tuple[int, int], *, chance: float) -> albumentations.RandomResizedCrop:
    stretch = 1 + MAX_STRETCH * strength
    return albumentations.RandomResizedCrop(
        size,
        scale=(1 - SMALLEST_CROP * strength, 1.0),
        ratio=(1 / stretch, stretch),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        p=chance,
    )


class Augmentation:
    """Augments patches of one size; what comes out depends on (seed, epoch, index) and on nothing drawn before.

    An object holds the operations' state and serves one thread.

    Args:
        config: strength 0 leaves every patch as it is; see `operations`.
        size: height and width of the patches, equal.
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, int]) -> None:
        # A patch is too small to share among cores: OpenCV's threads only take them from the network.
        cv2.setNumThreads(1)
        self._config = config
        found = operations(config, size) if config.strength > 0 else ()
        self._operations = [(number, operation) for number, operation in found if operation.p > 0]

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, *, seed: int, epoch: int, index: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A patch float32 `(H, W, 14)` and its mask uint8 `(H, W)`, moved alike; neither is written to.

        Args:
            seed: of the training run.
            epoch: which epoch, from 1.
            index: the patch's place in the split; where it comes more than once in an epoch, the length of the split
                more for each time before.
        """
        for number, operation in self._operations:
            # One seed for all, as `Compose` gives, would flip both ways together or not at all.
            operation.set_random_seed(int(_sequence(seed, epoch, index, number).generate_state(1)[0]))
            changed = operation(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return image, mask

    def mix(
        self, images: np.ndarray, masks: np.ndarray, *, seed: int, epoch: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A batch of augmented patches float32 `(B, H, W, 14)` and masks `(B, H, W, 1)`, mixed by `transforms`.

        Args:
            seed: of the training run.
            epoch: which epoch, from 1.
            step: the batch's place in the epoch.
        """
        s = self._config.strength
        if chance := s * self._config.mixup:
            random = np.random.default_rng(_sequence(seed, epoch, step, MIX_UP))
            images = mix_up(images, largest=FADING * s, chance=chance, random=random)
        if chance := s * self._config.cutmix:
            random = np.random.default_rng(_sequence(seed, epoch, step, CUT_MIX))
            images, masks = cut_mix(images, masks, largest=CUTTING * s, chance=chance, random=random)
        return images, masks


def _sequence(seed: int, epoch: int, place: int, number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(STREAM, epoch, place, number))
