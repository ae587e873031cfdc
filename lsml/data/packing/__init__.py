"""Packs a split into a folder that appears under its name only when it is complete, see `lsml.data.pack`."""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from lsml.data.arrays import file_of
from lsml.data.formats import raster_size, read_image, read_mask
from lsml.data.layout import RASTERS, PatchFiles
from lsml.data.pack import IMAGES, MANIFEST, MASKS, PackedSplit, digest_of
from lsml.data.packing.arrays import write_arrays
from lsml.data.sensor import Sensor
from lsml.data.tiles import corners, cut
from lsml.errors import DataError
from lsml.workspace import Progress, in_turn, make_folder, rename_durably, replace_atomically

_FORMAT, _MANIFEST_FORMAT = 1, 3
"""Raised where the arrays are laid out, or the manifest written, in another way: the pack is made again then."""


def pack_split(
    name: str,
    files: Sequence[PatchFiles],
    directory: Path,
    sensor: Sensor,
    *,
    fill: Sequence[float] | None,
    progress: Progress | None = None,
) -> PackedSplit:
    """Packs `files` below `directory`, or opens the pack that is there from the same, unchanged files.

    The pack appears under its final name by one rename, once it is on disk; processes that want the same pack
    wait for the first and share its work. A pack that is truncated is made again; one that was made before is read
    once, here, and not by each worker, to see that it is what was written.

    Args:
        sensor: what the images' bands are.
        fill: what replaces NaN and inf in each band: the medians of the train split, or None where this split is
            the train split, whose own medians are taken.

    Raises:
        DataError: no files, one that cannot be read, has no mask or another size than the first, files that change
            meanwhile, a full disk, or a pack that differs from its checksums.
    """
    source = _Source(name, tuple(files), sensor, None if fill is None else tuple(map(float, fill)))
    key = source.key()
    target = directory / f"{name}-{key[:20]}"
    pack = _existing(target)
    if pack is not None:
        pack.verify()
        return pack
    try:
        with in_turn(Path(f"{target}.lock")):
            pack = _existing(target)
            if pack is None:
                _build(target, source, progress)
                pack = PackedSplit(target)
    except OSError as error:
        raise source.unwritable(target, error) from None
    if source.key() != key:
        shutil.rmtree(target, ignore_errors=True)
        raise DataError(
            f"split {name}",
            "its files changed while they were packed",
            "run the same command again once they no longer change",
        )
    return pack


def _existing(target: Path) -> PackedSplit | None:
    if not target.exists():
        return None
    try:
        return PackedSplit(target)
    except DataError:
        return None


@dataclass(frozen=True)
class _Source:
    """What a pack is made of, as `pack_split` is given it."""

    name: str
    files: tuple[PatchFiles, ...]
    sensor: Sensor
    fill: tuple[float, ...] | None

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> list[str]:
        """Of each patch: its file's name, and where it is a square of several, its first row and column."""
        often = Counter(file for file, _, _ in self._places)
        return [
            f"{self.files[file].id}_{row}_{column}" if often[file] > 1 else self.files[file].id
            for file, row, column in self._places
        ]

    @property
    def regions(self) -> list[str]:
        """Of each patch; none where they are not known."""
        known = any(patch.region for patch in self.files)
        return [self.files[file].region for file, _, _ in self._places] if known else []

    @cached_property
    def _places(self) -> list[tuple[int, int, int]]:
        """Of each patch, which file it is of, its first row and column."""
        tile = self.sensor.tile
        if tile is None:
            return [(file, 0, 0) for file in range(len(self.files))]
        return [(file, *corner) for file, size in enumerate(self._sizes) for corner in corners(*size, tile)]

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Height and width of each file's mask, where images are cut into squares."""
        return [_size_of(_mask_of(patch), self.sensor) for patch in self.files]

    def key(self) -> str:
        """Changes when any file does: by name below the common folder, size and times.

        All images of a dataset may have one size, and unpacked archives may carry one date: the time at which the file
        system last changed each file tells such datasets apart.

        Raises:
            DataError: no files, a file that is missing, or a patch without a mask.
        """
        if not self.files:
            raise DataError(f"split {self.name}", "no patches", "give a dataset with patches")
        paths = [path for patch in self.files for path in (patch.image, _mask_of(patch))]
        common = os.path.commonpath([path.parent for path in paths])
        entries = []
        for path in paths:
            try:
                status = file_of(path).stat()
            except OSError as error:
                raise DataError(f"file {path}", f"cannot be read: {error.strerror}", "check the dataset") from None
            entries.append([os.path.relpath(path, common), status.st_size, status.st_mtime_ns, status.st_ctime_ns])
        content = [_FORMAT, _MANIFEST_FORMAT, self.name, self.sensor.identity, self.fill, entries]
        regions = [patch.region for patch in self.files]
        return digest_of([*content, *([regions] if any(regions) else []), *self.sensor.arrays])

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width that all patches have: of the first file where they are not squares of it."""
        if self.sensor.tile is not None:
            return self.sensor.tile, self.sensor.tile
        return _size_of(_mask_of(self.files[0]), self.sensor)

    def image(self, index: int) -> np.ndarray:
        """Stored values float64 `(H, W, C)`, finite or not."""
        file, row, column = self._places[index]
        patch = self.files[file]
        image = _read_once(read_image, patch.image, self.sensor)
        if self.sensor.tile is None:
            return self._of_size(patch.image, image, self.size, f"the mask of {self.files[0].id}")
        whole = self._of_size(patch.image, image, self._sizes[file], "its mask")
        return cut(whole, row, column, self.sensor.tile)

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`."""
        file, row, column = self._places[index]
        path = _mask_of(self.files[file])
        mask = _read_once(read_mask, path, self.sensor)
        if self.sensor.tile is None:
            return self._of_size(path, mask, self.size, f"the mask of {self.files[0].id}")
        return np.ascontiguousarray(cut(mask, row, column, self.sensor.tile))

    @staticmethod
    def _of_size(path: Path, array: np.ndarray, size: tuple[int, int], whose: str) -> np.ndarray:
        if array.shape[:2] == size:
            return array
        found, wanted = (" x ".join(map(str, lengths)) for lengths in (array.shape[:2], size))
        fix = "cut all patches to one size, or set tile in dataset.yaml"
        raise DataError(f"file {path}", f"{found} pixels, where {whose} has {wanted}", fix)

    def unwritable(self, target: Path, error: OSError) -> DataError:
        """Why the pack cannot be written."""
        size = len(self) * math.prod(self.size) * (2 * len(self.sensor) + 1)
        return DataError(
            f"pack {target}",
            f"{error.strerror or error} (a pack of {len(self)} patches takes {size:,} bytes or more)",
            "free space there, or choose another folder that can be written to",
        )


