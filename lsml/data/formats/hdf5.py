"""Reads one image or one mask from HDF5 without trusting the file that holds it."""

import contextlib
import io
import itertools
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn

import h5py
import numpy as np

from lsml.data.formats.parts import NAMES, Part, chosen, printable
from lsml.data.formats.processes import apart
from lsml.errors import DataError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_BYTES = 2**26
"""Most that a dataset or one of its chunks may unpack to: 600 x 600 pixels of 23 bands in float64."""
_LIMITS = (5, 2**30)
"""Seconds and bytes that HDF5 gets for one file. The largest patches, compressed, take less than a second."""

_Shape = tuple[int | None, ...]
"""None is any length."""

_GZIP, _LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF
_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, _GZIP, _LZF)
_REPLACE = "replace it by an intact copy"
_CONVERT = "write it as a plain dataset, as the published files are"
_DESCRIBE = "describe its bands in dataset.yaml (lsml data describe DIR writes a draft), or leave the patch out"

_MOST_ENTRIES = 64
"""So many entries of a group are looked at; the published files have one."""


def read_bands(path: Path, bands: int | None, notes: set[str] | None = None, named: str = "") -> np.ndarray:
    """The stored bands of a patch, as they are: NaN and inf included.

    Args:
        bands: how many; None where that is not known.
        notes: gets what was taken in another form than the published one, such as "channels first".
        named: the dataset's name, where its file holds others too and it cannot be told.

    Returns:
        float64 `(H, W, bands)`.

    Raises:
        DataError: the file cannot be read, or is refused (see `_read`).
    """
    image, forms = apart(_read, path, "image", named, (None, None, bands), limits=_LIMITS)
    if notes is not None:
        notes.update(forms)
    return image.astype(np.float64, copy=False)


def read_labels(path: Path, notes: set[str] | None = None, named: str = "") -> np.ndarray:
    """The mask of a patch as it lies in the file, `(H, W)`.

    Args:
        notes: gets what was taken in another form than the published one.
        named: as of `read_bands`.

    Raises:
        DataError: the file cannot be read, or is refused (see `_read`).
    """
    mask, forms = apart(_read, path, "mask", named, (None, None), limits=_LIMITS)
    if notes is not None:
        notes.update(forms)
    return mask


def encode(name: str, array: np.ndarray) -> bytes:
    """The bytes of an HDF5 file that holds `array` as dataset `name`, laid out as the published ones."""
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file[name] = array
    return held.getvalue()


_MOST_DEPTH = 64
"""So deep are groups in a file of weights at most; each network within a network adds three."""


def count_weights(path: Path) -> int:
    """How many numbers a file of weights holds, which nothing in it leads out of.

    All of its structure and its attributes are read, in another process: what HDF5 would die of or hang at is found
    before Keras opens the file in this one. Values lie there as they are, in one piece, and are not looked at.

    Raises:
        DataError: it cannot be read, declares more than it holds, or has links, text, chunks or objects in it.
    """
    return apart(_count_weights, path, limits=_LIMITS)


def _count_weights(path: Path) -> int:
    _check_signature(path)
    size = path.stat().st_size
    try:
        with _opened(path) as file:
            seen: set[tuple[int, int]] = set()
            return sum(_weights_below(path, h5py.h5g.open(file, b"/"), size, seen, _MOST_DEPTH))
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        _unreadable(path, error)


def _weights_below(
    path: Path, group: h5py.h5g.GroupID, size: int, seen: set[tuple[int, int]], depth: int
) -> Iterator[int]:
    """The sizes of all datasets below a group; only hard links are followed, and to no object twice."""
    _read_attributes(group)
    for name in group:
        dataset_name = _shown(name)
        if depth == 0 or group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise DataError(f"file {path}", f"'{dataset_name}' is a link or too deep: refused, not read", _CONVERT)
        about = h5py.h5o.get_info(group, name)
        if (about.fileno, about.addr) in seen:
            raise DataError(f"file {path}", f"'{dataset_name}' stands in it twice: refused, not read", _CONVERT)
        seen.add((about.fileno, about.addr))
        if about.type == h5py.h5o.TYPE_GROUP:
            yield from _weights_below(path, h5py.h5o.open(group, name), size, seen, depth - 1)
        else:
            yield _weights_of(path, h5py.h5o.open(group, name), dataset_name, size)


