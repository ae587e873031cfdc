"""Drawing some patches of a dataset."""

from pathlib import Path
from typing import Literal

import numpy as np

from lsml.data.hdf5 import read_image, read_mask
from lsml.data.layout import training_splits
from lsml.errors import DataError
from lsml.figures import draw_patches


def show(root: Path, *, out: Path, patches: int, split: Literal["train", "validation"]) -> list[str]:
    """Draws `patches` of the split, evenly over it, into the PNG `out`; gives their ids.

    Raises:
        DataError: the folder or its files cannot be used, or `out` cannot be written.
    """
    splits = training_splits(root)
    files = splits.train if split == "train" else splits.validation
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(patches, len(files))).astype(int))]
    images = np.stack([read_image(patch.image) for patch in chosen])
    masks = np.stack([read_mask(patch.mask) for patch in chosen if patch.mask])
    ids = [patch.id for patch in chosen]
    picture = draw_patches(images, masks, ids)
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise DataError(f"picture {out}", str(error.strerror), "give another file with --out") from None
    return ids