@lru_cache(maxsize=2)
def _read_once(read: Callable[[Path, Sensor], np.ndarray], path: Path, sensor: Sensor) -> np.ndarray:
    """The squares of an image come one after the other: it is read for the first of them."""
    return read(path, sensor)


def _size_of(mask: Path, sensor: Sensor) -> tuple[int, int]:
    """Height and width of a mask."""
    if mask.suffix.lower() in RASTERS:
        return raster_size(mask)
    height, width = _read_once(read_mask, mask, sensor).shape
    return height, width


def _mask_of(patch: PatchFiles) -> Path:
    if patch.mask is None:
        raise DataError(f"patch {patch.id}", "no mask", "a pack needs one for every image")
    return patch.mask


def _build(target: Path, source: _Source, progress: Progress | None) -> None:
    """Writes the pack beside `target` and renames it; what a killed process left there is removed first."""
    unfinished = target.with_name(target.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(unfinished)
    try:
        content = write_arrays(unfinished / IMAGES, unfinished / MASKS, source, progress)
        ids, digests = source.ids, content.digests
        sizes = {file: (unfinished / file).stat().st_size for file in digests}
        counts = content.nonfinite.sum(axis=0)
        _write_manifest(
            unfinished,
            {
                "format": _FORMAT,
                "name": source.name,
                "ids": ids,
                **({"regions": regions} if (regions := source.regions) else {}),
                "size": source.size,
                "sensor": source.sensor.to_dict(),
                "fingerprint": digest_of([_FORMAT, source.sensor.identity, ids, digests]),
                "files": {file: {"bytes": sizes[file], "sha256": digests[file]} for file in digests},
                "dtype": str(content.dtype),
                "nonfinite": {band.name: int(n) for band, n in zip(source.sensor.bands, counts, strict=True)},
                "statistics": content.statistics.to_dict(),
            },
        )
        shutil.rmtree(target, ignore_errors=True)
        rename_durably(unfinished, target)
    finally:
        _read_once.cache_clear()
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_manifest(folder: Path, content: dict[str, object]) -> None:
    tree = {"sha256": digest_of(content), "pack": content}
    replace_atomically(folder / MANIFEST, json.dumps(tree, indent=1, allow_nan=False).encode())


def describe_content(files: Sequence[Sequence[PatchFiles]], packs: Sequence[PackedSplit]) -> str:
    """In which form each split's first image and first mask with landslide are; how many values were not finite."""
    notes: set[str] = set()
    for patches in files:
        read_image(patches[0].image, packs[0].sensor, notes)
        any(patch.mask and 1 in read_mask(patch.mask, packs[0].sensor, notes) for patch in patches)
    counts = {band: sum(pack.nonfinite[band] for pack in packs) for band in packs[0].nonfinite}
    named = ", ".join(f"{count} in {band}" for band, count in counts.items() if count)
    replaced = [f"NaN or infinite values replaced by train medians: {named}"] if named else []
    return packs[0].sensor.remarks + "".join(f"; {text}" for text in [*sorted(notes), *replaced])
