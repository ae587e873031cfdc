"""Packs a split into a folder that appears under its name only when it is complete, see `lsml.data.pack`."""

import io
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsml.data.formats import raster_size, read_image, read_mask
from lsml.data.layout import RASTERS, PatchFiles
from lsml.data.pack import IMAGES, MANIFEST, MASKS, PackedSplit, digest_of, sha256_of
from lsml.data.sensor import Sensor
from lsml.data.statistics import BandStatistics, IntegerCounts
from lsml.data.tiles import corners, cut
from lsml.errors import DataError
from lsml.workspace import DurableFile, Progress, in_turn, rename_durably, replace_atomically, sync_file

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
    wait for the first and share its work. A pack that is truncated is made again.

    Args:
        sensor: what the images' bands are.
        fill: what replaces NaN and inf in each band: the medians of the train split, or None where this split is
            the train split, whose own medians are taken.

    Raises:
        DataError: no files, one that cannot be read, has no mask or another size than the first, files that change
            meanwhile, a full disk.
    """
    source = _Source(name, tuple(files), sensor, None if fill is None else tuple(map(float, fill)))
    key = source.key()
    target = directory / f"{name}-{key[:20]}"
    pack = _existing(target)
    if pack is not None:
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
                status = path.stat()
            except OSError as error:
                raise DataError(f"file {path}", f"cannot be read: {error.strerror}", "check the dataset") from None
            entries.append([os.path.relpath(path, common), status.st_size, status.st_mtime_ns, status.st_ctime_ns])
        return digest_of([_FORMAT, _MANIFEST_FORMAT, self.name, self.sensor.identity, self.fill, entries])

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
            "free space there, or choose another folder",
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
    unfinished.mkdir()
    try:
        content = _write_arrays(unfinished, source, progress)
        ids, digests = source.ids, content.digests
        sizes = {file: (unfinished / file).stat().st_size for file in digests}
        counts = content.nonfinite.sum(axis=0)
        _write_manifest(
            unfinished,
            {
                "format": _FORMAT,
                "name": source.name,
                "ids": ids,
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


class _Content(NamedTuple):
    """What was found while the arrays were written.

    Attributes:
        nonfinite: int64 `(N, C)`, the non-finite values of each patch and band.
        digests: of each file, SHA-256 in hex.
    """

    dtype: np.dtype
    nonfinite: np.ndarray
    statistics: BandStatistics
    digests: dict[str, str]


def _write_arrays(folder: Path, source: _Source, progress: Progress | None) -> _Content:
    """Tries integers first; the first value that is none makes it start again with float32."""
    for dtype in (np.dtype(np.uint16), np.dtype(np.float32)):
        written = _write_finite(folder, source, dtype, progress)
        if written is None:
            continue
        nonfinite, counts, digests = written
        if counts is None:
            statistics = BandStatistics.of(partial(_finite_patches, folder, source, nonfinite), source.sensor)
        else:
            # Zeros stand where values were not finite.
            statistics = BandStatistics.of_integers(counts.less_zeros(nonfinite.sum(axis=0)), source.sensor)
        if not nonfinite.any():
            return _Content(dtype, nonfinite, statistics, digests)
        if _fill(folder, source, nonfinite, statistics.median if source.fill is None else source.fill):
            return _Content(dtype, nonfinite, statistics, digests | {IMAGES: sha256_of(folder / IMAGES)})
    raise AssertionError("float32 holds every finite value")


class _Written(NamedTuple):
    """`_Content` before anything is known of the values as a whole; `counts` of the integers, None of float32."""

    nonfinite: np.ndarray
    counts: IntegerCounts | None
    digests: dict[str, str]


def _write_finite(folder: Path, source: _Source, dtype: np.dtype, progress: Progress | None) -> _Written | None:
    """Writes both arrays with 0 where a value is not finite, as the median is not known yet.

    Plain writes rather than a writable memory map: on a full disk a map kills the process where a write says so.

    Returns:
        None where `dtype` cannot hold a value.
    """
    bands, integers = len(source.sensor), dtype == np.uint16
    nonfinite = np.zeros((len(source), bands), np.int64)
    counts = IntegerCounts(bands) if integers else None
    with (
        _start(folder / IMAGES, dtype, (len(source), *source.size, bands)) as images,
        _start(folder / MASKS, np.dtype(np.uint8), (len(source), *source.size)) as masks,
    ):
        for index in range(len(source)):
            stored = source.image(index)
            packed = source.sensor.as_integers(stored) if integers else None
            if packed is None:
                finite = _finite(stored)
                nonfinite[index] = (~finite).sum(axis=(0, 1))
                packed = _encode(np.where(finite, stored, 0.0), dtype, source.sensor)
            if packed is None:
                return None
            images.write(np.ascontiguousarray(packed).data)
            masks.write(source.mask(index).data)
            if counts is not None:
                counts.add(packed)
            if progress is not None:
                progress(source.name, index + 1, len(source))
    return _Written(nonfinite, counts, {IMAGES: images.digest.hexdigest(), MASKS: masks.digest.hexdigest()})


def _start(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> DurableFile:
    """A `.npy` file of that type and shape, up to where its values begin."""
    header = io.BytesIO()
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(header, {"descr": description, "fortran_order": False, "shape": shape})
    file = DurableFile(path)
    file.write(header.getbuffer())
    return file


def _finite(stored: np.ndarray) -> np.ndarray:
    """Where float64 values are finite as float32 too."""
    with np.errstate(over="ignore"):
        return np.isfinite(stored.astype(np.float32))


def _encode(stored: np.ndarray, dtype: np.dtype, sensor: Sensor) -> np.ndarray | None:
    return sensor.as_integers(stored) if dtype == np.uint16 else stored.astype(np.float32)


def _finite_patches(folder: Path, source: _Source, nonfinite: np.ndarray) -> Iterator[np.ndarray]:
    """Stored values float32 as packed, with NaN where 0 stands for a value that was not finite."""
    images = np.load(folder / IMAGES, mmap_mode="r")
    with (folder / IMAGES).open("rb") as file:
        file.seek(images.offset)
        for index in range(len(source)):
            packed = np.fromfile(file, images.dtype, math.prod(images.shape[1:])).reshape(images.shape[1:])
            values = source.sensor.as_stored(packed)
            if nonfinite[index].any():
                values[~_finite(source.image(index))] = np.nan
            yield values


def _fill(folder: Path, source: _Source, nonfinite: np.ndarray, fill: Sequence[float]) -> bool:
    """Puts `fill` where values were not finite; False where the array's dtype cannot hold a value of `fill`."""
    values = np.asarray(fill, np.float64)
    images = np.load(folder / IMAGES, mmap_mode="r")
    with (folder / IMAGES).open("r+b") as file:
        for index in np.flatnonzero(nonfinite.any(axis=1)).tolist():
            stored = source.image(index)
            packed = _encode(np.where(_finite(stored), stored, values), images.dtype, source.sensor)
            if packed is None:
                return False
            file.seek(images.offset + index * packed.nbytes)
            file.write(packed.tobytes())
        sync_file(file)
    return True


def _write_manifest(folder: Path, content: dict[str, object]) -> None:
    tree = {"sha256": digest_of(content), "pack": content}
    replace_atomically(folder / MANIFEST, json.dumps(tree, indent=1, allow_nan=False).encode())


def describe_content(files: Sequence[Sequence[PatchFiles]], packs: Sequence[PackedSplit]) -> str:
    """In which form each split's first image and first mask with landslide are; how many values were not finite."""
    notes: set[str] = set()
    for patches in files:
        read_image(patches[0].image, packs[0].sensor, notes)
        any(patch.mask and read_mask(patch.mask, packs[0].sensor, notes).any() for patch in patches)
    counts = {band: sum(pack.nonfinite[band] for pack in packs) for band in packs[0].nonfinite}
    named = ", ".join(f"{count} in {band}" for band, count in counts.items() if count)
    replaced = [f"NaN or infinite values replaced by train medians: {named}"] if named else []
    return packs[0].sensor.remarks + "".join(f"; {text}" for text in [*sorted(notes), *replaced])
