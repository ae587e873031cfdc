"""The sealed test split: the only way to its patches, for `evaluate` alone."""

from pathlib import Path

from lsml.data.layout import PatchFiles
from lsml.data.scan import Scan, layout_of
from lsml.data.splits import BLOCK, own_split


def split_protocol(root: Path) -> str:
    """The split protocol of the test patches below `root`, a constant of `lsml.data.splits`.

    Raises:
        DataError: no such folder, or no known layout.
    """
    layout = layout_of(root)
    return BLOCK if layout.name == "bare" else own_split(layout.base)


def test_split(root: Path) -> tuple[PatchFiles, ...]:
    """The test patches below `root` in numeric order, found by names alone.

    Raises:
        DataError: no such folder, no known layout, no test split or none with masks, an image or mask without
            partner, a link.
    """
    return Scan.of(root, ("test",)).require("test")
