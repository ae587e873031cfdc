"""What synthetic patches of one split or region share: the middle of the distributions that they are drawn from.

Splits differ a little, as places of one continent do. Regions differ more: in the sensor's gain on each band, in what
grows there and in how large landslides are, so that a network that knows some has something to lose on another.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.errors import ConfigError

_FOLDERS = {"train": "TrainData", "validation": "ValidData", "test": "TestData"}
_STREAM = 7
"""Keeps the regions' draws apart from those of patches of the same seed, whose second number is that of a split."""


class Domain(NamedTuple):
    """Of a split or a region.

    Attributes:
        folder: of the split.
        haze: air in front of the ground, relative to the train split.
        dryness: share of the forest that turned to grass colours.
        dark_soil: share of the darker, redder soil in bare ground.
        steepness: mean slope in degrees.
        slide_size: length and width of landslides, relative to the train split.
        gain: of the sensor on each band of light, float32 `(12,)`.
        region: its name; empty of a split.
    """

    folder: str
    haze: float
    dryness: float
    dark_soil: float
    steepness: float
    slide_size: float = 1.0
    gain: np.ndarray = np.ones(int(LANDSLIDE4SENSE.optical.sum()), np.float32)
    region: str = ""


_SPLITS = {
    "train": Domain(_FOLDERS["train"], haze=1.0, dryness=0.20, dark_soil=0.40, steepness=28.0),
    "validation": Domain(_FOLDERS["validation"], haze=1.05, dryness=0.25, dark_soil=0.45, steepness=27.5),
    "test": Domain(_FOLDERS["test"], haze=1.1, dryness=0.30, dark_soil=0.50, steepness=27.0),
}


def domains(counts: Mapping[str, int], *, regions: int = 0, seed: int = 0) -> dict[str, list[Domain]]:
    """The domain of each patch of each split, by its place.

    Args:
        counts: patches of each split.
        regions: how many, of which validation and test have one each, and train the others, one after the other; 0:
            a split is one domain.
        seed: a region is a function of it and of its own number alone.

    Raises:
        ConfigError: fewer regions than splits, or more than there are train patches for.
    """
    if not regions:
        return {split: [_SPLITS[split]] * count for split, count in counts.items()}
    in_train = regions - len(counts) + 1
    if not 1 <= in_train <= counts["train"]:
        why = f"{regions} asked for: validation and test have one each, and {counts['train']} train patches the others"
        raise ConfigError("regions", why, f"give {len(counts)} to {counts['train'] + len(counts) - 1}")
    starts = {"train": 0, "validation": in_train, "test": in_train + 1}
    return {
        split: [
            _region(split, starts[split] + place * (in_train if split == "train" else 1) // count, seed)
            for place in range(count)
        ]
        for split, count in counts.items()
    }


def region_table(of_patches: Mapping[str, Sequence[Domain]]) -> str:
    """A table of patches that `dataset.yaml` can name, with the region of each."""
    rows = [
        f"{domain.folder}/img/image_{number}.h5,{domain.region}\n"
        for each in of_patches.values()
        for number, domain in enumerate(each, 1)
    ]
    return "".join(["patch,region\n", *rows])


def _region(split: str, number: int, seed: int) -> Domain:
    rng = np.random.default_rng([seed, _STREAM, number])
    return Domain(
        _FOLDERS[split],
        haze=rng.uniform(0.85, 1.3),
        dryness=rng.uniform(0.1, 0.6),
        dark_soil=rng.uniform(0.2, 0.8),
        steepness=rng.uniform(25, 32),
        slide_size=float(np.exp(rng.uniform(-0.4, 0.4))),
        gain=np.exp(rng.normal(0, 0.1, len(_SPLITS["train"].gain))).astype(np.float32),
        region=f"region {number + 1}",
    )
