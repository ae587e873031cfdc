"""Drawing some patches of a dataset, as they are and as training sees them."""

from pathlib import Path
from typing import Literal

import numpy as np

from lsml.config import TrainConfig
from lsml.data.augmentation import Augmentation
from lsml.data.folders import PatchFiles
from lsml.data.hdf5 import read_image, read_mask
from lsml.data.layout import training_splits
from lsml.errors import DataError
from lsml.figures import draw_augmented, draw_patches

EPOCHS = 5
"""How many augmented versions of each patch are drawn."""

SplitName = Literal["train", "validation"]


def show(root: Path, *, out: Path, patches: int, split: SplitName) -> list[str]:
    """Draws `patches` of the split, evenly over it, into the PNG `out`; gives their ids.

    Raises:
        DataError: the folder or its files cannot be used, or `out` cannot be written.
    """
    chosen = list(_choose(root, patches, split).values())
    ids = [patch.id for patch in chosen]
    _write(out, draw_patches(*_read(chosen), ids))
    return ids


def show_augmented(root: Path, *, out: Path, patches: int, split: SplitName, config: TrainConfig) -> list[str]:
    """Draws patches as `show` chooses them, each with its versions of the first epochs; gives their ids.

    The versions are those that a training on all patches of the split sees with the seed and the augmentation of
    `config`, but for mix-up and CutMix: these are between the patches of a batch, for which those that are drawn stand
    here.

    Raises:
        DataError: as of `show`.
    """
    chosen = _choose(root, patches, split)
    ids = [patch.id for patch in chosen.values()]
    images, masks = _read(list(chosen.values()))
    # Zero is drawn black, as missing values are; interpolation would spread those.
    images = np.nan_to_num(images.astype(np.float32), posinf=0, neginf=0)
    augment = Augmentation(config.augment, masks.shape[1:])
    versions = [(images, masks)]
    for epoch in range(1, EPOCHS + 1):
        pairs = [
            augment(image, mask, seed=config.seed, epoch=epoch, index=index)
            for index, image, mask in zip(chosen, images, masks, strict=True)
        ]
        changed, moved = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        changed, truth = augment.mix(changed, moved[..., None], seed=config.seed, epoch=epoch, step=0)
        versions.append((changed, truth[..., 0]))
    titles = ["as it is", *(f"epoch {epoch}" for epoch in range(1, EPOCHS + 1))]
    _write(out, draw_augmented(versions, ids, titles))
    return ids


def _choose(root: Path, patches: int, split: SplitName) -> dict[int, PatchFiles]:
    """Files by their place in the split."""
    splits = training_splits(root)
    files = splits.train if split == "train" else splits.validation
    places = np.unique(np.linspace(0, len(files) - 1, min(patches, len(files))).astype(int))
    return {place: files[place] for place in places.tolist()}


def _read(chosen: list[PatchFiles]) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([read_image(patch.image) for patch in chosen])
    return images, np.stack([read_mask(patch.mask) for patch in chosen if patch.mask])


def _write(out: Path, picture: bytes) -> None:
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise DataError(f"picture {out}", str(error.strerror), "give another file with --out") from None
