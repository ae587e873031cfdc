"""Small datasets of synthetic patches for tests, of the sensor that `LSML_TEST_SENSOR` names."""

import shutil
from pathlib import Path

import numpy as np

from lsml.data.formats import read_image, read_mask
from lsml.data.formats.hdf5 import encode
from lsml.data.sensor import ELEVATION, LANDSLIDE4SENSE, NEAR_INFRARED, RED, SHORT_WAVE_INFRARED_1, SLOPE
from lsml.data.synthetic import synthesize
from tests.bands import DESCRIPTION, FIVE, SENSOR_NAME

SUFFIX = ".npy" if SENSOR_NAME == FIVE else ".h5"
"""Of the files of images and masks."""

_MIDDLE = slice(16, 112)
_ROLES = (RED, NEAR_INFRARED, SHORT_WAVE_INFRARED_1, SLOPE, ELEVATION)
_UNITS = np.array([1e-4, 1e-4, 1e-4, 1.0, 1e-3])
"""Reflectances of 0..1, degrees, and kilometres in a band of which nothing is said."""


def make_patches(root: Path, *, train: int, validation: int, test: int, seed: int) -> None:
    """A dataset of the sensor, as `synthesize` makes one."""
    make = make_five_bands if SENSOR_NAME == FIVE else synthesize
    make(root, train=train, validation=validation, test=test, seed=seed)


def make_five_bands(root: Path, *, train: int, validation: int, test: int, seed: int) -> None:
    """Picked from the bands that `synthesize` makes, in float32, and of each patch the middle of 96 x 96 pixels."""
    synthesize(root, train=train, validation=validation, test=test, seed=seed)
    for image, mask in zip(*(sorted(root.glob(f"*/{kind}/*.h5")) for kind in ("img", "mask")), strict=True):
        physical = LANDSLIDE4SENSE.physical(read_image(image, LANDSLIDE4SENSE), *_ROLES) * _UNITS
        for path, array in ((image, physical.astype(np.float32)), (mask, read_mask(mask, LANDSLIDE4SENSE))):
            np.save(path.with_suffix(".npy"), array[_MIDDLE, _MIDDLE])
            path.unlink()
    shutil.copy(DESCRIPTION, root)


def describe_patches(root: Path) -> None:
    """Puts beside patches what a test has copied without: the description, where the sensor needs one."""
    if SENSOR_NAME == FIVE:
        shutil.copy(DESCRIPTION, root)


def write_array(path: Path, array: np.ndarray) -> None:
    """An image or a mask in the place of the file of its kind that is there, as `SUFFIX` says."""
    if SUFFIX == ".npy":
        np.save(path, array)
    else:
        path.write_bytes(encode("mask" if path.name.startswith("mask") else "img", array))