def _weights_of(path: Path, dataset: object, name: str, size: int) -> int:
    if not isinstance(dataset, h5py.h5d.DatasetID):
        raise DataError(f"file {path}", f"'{name}' is no dataset", _CONVERT)
    _check_storage(path, dataset, name)
    _read_attributes(dataset)
    count = math.prod(dataset.shape or ())
    # Keras stores in one piece and without compression, so weights are no larger than their file.
    if dataset.dtype.kind not in "biuf" or count * dataset.dtype.itemsize > size:
        why = f"'{name}' declares {count:,} numbers of dtype {printable(str(dataset.dtype), 60)}"
        raise DataError(f"file {path}", f"{why}, in {size:,} bytes", _CONVERT)
    if dataset.get_create_plist().get_layout() == h5py.h5d.CHUNKED:
        raise DataError(f"file {path}", f"'{name}' is stored in chunks, which Keras does not do", _CONVERT)
    return count


def _read_attributes(of: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> None:
    """Reads what a group or dataset has beside its content.

    Lists of texts, as Keras's older files have them, are opened and no more: each may be as large as the file.
    """
    for index in range(h5py.h5a.get_num_attrs(of)):
        attribute = h5py.h5a.open(of, index=index)
        if attribute.dtype.kind != "O" or math.prod(attribute.shape or ()) == 1:
            attribute.read(np.empty(attribute.shape or (), attribute.dtype))


def _read(path: Path, part: Part, named: str, shape: _Shape) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads the image or the mask as `shape` once everything that the file declares about it has been checked.

    Nothing outside the file is ever opened: links, virtual datasets and external storage are refused by what the
    file says of them. Nothing is allocated by a declared size before that size is known to be small.

    Returns:
        The array, and how name and shape differ from the published ones.
    """
    _check_signature(path)
    try:
        with _opened(path) as file:
            place = _find_dataset(path, file, part, named)
            name = _shown(place)
            dataset = _open_dataset(path, file, place, name)
            _check_storage(path, dataset, name)
            order = _check_declaration(path, dataset, name, shape)
            _check_chunks(path, dataset, name)
            forms = tuple(_describe_form(NAMES[part][0], name, dataset.shape, order))
            array = np.empty(dataset.shape, dataset.dtype)
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
            return np.ascontiguousarray(_squeezed(array.transpose(order), len(shape))), forms
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, zlib.error) as error:
        _unreadable(path, error)


def _access() -> h5py.h5p.PropFAID:
    """How files are opened: without a lock, and so that whatever is open in one is closed with it."""
    properties = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    properties.set_file_locking(False, ignore_when_disabled=False)
    properties.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    return properties


_ACCESS = _access()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.h5f.FileID]:
    """A file open for reading, by HDF5's own functions: h5py's objects take as long again as a patch."""
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, _ACCESS)
    try:
        yield file
    finally:
        file.close()


def _describe_form(published: str, name: str, found: tuple[int, ...], order: tuple[int, ...]) -> Iterator[str]:
    """How the name and the axes of a dataset differ from the published ones."""
    if name != published:
        yield f"{published} from dataset '{name}'"
    long = [axis for axis in order if found[axis] != 1]
    if long != sorted(long):
        yield "channels first"
    if len(long) < len(found):
        yield f"{published} of shape {found}"


def _check_signature(path: Path) -> None:
    """HDF5 puts its signature at byte 0, or at 512, 1024, 2048, ... after a block of the user's own."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"file {path}", "not a regular file", "give a folder of HDF5 files")
        offsets = itertools.takewhile(
            lambda offset: offset < status.st_size, itertools.chain([0], (512 << n for n in itertools.count()))
        )
        with path.open("rb") as file:
            if not any(_bytes_at(file, offset) == _SIGNATURE for offset in offsets):
                raise DataError(f"file {path}", f"not an HDF5 file ({status.st_size} bytes)", _REPLACE)
    except OSError as error:
        raise DataError(
            f"file {path}", f"cannot be read: {error.strerror}", "check the path and its permissions"
        ) from None


def _bytes_at(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.read(len(_SIGNATURE))


def _unreadable(path: Path, error: Exception) -> NoReturn:
    text = str(error)
    if truncated := re.search(r"truncated file: eof = (\d+),.*stored_eof = (\d+)", text):
        have, declared = truncated.groups()
        raise DataError(f"file {path}", f"truncated: {have} of {declared} bytes", _REPLACE) from None
    raise DataError(f"file {path}", f"unreadable structure: {printable(text)}", _REPLACE) from None


def _find_dataset(path: Path, file: h5py.h5f.FileID, part: Part, named: str) -> bytes:
    """The place in a file of the dataset that is the image, or the mask."""
    places = {place.decode(errors="surrogateescape"): place for place in itertools.islice(_places(file), _MOST_ENTRIES)}
    shapes = {name: partial(_shape_of, path, file, place) for name, place in places.items()}
    return places[chosen(path, part, named, shapes)]


def _shape_of(path: Path, file: h5py.h5f.FileID, place: bytes) -> tuple[int, ...] | None:
    dataset = _open_dataset(path, file, place, _shown(place))
    _check_storage(path, dataset, _shown(place))
    return dataset.shape


def _shown(place: bytes) -> str:
    return printable(place.decode(errors="replace"), 40)


def _places(group: h5py.h5g.GroupID, above: bytes = b"") -> Iterator[bytes]:
    """The paths of what may be a dataset in the root group, then in its own groups; only hard links are followed."""
    groups = []
    for name in itertools.islice(group, _MOST_ENTRIES):
        hard = group.links.get_info(name).type == h5py.h5l.TYPE_HARD
        if not above and hard and h5py.h5o.get_info(group, name).type == h5py.h5o.TYPE_GROUP:
            groups.append(name)
        else:
            yield above + name
    for name in groups:
        inner = h5py.h5o.open(group, name)
        yield from _places(inner, name + b"/") if len(inner) else [name]


def _open_dataset(path: Path, file: h5py.h5f.FileID, place: bytes, name: str) -> h5py.h5d.DatasetID:
    """The dataset that a hard link names; every other kind of link is refused unfollowed."""
    link = file.links.get_info(place).type
    if link != h5py.h5l.TYPE_HARD:
        kind = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}.get(link, "a link")
        raise DataError(f"file {path}", f"'{name}' is {kind}: refused, not followed", _CONVERT)
    found_object = h5py.h5o.open(file, place)
    if not isinstance(found_object, h5py.h5d.DatasetID):
        kind = "a group" if isinstance(found_object, h5py.h5g.GroupID) else "a data type"
        raise DataError(f"file {path}", f"no dataset '{name}': it is {kind}", _CONVERT)
    return found_object


def _check_storage(path: Path, dataset: h5py.h5d.DatasetID, name: str) -> None:
    """Refuses storage outside the file and filters that the allow-list lacks.

    Comes before anything that asks for the shape: HDF5 opens the sources of a virtual dataset to answer that.
    """
    properties = dataset.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise DataError(f"file {path}", f"'{name}' is a virtual dataset: refused, not followed", _CONVERT)
    if properties.get_external_count():
        raise DataError(f"file {path}", f"'{name}' has external storage: refused, not read", _CONVERT)
    filters = _filters(properties)
    for number in filters:
        if number not in _FILTERS:
            raise DataError(
                f"file {path}", f"filter {number} not allowed", "rewrite it with gzip, lzf, shuffle or fletcher32"
            )
    if len(set(filters)) < len(filters) or {_GZIP, _LZF} <= set(filters):
        raise DataError(f"file {path}", f"filters {filters} not allowed together", "rewrite it with one compression")


def _filters(properties: h5py.h5p.PropDCID) -> list[int]:
    return [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]


def _check_declaration(path: Path, dataset: h5py.h5d.DatasetID, name: str, shape: _Shape) -> tuple[int, ...]:
    """The order of the dataset's axes in which it has `shape`, but for axes of length 1."""
    dtype, found = dataset.dtype, dataset.shape
    if dtype.kind not in "biuf":
        why = f"'{name}' has dtype {printable(str(dtype), 60)}, expected {_as_text(shape)} numeric"
        raise DataError(f"file {path}", why, _CONVERT)
    _check_size(path, name, math.prod(found or ()) * dtype.itemsize)
    order = _order(found, shape)
    if order is None:
        shown = "null" if found is None else str(found)
        why = f"'{name}' has shape {shown}, expected {_as_text(shape)} numeric"
        raise DataError(f"file {path}", why, _DESCRIBE if len(shape) == 3 else "write one band, or leave the patch out")
    if dataset.get_storage_size() == 0:
        raise DataError(f"file {path}", f"'{name}' was declared but never written", _REPLACE)
    return order


def _order(found: tuple[int, ...] | None, shape: _Shape) -> tuple[int, ...] | None:
    """The order of axes in which `found` is `shape`: as it is, or channels first; None where it is neither.

    Axes of length 1 do not count: they come first.
    """
    ones = tuple(axis for axis, length in enumerate(found or ()) if length == 1)
    long = tuple(axis for axis, length in enumerate(found or ()) if length != 1)
    wanted = [length for length in shape if length != 1]
    for order in (long, (*long[1:], *long[:1]) if len(shape) == len(long) == 3 else long):
        lengths = [(found or ())[axis] for axis in order]
        if len(lengths) == len(wanted) and all(w in (None, n) for w, n in zip(wanted, lengths, strict=True)):
            return ones + order
    return None


def _squeezed(array: np.ndarray, axes: int) -> np.ndarray:
    """Without the axes of length 1 that come first, but for as many as `axes` takes."""
    return array.reshape(array.shape[array.ndim - axes :]) if array.ndim > axes else array


def _as_text(shape: _Shape) -> str:
    return f"({', '.join(name if length is None else str(length) for length, name in zip(shape, 'HWC', strict=False))})"


def _check_size(path: Path, name: str, size: int) -> None:
    if size > _MAX_BYTES:
        raise DataError(f"file {path}", f"'{name}' declares {size:,} bytes, limit {_MAX_BYTES:,}", _CONVERT)


def _check_chunks(path: Path, dataset: h5py.h5d.DatasetID, name: str) -> None:
    """A chunk may be larger than its dataset, and a compressed one may unpack to more than its own size.

    HDF5 lets gzip grow its buffer for as long as the stream goes on, so such a stream is tried here under a limit
    first. LZF cannot do that harm: it unpacks to at most 88 times what is stored, and that is limited too.
    """
    properties = dataset.get_create_plist()
    if properties.get_layout() != h5py.h5d.CHUNKED:
        return
    chunk, filters = properties.get_chunk(), _filters(properties)
    size = math.prod(chunk) * dataset.dtype.itemsize
    _check_size(path, name, size)
    for corner, stored, skipped in _stored_chunks(dataset, chunk):
        _check_size(path, name, max(0, stored - size // 100 - 1024))
        if _GZIP in filters and not skipped >> filters.index(_GZIP) & 1:
            _, data = dataset.read_direct_chunk(corner)
            limit = size + 4  # fletcher32 may have put its four bytes below gzip
            if len(zlib.decompressobj().decompress(data, limit + 1)) > limit:
                raise DataError(f"file {path}", f"a chunk of '{name}' unpacks to more than {size:,} bytes", _REPLACE)


def _stored_chunks(dataset: h5py.h5d.DatasetID, chunk: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Corner, bytes in the file and mask of skipped filters of each chunk that was ever written."""
    corners = itertools.product(*(range(0, extent, step) for extent, step in zip(dataset.shape, chunk, strict=True)))
    for corner in corners:
        info = dataset.get_chunk_info_by_coord(corner)
        if info.byte_offset is not None:
            yield corner, info.size, info.filter_mask
