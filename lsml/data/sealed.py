"""The sealed test split: the only way to its patches, for `evaluate` alone."""

from pathlib import Path

from lsml.data.scan import PatchFiles, block_sizes, dataset_root, layout_of, patches_in, without_links
from lsml.data.splits import BLOCK, own_split
from lsml.errors import DataError

_FOLDERS = {
    "official": ("TestData/img", "TestData/mask"),
    "hugging-face": ("images/test", "annotations/test"),
    "bare": ("img", "mask"),
}


def set_apart(root: Path) -> str:
    """How the test patches below `root` were set apart, in words of `lsml.data.splits`.

    Raises:
        DataError: no such folder, or no known layout.
    """
    root = dataset_root(root)
    return BLOCK if layout_of(root) == "bare" else own_split(root)


def test_split(root: Path) -> tuple[PatchFiles, ...]:
    """The test patches below `root` in numeric order, found by names alone.

    Raises:
        DataError: no such folder, no known layout, no test split or none with masks, an image or mask without
            partner, a link.
    """
    root = dataset_root(root)
    layout = layout_of(root)
    images, masks = _FOLDERS[layout]
    patches = patches_in(root, images, masks)
    if not patches:
        raise DataError(f"dataset {root}", f"no test split: {images} has no image_<number>.h5", "add it to evaluate")
    if patches[0].mask is None:
        raise DataError(
            f"dataset {root}",
            f"the test split has no masks: {masks} has no mask_<number>.h5",
            "some published copies lack them: take a copy that has them",
        )
    if layout == "bare":
        patches = patches[-block_sizes(len(patches), f"dataset {root}").test :]
    return without_links(root, patches)
