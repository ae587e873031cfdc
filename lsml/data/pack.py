"""Packs a split into one memory-mapped array of images and one of masks, checksummed and fingerprinted.

A pack is a folder with `images.npy` (uint16 where every stored value is an integer over its band constant, float32
where not), `masks.npy` (uint8) and `manifest.json`. It appears under its name only when it is complete.
"""

import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsml.data import PatchFiles
from lsml.data.hdf5 import read_image, read_mask
from lsml.data.sensor import BANDS, CONSTANTS, N_BANDS, PATCH_SHAPE, as_integers, as_stored
from lsml.data.statistics import BandStatistics, IntegerCounts
from lsml.errors import DataError
from lsml.workspace import DurableFile, Progress, in_turn, rename_durably, replace_atomically, sync_file

_FORMAT, _STATISTICS = 1, 2
"""Raised where the arrays are laid out, or the statistics computed, in another way: the pack is made again then."""

_IMAGES, _MASKS, _MANIFEST = "images.npy", "masks.npy", "manifest.json"
_AGAIN = "remove that folder: it is made again at the next start"


class PackedSplit:
    """A pack opened for reading; pickled as its path, so it costs nothing to send to a process of this machine.

    Sizes and the manifest are checked here, contents by `verify`.

    Attributes:
        path: the folder.
        name: `train`, `validation` or `test`.
        ids: of each patch, such as `image_12`.
        fingerprint: SHA-256 in hex over ids and packed contents, whatever the folder and the files' times.
        nonfinite: how many NaN and inf were replaced, for each of the 14 band names.
        statistics: of the finite values of this split.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError where `path` is no pack, or its files are not the size that the manifest says."""
        self.path = path
        manifest = _read_manifest(path)
        try:
            self.name: str = manifest["name"]
            self.ids: tuple[str, ...] = tuple(manifest["ids"])
            self.fingerprint: str = manifest["fingerprint"]
            self.nonfinite: dict[str, int] = dict(manifest["nonfinite"])
            self.statistics = BandStatistics.from_dict(manifest["statistics"])
            self._files: dict[str, dict[str, Any]] = {name: manifest["files"][name] for name in (_IMAGES, _MASKS)}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"pack {path}", f"the manifest lacks {error}", _AGAIN) from None
        self._images = self._open(_IMAGES, PATCH_SHAPE)
        self._masks = self._open(_MASKS, PATCH_SHAPE[:2])

    def _open(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path, expected = self.path / name, self._files[name]["bytes"]
        try:
            size = path.stat().st_size
            if size != expected:
                raise DataError(f"pack {path}", f"truncated: {size} of {expected} bytes", _AGAIN)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"pack {path}", f"cannot be opened: {error}", _AGAIN) from None
        if array.shape != (len(self.ids), *shape):
            raise DataError(f"pack {path}", f"shape {array.shape}, expected {(len(self.ids), *shape)}", _AGAIN)
        return array

    def __reduce__(self) -> tuple[type["PackedSplit"], tuple[Path]]:
        return PackedSplit, (self.path,)

    def __repr__(self) -> str:
        return f"PackedSplit({str(self.path)!r})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dtype(self) -> np.dtype:
        """uint16 or float32: how the images are held on disk."""
        return self._images.dtype

    def verify(self) -> None:
        """Reads all of the pack and compares it with the SHA-256 of its manifest.

        Raises:
            DataError: a file differs from what was written.
        """
        for name, recorded in self._files.items():
            if _sha256(self.path / name) != recorded["sha256"]:
                raise DataError(f"pack {self.path / name}", "checksum differs from the manifest", _AGAIN)

    def image(self, index: int) -> np.ndarray:
        """float32 `(128, 128, 14)`: stored values, always finite."""
        return as_stored(self._images[index])

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(128, 128)`, 0 or 1."""
        return np.array(self._masks[index])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, 128, 128, 14)` and masks float32 `(B, 128, 128, 1)`."""
        chosen = np.asarray(indices, np.intp)
        return as_stored(self._images[chosen]), self._masks[chosen, ..., None].astype(np.float32)

    @cached_property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""
        return np.array([mask.mean() for mask in self._masks])


def pack_split(
    name: str,
    files: Sequence[PatchFiles],
    directory: Path,
    *,
    fill: Sequence[float] | None,
    progress: Progress | None = None,
) -> PackedSplit:
    """Packs `files` below `directory`, or opens the pack that is there from the same, unchanged files.

    The pack appears under its final name by one rename, once it is on disk; processes that want the same pack
    wait for the first and share its work. A pack that is truncated is made again.

    Args:
        fill: what replaces NaN and inf in each band: the medians of the train split, or None where this split is
            the train split, whose own medians are taken.

    Raises:
        DataError: no files, one that cannot be read or has no mask, files that change meanwhile, a full disk.
    """
    key = _source_key(name, files, fill)
    target = directory / f"{name}-{key[:20]}"
    pack = _existing(target)
    if pack is not None:
        return pack
    try:
        with in_turn(Path(f"{target}.lock")):
            pack = _existing(target)
            if pack is None:
                _build(target, name, files, fill, progress)
                pack = PackedSplit(target)
    except OSError as error:
        raise _unwritable(target, len(files), error) from None
    if _source_key(name, files, fill) != key:
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


def _unwritable(target: Path, n: int, error: OSError) -> DataError:
    size = n * (math.prod(PATCH_SHAPE) * 2 + math.prod(PATCH_SHAPE[:2]))
    return DataError(
        f"pack {target}",
        f"{error.strerror or error} (a pack of {n} patches takes {size:,} bytes or more)",
        "free space there, or choose another folder",
    )


def _source_key(name: str, files: Sequence[PatchFiles], fill: Sequence[float] | None) -> str:
    """Changes when any file does: by name below the common folder, size and times.

    All images of a dataset have one size, and unpacked archives may carry one date: the time at which the file
    system last changed each file tells such datasets apart.

    Raises:
        DataError: no files, a file that is missing, or a patch without a mask.
    """
    if not files:
        raise DataError(f"split {name}", "no patches", "give a dataset with patches")
    paths = [path for patch in files for path in (patch.image, _mask_of(patch))]
    common = os.path.commonpath([path.parent for path in paths])
    entries = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"file {path}", f"cannot be read: {error.strerror}", "check the dataset") from None
        entries.append([os.path.relpath(path, common), status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    filled = None if fill is None else [float(value) for value in fill]
    return _digest([_FORMAT, _STATISTICS, name, CONSTANTS, filled, entries])


def _mask_of(patch: PatchFiles) -> Path:
    if patch.mask is None:
        raise DataError(f"patch {patch.id}", "no mask", "a pack needs one for every image")
    return patch.mask


def _build(
    target: Path, name: str, files: Sequence[PatchFiles], fill: Sequence[float] | None, progress: Progress | None
) -> None:
    """Writes the pack beside `target` and renames it; what a killed process left there is removed first."""
    unfinished = target.with_name(target.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        content = _write_arrays(unfinished, name, files, fill, progress)
        digests = content.digests
        sizes = {file: (unfinished / file).stat().st_size for file in digests}
        _write_manifest(
            unfinished,
            {
                "format": _FORMAT,
                "name": name,
                "ids": [patch.id for patch in files],
                "fingerprint": _digest([_FORMAT, CONSTANTS, [patch.id for patch in files], digests]),
                "files": {file: {"bytes": sizes[file], "sha256": digests[file]} for file in digests},
                "dtype": str(content.dtype),
                "nonfinite": {
                    band.name: int(count) for band, count in zip(BANDS, content.nonfinite.sum(axis=0), strict=True)
                },
                "statistics": content.statistics.to_dict(),
            },
        )
        shutil.rmtree(target, ignore_errors=True)
        rename_durably(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Content(NamedTuple):
    """What was found while the arrays were written.

    Attributes:
        nonfinite: int64 `(N, 14)`, the non-finite values of each patch and band.
        digests: of each file, SHA-256 in hex.
    """

    dtype: np.dtype
    nonfinite: np.ndarray
    statistics: BandStatistics
    digests: dict[str, str]


def _write_arrays(
    folder: Path, name: str, files: Sequence[PatchFiles], fill: Sequence[float] | None, progress: Progress | None
) -> _Content:
    """Tries integers first; the first value that is none makes it start again with float32."""
    for dtype in (np.dtype(np.uint16), np.dtype(np.float32)):
        written = _write_finite(folder, name, files, dtype, progress)
        if written is None:
            continue
        nonfinite, counts, digests = written
        if counts is None:
            statistics = BandStatistics.of(partial(_finite_patches, folder, files, nonfinite))
        else:
            # Zeros stand where values were not finite.
            statistics = BandStatistics.of_integers(counts.less_zeros(nonfinite.sum(axis=0)))
        if not nonfinite.any():
            return _Content(dtype, nonfinite, statistics, digests)
        if _fill(folder, files, nonfinite, statistics.median if fill is None else fill):
            return _Content(dtype, nonfinite, statistics, digests | {_IMAGES: _sha256(folder / _IMAGES)})
    raise AssertionError("float32 holds every finite value")


class _Written(NamedTuple):
    """`_Content` before anything is known of the values as a whole; `counts` of the integers, None of float32."""

    nonfinite: np.ndarray
    counts: IntegerCounts | None
    digests: dict[str, str]


def _write_finite(
    folder: Path, name: str, files: Sequence[PatchFiles], dtype: np.dtype, progress: Progress | None
) -> _Written | None:
    """Writes both arrays with 0 where a value is not finite, as the median is not known yet.

    Plain writes rather than a writable memory map: on a full disk a map kills the process where a write says so.

    Returns:
        None where `dtype` cannot hold a value.
    """
    nonfinite = np.zeros((len(files), N_BANDS), np.int64)
    counts = IntegerCounts() if dtype == np.uint16 else None
    with (
        _start(folder / _IMAGES, dtype, (len(files), *PATCH_SHAPE)) as images,
        _start(folder / _MASKS, np.dtype(np.uint8), (len(files), *PATCH_SHAPE[:2])) as masks,
    ):
        for index, patch in enumerate(files):
            stored = read_image(patch.image)
            packed = as_integers(stored) if dtype == np.uint16 else None
            if packed is None:
                finite = _finite(stored)
                nonfinite[index] = (~finite).sum(axis=(0, 1))
                packed = _encode(np.where(finite, stored, 0.0), dtype)
            if packed is None:
                return None
            images.write(packed.data)
            masks.write(read_mask(_mask_of(patch)).data)
            if counts is not None:
                counts.add(packed)
            if progress is not None:
                progress(name, index + 1, len(files))
    return _Written(nonfinite, counts, {_IMAGES: images.digest.hexdigest(), _MASKS: masks.digest.hexdigest()})


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


def _encode(stored: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    return as_integers(stored) if dtype == np.uint16 else stored.astype(np.float32)


def _finite_patches(folder: Path, files: Sequence[PatchFiles], nonfinite: np.ndarray) -> Iterator[np.ndarray]:
    """Stored values float32 as packed, with NaN where 0 stands for a value that was not finite."""
    images = np.load(folder / _IMAGES, mmap_mode="r")
    with (folder / _IMAGES).open("rb") as file:
        file.seek(images.offset)
        for index, patch in enumerate(files):
            values = as_stored(np.fromfile(file, images.dtype, math.prod(PATCH_SHAPE)).reshape(PATCH_SHAPE))
            if nonfinite[index].any():
                values[~_finite(read_image(patch.image))] = np.nan
            yield values


def _fill(folder: Path, files: Sequence[PatchFiles], nonfinite: np.ndarray, fill: Sequence[float]) -> bool:
    """Puts `fill` where values were not finite; False where the array's dtype cannot hold a value of `fill`."""
    values = np.asarray(fill, np.float64)
    images = np.load(folder / _IMAGES, mmap_mode="r")
    with (folder / _IMAGES).open("r+b") as file:
        for index in np.flatnonzero(nonfinite.any(axis=1)).tolist():
            stored = read_image(files[index].image)
            packed = _encode(np.where(_finite(stored), stored, values), images.dtype)
            if packed is None:
                return False
            file.seek(images.offset + index * packed.nbytes)
            file.write(packed.tobytes())
        sync_file(file)
    return True


def _write_manifest(folder: Path, content: dict[str, object]) -> None:
    tree = {"sha256": _digest(content), "pack": content}
    replace_atomically(folder / _MANIFEST, json.dumps(tree, indent=1, allow_nan=False).encode())


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads((path / _MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DataError(f"pack {path}", f"no {_MANIFEST} in it", "give the folder of a pack") from None
    except (OSError, ValueError) as error:
        raise DataError(f"pack {path}", f"unreadable manifest: {error}", _AGAIN) from None
    if not isinstance(tree, dict) or not isinstance(tree.get("pack"), dict):
        raise DataError(f"pack {path}", "the manifest describes no pack", _AGAIN)
    if _digest(tree["pack"]) != tree.get("sha256"):
        raise DataError(f"pack {path}", "the manifest's checksum differs from its content", _AGAIN)
    return tree["pack"]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"pack {path}", f"cannot be read: {error.strerror}", _AGAIN) from None
