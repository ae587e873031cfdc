"""Reading one image or mask: what comes back, and which files are refused in which words."""

import ctypes
import math
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lsml.data.formats import read_image, read_mask
from lsml.errors import DataError
from tests.bands import N_BANDS, PATCH_SHAPE, PATCH_SIZE, SENSOR

CANARY = b"canary-4711" * 200_000


def saved(path: Path, fill: Callable[[h5py.File], object]) -> Path:
    """The path of an HDF5 file that `fill` has written into."""
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def _image(path: Path) -> np.ndarray:
    return read_image(path, SENSOR)


def _mask(path: Path) -> np.ndarray:
    return read_mask(path, SENSOR)


def refusal(path: Path, read: Callable[[Path], np.ndarray] = _image) -> str:
    """The one line that refuses `path`."""
    with pytest.raises(DataError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


class Watch:
    """Tells through Linux's inotify whether a file was opened or read since the last question."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK)
        in_access, in_open = 0x1, 0x20
        assert libc.inotify_add_watch(self.descriptor, os.fsencode(path), in_access | in_open) >= 0

    def touched(self) -> bool:
        try:
            return bool(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return False


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that no patch may lead to."""
    path = tmp_path / "secret.bin"
    path.write_bytes(CANARY)
    return path


def test_image_comes_back_bit_for_bit_with_nan_and_inf(tmp_path: Path) -> None:
    """Stored values are not touched while reading."""
    image = np.arange(math.prod(PATCH_SHAPE), dtype=np.float64).reshape(PATCH_SHAPE) / 7
    image[0, 0, 0], image[1, 2, 3] = np.nan, -np.inf
    read = _image(saved(tmp_path / "image_1.h5", lambda file: file.update(img=image)))
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int16", "uint16"])
def test_image_of_any_plain_number_type_becomes_float64(tmp_path: Path, dtype: str) -> None:
    """Other writers' number types are read as the numbers they are."""
    image = (np.arange(math.prod(PATCH_SHAPE)) % 1000).reshape(PATCH_SHAPE).astype(dtype)
    read = _image(saved(tmp_path / "image_1.h5", lambda file: file.update(img=image)))
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float64])
def test_mask_becomes_uint8(tmp_path: Path, dtype: type) -> None:
    """0 and 1 mean the same in every number type."""
    mask = np.eye(PATCH_SIZE).astype(dtype)
    read = read_mask(saved(tmp_path / "mask_1.h5", lambda file: file.update(mask=mask)), SENSOR)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.eye(PATCH_SIZE))


@pytest.mark.parametrize(
    ("value", "dtype", "note"),
    [(255, "uint8", "masks of 0 and 255"), (2, "int64", "masks of 0 and 2"), (1, "float32", None), (1, "bool", None)],
)
def test_mask_of_one_value_beside_0_is_that_of_landslide(tmp_path: Path, value: int, dtype: str, note: str) -> None:
    """Whatever the value: pictures have 255. What is not the published 1 is told."""
    mask = np.eye(PATCH_SIZE).astype(dtype) * np.dtype(dtype).type(value)
    notes: set[str] = set()
    read = read_mask(saved(tmp_path / "mask_1.h5", lambda file: file.update(mask=mask)), SENSOR, notes=notes)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.eye(PATCH_SIZE))
    assert notes == ({note} if note else set())
    full = saved(tmp_path / "mask_2.h5", lambda file: file.update(mask=np.full_like(mask, value)))
    assert read_mask(full, SENSOR).mean() == 1


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("img", None),
        ("image", "img from dataset 'image'"),
        ("IMG", "img from dataset 'IMG'"),
        ("bands", "img from dataset 'bands'"),
        ("patch/bands", "img from dataset 'patch/bands'"),
        ("img/data", "img from dataset 'img/data'"),
        (b"\xff\xfe", "img from dataset '\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}'"),
    ],
)
def test_the_only_dataset_is_read_whatever_its_name(tmp_path: Path, name: str | bytes, note: str) -> None:
    """Also one group deep, and in bytes that are no text; a name that is not the published one is told."""
    image = np.arange(math.prod(PATCH_SHAPE), dtype=np.float64).reshape(PATCH_SHAPE)
    notes: set[str] = set()
    path = saved(tmp_path / "image_1.h5", lambda file: file.create_dataset(name, data=image))
    np.testing.assert_array_equal(read_image(path, SENSOR, notes=notes), image)
    assert notes == ({note} if note else set())


