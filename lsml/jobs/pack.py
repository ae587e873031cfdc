"""Packing what training may see of a dataset, and checking the packs."""

from pathlib import Path

from lsml.data.pack import PackedSplit, verify
from lsml.data.training import prepare
from lsml.jobs.sources import Progress, pack_cache


def pack(root: Path, *, out: Path | None, progress: Progress) -> tuple[PackedSplit, ...]:
    """Packs train and validation below `out`, or where studies look for packs; opens those that are there already.

    Every byte is compared with the manifest's checksums, also of packs made before. Nothing is removed.

    Raises:
        DataError: the folder or its files cannot be used, or a pack differs from what was written.
    """
    data = prepare(root, out or pack_cache(), progress)
    packs = (data.train, data.validation)
    for done, split in enumerate(packs, 1):
        verify(split)
        progress("verified packs", done, len(packs))
    return packs
