"""The two arrays of a pack, written patch by patch: their type, their checksums and what was found in them."""

import contextlib
import hashlib
import io
import math
import os
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
from joblib import cpu_count

from lsml.data.formats.processes import in_order
from lsml.data.sensor import Sensor
from lsml.data.statistics import BandStatistics, IntegerCounts
from lsml.workspace import Progress, sha256_of, sync_file

_VALUES_A_PROCESS = 100_000_000
"""So many stored values, of 440 patches of Landslide4Sense, are worth the quarter of a second that a process takes to
start."""
_MOST_PROCESSES = 8
"""The checksums, which one process makes, keep up with so many."""
_VALUES_A_BLOCK = 8_000_000
"""What another process is asked for at a time."""
_VALUES_A_TURN = 1 << 15
"""Converted at once: whole patches do not fit in the cache, and would get their memory from the system each time."""
_READ_BYTES, _SYNC_BYTES = 1 << 20, 1 << 26
"""The disk is not left to the end: while the checksums wait for it, the other processes go on."""


class Patches(Protocol):
    """What is packed, patch by patch; can be pickled."""

    @property
    def name(self) -> str:
        """Of the split."""

    @property
    def sensor(self) -> Sensor:
        """What the bands are."""

    @property
    def fill(self) -> Sequence[float] | None:
        """What replaces NaN and inf in each band; None: the medians of these patches."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each patch."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """Stored values float64 `(H, W, C)`, finite or not."""

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`."""


class PackedArrays(NamedTuple):
    """What was found while the arrays were written.

    Attributes:
        dtype: of the images, uint16 or float32.
        nonfinite: int64 `(N, C)`, the non-finite values of each patch and band.
        statistics: of the finite ones.
        digests: of each file, SHA-256 in hex.
    """

    dtype: np.dtype
    nonfinite: np.ndarray
    statistics: BandStatistics
    digests: dict[str, str]


def write_arrays(images: Path, masks: Path, source: Patches, progress: Progress | None) -> PackedArrays:
    """Writes both files. Tries integers first; the first value that is none makes it start again with float32.

    Raises:
        DataError: a patch cannot be read, a band has no finite value.
        OSError: a file cannot be written.
    """
    for dtype in (np.dtype(np.uint16), np.dtype(np.float32)):
        written = _write_finite((images, masks), source, dtype, progress)
        if written is None:
            continue
        if not written.nonfinite.any():
            return written
        fill = written.statistics.median if source.fill is None else source.fill
        if _fill(images, source, written.nonfinite, fill):
            return written._replace(digests=written.digests | {images.name: sha256_of(images)})
    raise AssertionError("float32 holds every finite value")


def _write_finite(
    files: tuple[Path, Path], source: Patches, dtype: np.dtype, progress: Progress | None
) -> PackedArrays | None:
    """Writes both arrays with 0 where a value is not finite, as the median is not known yet.

    Returns:
        None where `dtype` cannot hold a value.
    """
    bands = len(source.sensor)
    nonfinite, counts, done = np.zeros((len(source), bands), np.int64), IntegerCounts(bands), 0
    with (
        _ArrayFile(files[0], dtype, (len(source), *source.size, bands)) as images,
        _ArrayFile(files[1], np.dtype(np.uint8), (len(source), *source.size)) as masks,
        contextlib.closing(_packed(_Job(source, dtype, images.place, masks.place))) as blocks,
    ):
        for block in blocks:
            if block is None:
                return None
            patches = len(block.nonfinite)
            images.take_in(patches)
            masks.take_in(patches)
            nonfinite[done : done + patches] = block.nonfinite
            counts.merge(block.counts)
            done += patches
            if progress is not None:
                progress(source.name, done, len(source))
    if dtype == np.uint16:
        # Zeros stand where values were not finite.
        statistics = BandStatistics.of_integers(counts.less_zeros(nonfinite.sum(axis=0)), source.sensor)
    else:
        statistics = BandStatistics.of(partial(_finite_patches, files[0], source, nonfinite), source.sensor)
    return PackedArrays(dtype, nonfinite, statistics, {file.name: file.digest.hexdigest() for file in (images, masks)})


class _Place(NamedTuple):
    """Where an open file holds the patches, one after the other."""

    descriptor: int
    offset: int

    def write(self, index: int, patch: np.ndarray) -> None:
        """Plain writes rather than a writable memory map: on a full disk a map kills the process, a write says so."""
        content = np.ascontiguousarray(patch).reshape(-1).view(np.uint8).data
        start = self.offset + index * len(content)
        while content:
            written = os.pwrite(self.descriptor, content, start)
            content, start = content[written:], start + written