def test_of_several_datasets_the_one_is_read_that_a_name_tells(tmp_path: Path) -> None:
    """Image and mask in one file, beside a table of its own; the published name goes before others."""

    def fill(file: h5py.File) -> None:
        file.update(image=np.ones(PATCH_SHAPE), label=np.eye(PATCH_SIZE), transform=np.arange(6.0))

    path = saved(tmp_path / "image_1.h5", fill)
    assert read_image(path, SENSOR).sum() == math.prod(PATCH_SHAPE)
    assert read_mask(path, SENSOR).sum() == PATCH_SIZE
    with h5py.File(path, "r+") as file:
        file["img"] = np.zeros(PATCH_SHAPE)
    assert read_image(path, SENSOR).sum() == 0


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "b"), "no dataset 'img' (found: 'a', 'b'); name the right one 'img'"),
        (("one/img", "two/img"), "no dataset 'img' (found: 'one/img', 'two/img')"),
        (("one/two/img",), "no dataset 'one/two': it is a group"),
    ],
)
def test_datasets_that_no_name_tells_apart_are_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    """Two of them could each be meant, and nothing is looked for deeper than one group."""
    path = saved(tmp_path / "image_1.h5", lambda file: file.update(dict.fromkeys(names, np.ones(PATCH_SHAPE))))
    assert words in refusal(path)


def test_a_group_of_very_many_entries_is_looked_at_in_part(tmp_path: Path) -> None:
    """A file of thousands of links is told in one short line."""

    def fill(file: h5py.File) -> None:
        file["0"] = 1
        for number in range(1, 5000):
            file[str(number)] = file["0"]

    line = refusal(saved(tmp_path / "image_1.h5", fill))
    assert "no dataset 'img' (found: '0'" in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("axes", "shape", "notes"),
    [
        ((2, 0, 1), (N_BANDS, PATCH_SIZE, PATCH_SIZE), {"channels first"}),
        ((0, 1, 2), (1, PATCH_SIZE, PATCH_SIZE, N_BANDS), {f"img of shape (1, {PATCH_SIZE}, {PATCH_SIZE}, {N_BANDS})"}),
        (
            (2, 0, 1),
            (1, N_BANDS, PATCH_SIZE, PATCH_SIZE),
            {"channels first", f"img of shape (1, {N_BANDS}, {PATCH_SIZE}, {PATCH_SIZE})"},
        ),
    ],
)
def test_image_in_another_order_of_axes_is_turned(
    tmp_path: Path, axes: tuple[int, ...], shape: tuple[int, ...], notes: set[str]
) -> None:
    """Bands first, as PyTorch has them, and a batch of one have one meaning each."""
    image = np.random.default_rng(0).random(PATCH_SHAPE)
    stored = image.transpose(axes).reshape(shape)
    told: set[str] = set()
    path = saved(tmp_path / "image_1.h5", lambda file: file.create_dataset("img", data=stored, compression="gzip"))
    read = read_image(path, SENSOR, notes=told)
    np.testing.assert_array_equal(read, image)
    assert read.flags.c_contiguous
    assert told == notes


