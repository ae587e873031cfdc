"""The sealed test split: the only way to its patches, for `evaluate` alone."""

from pathlib import Path

from lsml.data.holdout import protocol_of
from lsml.data.layout import PatchFiles
from lsml.data.scan import Scan


def split_protocol(root: Path) -> str:
    """The split protocol of the test patches below `root`, a constant of `lsml.data.holdout`.

    Raises:
        DataError: no such folder, or no known layout.
    """
    return protocol_of(Scan.of(root, ("test",)))


def test_split(root: Path) -> tuple[PatchFiles, ...]:
    """The test patches below `root` in numeric order, found by names alone.

    Raises:
        DataError: no such folder, no known layout, no test split or none with masks, an image or mask without
            partner, a link.
    """
    return Scan.of(root, ("test",)).require("test")