class _ArrayFile:
    """A `.npy` file whose patches are written in any order, on the disk once it is left without an error.

    Attributes:
        name: of the file.
        place: where to write the patches.
        digest: SHA-256 of the file up to where it was taken in.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        description = np.lib.format.dtype_to_descr(dtype)
        np.lib.format.write_array_header_1_0(header, {"descr": description, "fortran_order": False, "shape": shape})
        self._file, self.name = path.open("w+b", buffering=0), path.name
        self._file.write(header.getbuffer())
        self._patch_bytes = math.prod(shape[1:]) * dtype.itemsize
        self.place = _Place(self._file.fileno(), header.tell())
        self.digest = hashlib.sha256(header.getbuffer())
        self._buffer, self._unsynced = memoryview(bytearray(_READ_BYTES)), 0

    def take_in(self, patches: int) -> None:
        """Goes on with the digest over so many patches, which are written."""
        size = patches * self._patch_bytes
        for start in range(0, size, _READ_BYTES):
            part = self._buffer[: min(_READ_BYTES, size - start)]
            self.digest.update(part[: self._file.readinto(part)])
        self._unsynced += size
        if self._unsynced >= _SYNC_BYTES:
            sync_file(self._file)
            self._unsynced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file as file:
            if kind is None:
                sync_file(file)


class _Block(NamedTuple):
    """What was found in some patches, one after the other: as of `PackedArrays`, and the integers where they are."""

    nonfinite: np.ndarray
    counts: IntegerCounts


class _Job(NamedTuple):
    """What to pack, as what, and where to."""

    source: Patches
    dtype: np.dtype
    images: _Place
    masks: _Place

    def pack(self, patches: range) -> _Block | None:
        """Writes some patches; None where `dtype` cannot hold a value."""
        bands = len(self.source.sensor)
        nonfinite, counts = np.zeros((len(patches), bands), np.int64), IntegerCounts(bands)
        for row, index in zip(nonfinite, patches, strict=True):
            packed = _packed_patch(self.source.image(index), self.dtype, self.source.sensor, row)
            if packed is None:
                return None
            self.images.write(index, packed)
            self.masks.write(index, self.source.mask(index))
            if self.dtype == np.uint16:
                counts.add(packed)
        return _Block(nonfinite, counts)

    def read(self, patches: range) -> None:
        """Reads some patches for nothing but the error that one of them raises."""
        for index in patches:
            self.source.mask(index)
            self.source.image(index)


def _packed(job: _Job) -> Generator[_Block | None]:
    """All patches in their order: one at a time here, or many at a time where there are enough for more processes."""
    source = job.source
    values = math.prod(source.size) * len(source.sensor)
    processes = min(cpu_count(), _MOST_PROCESSES, len(source) * values // _VALUES_A_PROCESS)
    # An image that is cut into squares is held as a whole; several at a time may not fit into memory.
    if processes < 2 or source.sensor.tile is not None:
        yield from (job.pack(range(index, index + 1)) for index in range(len(source)))
        return
    step = max(1, _VALUES_A_BLOCK // values)
    blocks = (range(len(source))[start : start + step] for start in range(0, len(source), step))
    descriptors = (job.images.descriptor, job.masks.descriptor)
    packed = in_order(job.pack, blocks, processes=processes, descriptors=descriptors, doing="packing", crashed=job.read)
    with contextlib.closing(packed) as answers:
        yield from answers


def _packed_patch(stored: np.ndarray, dtype: np.dtype, sensor: Sensor, nonfinite: np.ndarray) -> np.ndarray | None:
    """A patch as it is packed, with 0 for what is not finite, of which the number in each band is added to `nonfinite`.

    Returns:
        None where `dtype` cannot hold a value.
    """
    packed = np.empty(stored.shape, dtype)
    step = max(1, _VALUES_A_TURN // math.prod(stored.shape[1:]))
    for start in range(0, len(stored), step):
        rows = stored[start : start + step]
        encoded = sensor.as_integers(rows) if dtype == np.uint16 else None
        if encoded is None:
            finite = _finite(rows)
            nonfinite += (~finite).sum(axis=(0, 1))
            encoded = _encode(np.where(finite, rows, 0.0), dtype, sensor)
        if encoded is None:
            return None
        packed[start : start + step] = encoded
    return packed


def _finite(stored: np.ndarray) -> np.ndarray:
    """Where float64 values are finite as float32 too."""
    with np.errstate(over="ignore"):
        return np.isfinite(stored.astype(np.float32))


def _encode(stored: np.ndarray, dtype: np.dtype, sensor: Sensor) -> np.ndarray | None:
    return sensor.as_integers(stored) if dtype == np.uint16 else stored.astype(np.float32)


def _finite_patches(path: Path, source: Patches, nonfinite: np.ndarray) -> Iterator[np.ndarray]:
    """Stored values float32 as packed, with NaN where 0 stands for a value that was not finite."""
    images = np.load(path, mmap_mode="r")
    with path.open("rb") as file:
        file.seek(images.offset)
        for index in range(len(source)):
            packed = np.fromfile(file, images.dtype, math.prod(images.shape[1:])).reshape(images.shape[1:])
            values = source.sensor.as_stored(packed)
            if nonfinite[index].any():
                values[~_finite(source.image(index))] = np.nan
            yield values


def _fill(path: Path, source: Patches, nonfinite: np.ndarray, fill: Sequence[float]) -> bool:
    """Puts `fill` where values were not finite; False where the array's dtype cannot hold a value of `fill`."""
    values = np.asarray(fill, np.float64)
    images = np.load(path, mmap_mode="r")
    with path.open("r+b") as file:
        for index in np.flatnonzero(nonfinite.any(axis=1)).tolist():
            stored = source.image(index)
            packed = _encode(np.where(_finite(stored), stored, values), images.dtype, source.sensor)
            if packed is None:
                return False
            file.seek(images.offset + index * packed.nbytes)
            file.write(packed.tobytes())
        sync_file(file)
    return True