@pytest.mark.parametrize(
    "shape", [(PATCH_SIZE, PATCH_SIZE, 1), (1, PATCH_SIZE, PATCH_SIZE), (1, PATCH_SIZE, PATCH_SIZE, 1)]
)
def test_axes_of_length_1_of_a_mask_do_not_count(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A mask with a channel of its own, or a batch of one."""
    mask = np.triu(np.ones((PATCH_SIZE, PATCH_SIZE), np.uint8))
    notes: set[str] = set()
    read = read_mask(
        saved(tmp_path / "mask_1.h5", lambda file: file.update(mask=mask.reshape(shape))), SENSOR, notes=notes
    )
    np.testing.assert_array_equal(read, mask)
    assert notes == {f"mask of shape {shape}"}


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "shuffle": True},
        {"compression": "gzip", "chunks": (50, 50, 5)},
        {"chunks": (64, 64, N_BANDS), "fletcher32": True},
    ],
)
def test_allowed_filters_are_read(tmp_path: Path, options: dict) -> None:
    """Copies compressed with the filters that HDF5 and h5py bring along are welcome, noise (which grows) included."""
    image = np.random.default_rng(0).random(PATCH_SHAPE)
    path = saved(tmp_path / "image_1.h5", lambda file: file.create_dataset("img", data=image, **options))
    np.testing.assert_array_equal(read_image(path, SENSOR), image)


def test_file_after_a_user_block_is_read(tmp_path: Path) -> None:
    """HDF5 may start at byte 512, 1024, ...: such a file is no foreign one."""
    path = tmp_path / "image_1.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["img"] = np.ones(PATCH_SHAPE)
    assert read_image(path, SENSOR).sum() == math.prod(PATCH_SHAPE)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all\n" * 100])
def test_empty_and_text_files_are_no_hdf5(tmp_path: Path, content: bytes) -> None:
    """Row 1: the size is shown, as an empty file explains itself by it."""
    path = tmp_path / "image_1.h5"
    path.write_bytes(content)
    assert f"not an HDF5 file ({len(content)} bytes)" in refusal(path)


def test_missing_file_folder_and_fifo_are_refused_at_once(tmp_path: Path) -> None:
    """A pipe without a writer would block for ever if it were opened."""
    assert "No such file" in refusal(tmp_path / "image_1.h5")
    assert "not a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "image_2.h5")
    assert "not a regular file" in refusal(tmp_path / "image_2.h5")


def test_truncated_file_names_both_sizes(tmp_path: Path) -> None:
    """Row 2: an interrupted copy is told by what it has and what it should have."""
    path = saved(tmp_path / "image_1.h5", lambda file: file.update(img=np.ones(PATCH_SHAPE)))
    whole = path.stat().st_size
    os.truncate(path, whole // 2)
    assert f"truncated: {whole // 2} of {whole} bytes" in refusal(path)


@pytest.mark.parametrize("size", [8, 9, 50, 100, 500])
def test_file_cut_in_its_header_is_refused(tmp_path: Path, size: int) -> None:
    """However little is left after the signature, it is one line."""
    path = saved(tmp_path / "image_1.h5", lambda file: file.update(img=np.ones(PATCH_SHAPE)))
    os.truncate(path, size)
    assert re.search("truncated|unreadable structure", refusal(path))


def test_damaged_structure_is_refused(tmp_path: Path) -> None:
    """Row 3: bytes 96..2048 hold the root group and the dataset's header in a file of the default format."""
    path = saved(tmp_path / "image_1.h5", lambda file: file.update(img=np.ones(PATCH_SHAPE)))
    content = bytearray(path.read_bytes())
    content[96:2048] = bytes(255 - byte for byte in content[96:2048])
    path.write_bytes(content)
    assert "unreadable structure" in refusal(path)


def test_missing_dataset_lists_what_is_there(tmp_path: Path) -> None:
    """Row 5: the names found tell which kind of file was given; control characters in them do not reach a terminal."""
    path = saved(tmp_path / "image_1.h5", lambda file: file.update({"mask": 1, "x\x1b[2J": 2}))
    line = refusal(path)
    assert "no dataset 'img' (found: 'mask', 'x?[2J')" in line
    empty = saved(tmp_path / "image_2.h5", lambda file: None)
    assert "no dataset 'img' (found: nothing)" in refusal(empty)


def test_group_and_named_type_are_no_dataset(tmp_path: Path) -> None:
    """Row 6."""
    group = saved(tmp_path / "image_1.h5", lambda file: file.create_group("img"))
    assert "no dataset 'img': it is a group" in refusal(group)
    named = saved(tmp_path / "image_2.h5", lambda file: file.update(img=np.dtype("f8")))
    assert "no dataset 'img': it is a data type" in refusal(named)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            np.ones((PATCH_SIZE, PATCH_SIZE, 13)),
            f"'img' has shape ({PATCH_SIZE}, {PATCH_SIZE}, 13), expected (H, W, {N_BANDS}) numeric",
        ),
        (
            np.ones((PATCH_SIZE, N_BANDS, PATCH_SIZE)),
            f"'img' has shape ({PATCH_SIZE}, {N_BANDS}, {PATCH_SIZE}), expected",
        ),
        (
            np.ones((2, PATCH_SIZE, PATCH_SIZE, N_BANDS), np.float32),
            f"'img' has shape (2, {PATCH_SIZE}, {PATCH_SIZE}, {N_BANDS}), expected",
        ),
        (np.float64(1), "'img' has shape (), expected"),
        (h5py.Empty("f8"), "'img' has shape null, expected"),
        (np.ones(PATCH_SHAPE, np.complex64), "'img' has dtype complex64, expected"),
        (np.full((2, 2), b"text"), "'img' has dtype |S4, expected"),
        (np.array(["words"], dtype=h5py.string_dtype()), "'img' has dtype object, expected"),
        (np.zeros(3, dtype=[("a", "f8"), ("b", "i4")]), "'img' has dtype [('a', '<f8'), ('b', '<i4')], expected"),
    ],
)
def test_other_shapes_and_types_are_named(tmp_path: Path, data: object, words: str) -> None:
    """Rows 7 and 8."""
    assert words in refusal(saved(tmp_path / "image_1.h5", lambda file: file.update(img=data)))


def test_references_are_refused(tmp_path: Path) -> None:
    """Row 8: an object reference is no number."""

    def fill(file: h5py.File) -> None:
        file.create_dataset("img", (4,), dtype=h5py.ref_dtype)[0] = file.ref

    assert "'img' has dtype object" in refusal(saved(tmp_path / "image_1.h5", fill))


def test_small_file_that_declares_107_gib_is_refused_before_reading(tmp_path: Path) -> None:
    """Row 11: 120,000 x 120,000 float64 are 115,200,000,000 bytes (107 GiB), in a file of a few kilobytes."""
    path = saved(
        tmp_path / "image_1.h5", lambda file: file.create_dataset("img", (120_000, 120_000), "f8", chunks=(64, 64))
    )
    assert path.stat().st_size < 10_000
    assert "'img' declares 115,200,000,000 bytes, limit 67,108,864" in refusal(path)


def test_chunk_larger_than_its_dataset_is_refused(tmp_path: Path) -> None:
    """Row 12: the dataset has the right size, but one chunk of it would unpack to 4096 * 4096 * 7 * 8 bytes."""
    path = saved(
        tmp_path / "image_1.h5",
        lambda file: file.create_dataset(
            "img",
            PATCH_SHAPE,
            "f8",
            chunks=(4096, 4096, 7),
            maxshape=(None, None, None),
            fillvalue=0,
            compression="gzip",
        ).id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1000))),
    )
    assert "'img' declares 939,524,096 bytes" in refusal(path)


@pytest.mark.parametrize("filters", [{}, {"shuffle": True}, {"fletcher32": True}])
def test_chunk_that_unpacks_to_more_than_it_declares_is_refused(tmp_path: Path, filters: dict) -> None:
    """Row 12: 300 MB of zeros in 291 kB, in a chunk whose place holds 1.8 MB; HDF5 itself would unpack all of it."""
    bomb = zlib.compress(bytes(300_000_000), 9)
    path = saved(
        tmp_path / "image_1.h5",
        lambda file: file.create_dataset(
            "img", PATCH_SHAPE, "f8", chunks=PATCH_SHAPE, compression="gzip", **filters
        ).id.write_direct_chunk((0, 0, 0), bomb),
    )
    assert path.stat().st_size < 400_000
    assert f"unpacks to more than {8 * math.prod(PATCH_SHAPE):,} bytes" in refusal(path)


def test_dataset_that_was_never_written_is_refused(tmp_path: Path) -> None:
    """Such a file reads as zeros: the trace of a writer that died, not a black patch."""
    path = saved(tmp_path / "image_1.h5", lambda file: file.create_dataset("img", PATCH_SHAPE, "f8", chunks=True))
    assert "'img' was declared but never written" in refusal(path)


def test_watch_sees_an_open_file(canary: Path) -> None:
    """The instrument of the tests below works: a read is seen, and silence is not taken for one."""
    watch = Watch(canary)
    assert not watch.touched()
    canary.read_bytes()
    assert watch.touched()


def external_storage(file: h5py.File, canary: Path) -> None:
    file.create_dataset("img", PATCH_SHAPE, "f8", external=[(str(canary), 0, h5py.h5f.UNLIMITED)])


def external_link(file: h5py.File, canary: Path) -> None:
    file["img"] = h5py.ExternalLink(str(canary), "/img")


def virtual_dataset(file: h5py.File, canary: Path) -> None:
    layout = h5py.VirtualLayout(PATCH_SHAPE, "f8")
    layout[...] = h5py.VirtualSource(str(canary), "img", PATCH_SHAPE)
    file.create_virtual_dataset("img", layout)


def growing_virtual_dataset(file: h5py.File, canary: Path) -> None:
    layout = h5py.VirtualLayout(PATCH_SHAPE, "f8", maxshape=(None, PATCH_SIZE, N_BANDS))
    source = h5py.VirtualSource(str(canary), "img", PATCH_SHAPE, maxshape=(None, PATCH_SIZE, N_BANDS))
    layout[0 : h5py.h5s.UNLIMITED, :, :] = source[0 : h5py.h5s.UNLIMITED, :, :]
    file.create_virtual_dataset("img", layout)


def soft_link_through_an_external_one(file: h5py.File, canary: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(canary), "/")
    file["img"] = h5py.SoftLink("/elsewhere/img")


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (external_storage, "'img' has external storage: refused"),
        (external_link, "'img' is an external link: refused"),
        (virtual_dataset, "'img' is a virtual dataset: refused"),
        (growing_virtual_dataset, "'img' is a virtual dataset: refused"),
        (soft_link_through_an_external_one, "'img' is a soft link: refused"),
    ],
)
def test_files_of_the_host_are_never_opened(
    tmp_path: Path, canary: Path, fill: Callable[[h5py.File, Path], None], words: str
) -> None:
    """Rows 13 to 16: the target is a readable HDF5 file with `img` in it where that makes the attack work."""
    if fill is not external_storage:
        with h5py.File(canary, "w") as file:
            file.create_dataset("img", data=np.ones(PATCH_SHAPE), maxshape=(None, PATCH_SIZE, N_BANDS), chunks=True)
    path = saved(tmp_path / "image_1.h5", lambda file: fill(file, canary))
    watch = Watch(canary)
    assert words in refusal(path)
    assert not watch.touched()
    with h5py.File(path) as file:
        assert file["img"][()].shape == PATCH_SHAPE
    assert watch.touched()  # plain h5py does open it: the attack was a real one


def test_soft_links_and_loops_are_refused(tmp_path: Path) -> None:
    """Rows 15 and 16: a harmless soft link, one to itself, and a group that contains itself."""

    def harmless(file: h5py.File) -> None:
        file["data"] = np.ones(PATCH_SHAPE)
        file["img"] = h5py.SoftLink("/data")

    assert "'img' is a soft link" in refusal(saved(tmp_path / "image_1.h5", harmless))
    loop = saved(tmp_path / "image_2.h5", lambda file: file.update(img=h5py.SoftLink("/img")))
    assert "'img' is a soft link" in refusal(loop)
    cycle = saved(tmp_path / "image_3.h5", lambda file: file.update(img=file["/"]))
    assert "it is a group" in refusal(cycle)


def test_unlisted_and_doubled_filters_are_refused(tmp_path: Path) -> None:
    """Row 17: number 6 is HDF5's own scale-offset filter, which the list lacks; gzip twice would hide a bomb."""
    path = saved(
        tmp_path / "image_1.h5",
        lambda file: file.create_dataset(
            "img", data=np.ones(PATCH_SHAPE, np.int32), chunks=(64, 64, N_BANDS), scaleoffset=0
        ),
    )
    assert "filter 6 not allowed" in refusal(path)

    def twice(file: h5py.File) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(PATCH_SHAPE)
        properties.set_deflate(9)
        properties.set_deflate(9)
        space = h5py.h5s.create_simple(PATCH_SHAPE)
        h5py.h5d.create(file.id, b"img", h5py.h5t.IEEE_F64LE, space, properties).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.ones(PATCH_SHAPE)
        )

    assert "filters [1, 1] not allowed together" in refusal(saved(tmp_path / "image_2.h5", twice))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 1, 2), "values {0, 1, 2}"),
        ((1, 2), "values {1, 2}"),
        ((0, -1), "values {-1, 0}"),
        ((0, 1, 255), "values {0, 1, 255}"),
        ((0, math.inf), "values {0, inf}"),
    ],
)
def test_masks_of_two_meanings_are_refused(tmp_path: Path, values: tuple[float, ...], words: str) -> None:
    """Row 18: classes, a value for no data, probabilities are told by their values."""
    mask = np.full((PATCH_SIZE, PATCH_SIZE), values[0], np.int16 if math.isfinite(sum(values)) else np.float32)
    mask[3, : len(values) - 1] = values[1:]
    assert words in refusal(saved(tmp_path / "mask_1.h5", lambda file: file.update(mask=mask)), _mask)


def test_mask_with_nan_or_many_values_is_refused(tmp_path: Path) -> None:
    """Row 18: a probability map is no mask; the line stays short."""
    mask = np.linspace(0, 1, PATCH_SIZE * PATCH_SIZE).reshape(PATCH_SIZE, PATCH_SIZE)
    line = refusal(saved(tmp_path / "mask_1.h5", lambda file: file.update(mask=mask)), _mask)
    assert ", ...}" in line
    assert len(line) < 400
    mask = np.zeros((PATCH_SIZE, PATCH_SIZE))
    mask[0, 0] = np.nan
    assert "values {0, nan}" in refusal(saved(tmp_path / "mask_2.h5", lambda file: file.update(mask=mask)), _mask)
