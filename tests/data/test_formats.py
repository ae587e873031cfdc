"""Images and masks as pictures, TIFF and NumPy files: what comes back, and which are refused in which words."""

import io
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from lsml.data.formats import look, raster_size, read_array, read_image, read_mask
from lsml.data.layout import PatchFiles
from lsml.data.packing import pack_split
from lsml.data.sensor import RGB, Band, Sensor
from lsml.errors import DataError
from tests.data.test_hdf5 import refusal

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

GREY = Sensor("one band", (Band("only"),))
FOUR = Sensor("four bands", tuple(Band(f"band {n}") for n in range(4)))
YELLOW, RED = (255, 255, 0), (255, 0, 0)


def naming(*colours: tuple[int, ...]) -> Sensor:
    """A sensor whose masks have these values or colours where a landslide is."""
    return Sensor("named", RGB.bands, landslide=colours)


def picture(path: Path, array: np.ndarray) -> Path:
    """Writes red, green, blue (and alpha), or grey, in the format of the path's ending."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[-1] if array.ndim == 3 else 1)
    assert cv2.imwrite(str(path), array if order is None else array[..., order])
    return path


def raster(path: Path, array: np.ndarray, **options: Any) -> Path:
    """Writes bands `(H, W, C)` as TIFF."""
    height, width, count = array.shape
    kept = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": array.dtype} | options
    with rasterio.open(path, "w", **kept) as file:
        file.write(np.moveaxis(array, -1, 0))
    return path


def indexed(path: Path, indices: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Path:
    """Writes an image of indices `(H, W)` with the colours that they stand for, as PNG or TIFF by its ending."""
    driver = {".png": "PNG", ".tif": "GTiff"}[path.suffix]
    with rasterio.MemoryFile() as memory:
        height, width = indices.shape
        shape = {"height": height, "width": width, "count": 1, "dtype": indices.dtype}
        with memory.open(driver="GTiff", photometric="palette", **shape) as file:
            file.write(indices, 1)
            file.write_colormap(1, colours)
        with memory.open() as file:
            copy(file, path, driver=driver)
    return path


def array_file(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def noise(*shape: int, dtype: str = "uint8", most: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most, shape).astype(dtype)


def marked(*rows: tuple[slice, Any], channels: int = 1) -> np.ndarray:
    """A mask uint8 `(32, 32, channels)` of zeros with these rows in these colours."""
    mask = np.zeros((32, 32, channels), np.uint8)
    for place, colour in rows:
        mask[place] = colour
    return mask


def test_pictures_come_back_as_they_are(tmp_path: Path) -> None:
    """Of 8 and 16 bits, in the order red, green, blue, whatever way round they lie in the file."""
    colours = noise(20, 30, 3)
    read = read_image(picture(tmp_path / "a.png", colours), RGB)
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, colours)
    deep = noise(20, 30, 3, dtype="uint16", most=65536)
    np.testing.assert_array_equal(read_image(picture(tmp_path / "b.png", deep), RGB), deep)
    grey = noise(20, 30, dtype="uint16", most=65536)
    np.testing.assert_array_equal(read_image(picture(tmp_path / "c.png", grey), GREY)[..., 0], grey)


def test_a_jpeg_is_read_but_for_what_its_compression_changes(tmp_path: Path) -> None:
    """A plain colour survives it, to two steps of 255."""
    plain = np.full((32, 48, 3), (200, 100, 40), np.uint8)
    read = read_image(picture(tmp_path / "a.JPG", plain), RGB)
    np.testing.assert_allclose(read, plain, atol=2)
    assert raster_size(tmp_path / "a.JPG") == (32, 48)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_what_an_alpha_channel_says_is_transparent_was_not_measured(name: str, tmp_path: Path) -> None:
    """Four channels for a sensor of three: the last one is opacity, 0 or 255."""
    image = np.dstack([noise(20, 30, 3), np.full((20, 30), 255, np.uint8)])
    write = picture if name == "a.png" else raster
    np.testing.assert_array_equal(read_image(write(tmp_path / name, image), RGB), image[..., :3])
    image[4, 5, 3] = 0
    read = read_image(write(tmp_path / name, image), RGB)
    assert np.isnan(read[4, 5]).all()
    assert np.isnan(read).sum() == 3


def test_a_fourth_band_is_not_taken_for_opacity(tmp_path: Path) -> None:
    """Writers call a near infrared of 8 bits alpha; its values tell, and all four are read where four are described."""
    image = noise(20, 30, 4)
    path = raster(tmp_path / "a.tif", image)
    line = refusal(path, lambda path: read_image(path, RGB))
    assert "has a band beside its 3 that is half transparent; describe it in dataset.yaml" in line
    np.testing.assert_array_equal(read_image(path, FOUR), image)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_palette_is_looked_up(name: str, tmp_path: Path) -> None:
    """What is read are colours, not the indices of them."""
    indices = np.zeros((4, 6), np.uint8)
    indices[1, 2] = 7
    read = read_image(indexed(tmp_path / name, indices, {0: (1, 2, 3), 7: (40, 50, 60)}), RGB)
    assert read[0, 0].tolist() == [1, 2, 3]
    assert read[1, 2].tolist() == [40, 50, 60]


def test_a_palette_of_16_bits_is_looked_up(tmp_path: Path) -> None:
    """Its indices go beyond 255."""
    indices = np.zeros((4, 6), np.uint16)
    indices[1, 2] = 300
    path = indexed(tmp_path / "a.tif", indices, {0: (0, 0, 0), 300: (255, 0, 0)})
    assert read_image(path, RGB)[1, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_nodata_of_the_header_is_no_measurement(dtype: str, tmp_path: Path) -> None:
    """Of floating point and of integers; other values are as they were."""
    image = noise(20, 30, 4, dtype=dtype, most=9000)
    image[3, 4, 1] = -9999
    read = read_image(raster(tmp_path / "a.tif", image, nodata=-9999), FOUR)
    expected = image.astype(float)
    expected[3, 4, 1] = np.nan
    np.testing.assert_array_equal(read, expected)


def test_nodata_of_the_description_counts_for_its_band_alone(tmp_path: Path) -> None:
    """-1 in the first band is none, in the second a value."""
    sensor = Sensor("two", (Band("a", nodata=-1.0), Band("b")))
    read = read_image(array_file(tmp_path / "a.npy", np.full((4, 6, 2), -1.0)), sensor)
    assert np.isnan(read[..., 0]).all()
    assert (read[..., 1] == -1).all()


def test_numpy_arrays_may_have_their_channels_first(tmp_path: Path) -> None:
    """`(C, H, W)` is taken where C is the number of bands, and said; NaN and inf stay."""
    image = noise(20, 30, 4).astype("float32")
    image[0, 0, :2] = np.nan, np.inf
    notes: set[str] = set()
    np.testing.assert_array_equal(read_image(array_file(tmp_path / "a.npy", image), FOUR, notes), image)
    assert notes == set()
    first = array_file(tmp_path / "b.npy", np.moveaxis(image, -1, 0))
    np.testing.assert_array_equal(read_image(first, FOUR, notes), image)
    assert notes == {"channels first"}


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (1, 20, 30)])
def test_one_band_has_any_axes(shape: tuple[int, ...], tmp_path: Path) -> None:
    """With or without an axis of its own."""
    path = array_file(tmp_path / "a.npy", np.arange(600.0).reshape(shape))
    np.testing.assert_array_equal(read_image(path, GREY), np.arange(600.0).reshape(20, 30, 1))


@pytest.mark.parametrize("shape", [(20, 30, 5), (5, 20, 30), (20, 30), (4, 20, 4), (2, 20, 30, 4), (7,)])
def test_other_bands_than_described_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Where no axis, or more than one, has four: shape, what was expected, and what to do."""
    line = refusal(array_file(tmp_path / "a.npy", np.zeros(shape)), lambda path: read_image(path, FOUR))
    assert f"has shape {shape}, expected 4 bands; describe it in dataset.yaml: lsml data describe DIR" in line


@pytest.mark.parametrize(
    ("array", "note"),
    [
        (np.eye(32, dtype=bool), None),
        (np.eye(32, dtype="float32"), None),
        (np.eye(32, dtype="uint8") * 255, "masks of 0 and 255"),
        (np.eye(32) * 0.5, "masks of 0 and 0.5"),
        (np.eye(32, dtype="int64")[None], None),
        (np.eye(32, dtype="int64")[None, ..., None], None),
        (np.repeat(np.eye(32, dtype="uint8")[None], 3, axis=0), "masks of 0 and (1, 1, 1)"),
    ],
)
def test_masks_are_what_is_not_0(array: np.ndarray, note: str | None, tmp_path: Path) -> None:
    """Of any type and with any axes of length 1; another value than 1 is said."""
    notes: set[str] = set()
    read = read_mask(array_file(tmp_path / "a.npy", array), RGB, notes)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.eye(32))
    assert notes == ({note} if note else set())


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_mask_may_have_a_colour(name: str, tmp_path: Path) -> None:
    """Yellow on black, as three channels, with opacity, or by a palette."""
    rows = np.zeros((32, 32))
    rows[5:9] = 1
    mask = marked((np.s_[5:9], YELLOW), channels=3)
    write = picture if name == "a.png" else raster
    notes: set[str] = set()
    np.testing.assert_array_equal(read_mask(write(tmp_path / name, mask), RGB, notes), rows)
    assert notes == {"masks of 0 and (255, 255, 0)"}
    shown = np.dstack([np.full_like(mask, 200), 255 * rows.astype(np.uint8)])
    np.testing.assert_array_equal(read_mask(write(tmp_path / f"shown_{name}", shown), RGB), rows)
    palette = indexed(tmp_path / f"palette_{name}", rows.astype(np.uint8), {0: (0, 0, 0), 1: YELLOW})
    np.testing.assert_array_equal(read_mask(palette, RGB), rows)


def test_nodata_of_a_mask_is_no_landslide(tmp_path: Path) -> None:
    """Masks burnt from vectors call their 0 nodata."""
    mask = marked((np.s_[5:9], 1)).astype("float32")
    np.testing.assert_array_equal(read_mask(raster(tmp_path / "a.tif", mask, nodata=0), GREY), mask[..., 0])


def test_two_colours_are_refused_until_one_is_named(tmp_path: Path) -> None:
    """Both are named, and what to write; then only the named one counts, as a colour, or by its index."""
    two = marked((np.s_[5:9], YELLOW), (np.s_[20:22], RED), channels=3)
    path = picture(tmp_path / "a.png", two)
    line = refusal(path, lambda path: read_mask(path, RGB))
    assert "values {(0, 0, 0), (255, 0, 0), (255, 255, 0)}: which of them are landslide?" in line
    assert "name them in dataset.yaml, such as mask: {landslide: [[255, 255, 0]]}" in line
    # 4 and 2 rows of 32.
    assert read_mask(path, naming(YELLOW)).mean() == 4 / 32
    assert read_mask(path, naming(YELLOW, RED)).mean() == 6 / 32
    indices = marked((np.s_[5:9], 1), (np.s_[20:22], 2))[..., 0]
    palette = indexed(tmp_path / "b.png", indices, {0: (0, 0, 0), 1: YELLOW, 2: RED})
    assert read_mask(palette, naming(RED)).mean() == 2 / 32
    assert read_mask(palette, naming((2,))).mean() == 2 / 32


def test_two_values_are_refused_until_one_is_named(tmp_path: Path) -> None:
    """Grey, also where three channels hold it."""
    path = picture(tmp_path / "a.png", marked((np.s_[5:9], 1), (np.s_[20:22], 2)))
    assert "values {0, 1, 2}: which of them are landslide?; name them" in refusal(path, lambda p: read_mask(p, RGB))
    assert read_mask(path, naming((2,))).mean() == 2 / 32
    threefold = picture(tmp_path / "b.png", marked((np.s_[5:9], 1), (np.s_[20:22], 2), channels=3))
    assert read_mask(threefold, naming((1,), (2,))).mean() == 6 / 32


def test_a_colour_is_not_looked_for_in_a_grey_mask(tmp_path: Path) -> None:
    """Blue, (0, 0, 255), would begin with what background is."""
    path = picture(tmp_path / "a.png", marked((np.s_[5:9], 255)))
    line = refusal(path, lambda path: read_mask(path, naming((0, 0, 255))))
    assert "has one channel, where dataset.yaml names a colour of three; name its value there" in line


def test_a_large_mask_is_read(tmp_path: Path) -> None:
    """4 million pixels of one band; `bench/costs.py` says how long that takes."""
    mask = np.zeros((2048, 2048), np.uint8)
    mask[500:900, 300:1300] = 1
    path = array_file(tmp_path / "a.npy", mask)
    assert read_mask(path, GREY).sum() == 400 * 1000


@pytest.mark.parametrize("array", [np.array([[0.0, np.nan]]), np.array([[0, -1]]), np.array([[0.2, 0.7]])])
def test_masks_of_more_meanings_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    """NaN, what is below 0, and probabilities."""
    line = refusal(array_file(tmp_path / "a.npy", array), lambda path: read_mask(path, RGB))
    assert "which of them are landslide?" in line


@pytest.mark.parametrize("shape", [(32, 32, 2), (2, 32, 32), (32, 32, 5), (2, 32, 32, 3), (4, 32, 32)])
def test_masks_of_other_channels_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    """One channel a class is none of the forms: which one is landslide is not known, nor is any an opacity."""
    line = refusal(array_file(tmp_path / "a.npy", np.zeros(shape, np.uint8)), lambda path: read_mask(path, RGB))
    assert line.endswith("; write one band: 1 where a landslide is, 0 elsewhere")


@pytest.mark.parametrize("name", ["a.jpg", "jpeg_inside.png"])
def test_what_jpeg_blurred_is_black_or_white(name: str, tmp_path: Path) -> None:
    """By what is in the file, not by its ending: the edges of a rectangle are where they were."""
    path = picture(tmp_path / "written.jpg", marked((np.s_[9:21, 5:18], 255))).rename(tmp_path / name)
    assert len(np.unique(read_array(path))) > 2
    np.testing.assert_array_equal(read_mask(path, RGB), marked((np.s_[9:21, 5:18], 1))[..., 0])


def test_colours_that_jpeg_blurred_are_told_by_name(tmp_path: Path) -> None:
    """Each pixel that is nearer to a named colour than halfway to black; without names they are refused."""
    two = marked((np.s_[0:8], YELLOW), (np.s_[16:24], RED), channels=3)
    path = picture(tmp_path / "a.jpg", two)
    line = refusal(path, lambda path: read_mask(path, RGB))
    assert "a JPEG of colours: which of them is landslide?; name it in dataset.yaml, such as mask: {landsl" in line
    # Whole blocks of 8 pixels are one colour: nothing runs from one into the next. From red to yellow it is 255, more
    # than half of the way from yellow to black, 361 / 2.
    assert read_mask(path, naming(YELLOW)).mean() == 8 / 32
    assert read_mask(path, naming(RED)).mean() == 8 / 32
    assert read_mask(path, naming(YELLOW, RED)).mean() == 16 / 32


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    """With and without squares: both sizes are named."""
    files = PatchFiles("a", picture(tmp_path / "a.png", noise(40, 48, 3)), tmp_path / "m.png")
    picture(tmp_path / "m.png", np.eye(48, dtype=np.uint8))
    for tile in (None, 16):
        with pytest.raises(DataError, match=r"40 x 48 pixels, where .* has 48 x 48; cut all patches to one size") as no:
            pack_split("train", [files], tmp_path, Sensor("RGB", RGB.bands, tile=tile), fill=None)
        assert "\n" not in str(no.value)


def written(name: str) -> bytes:
    """The bytes of a sound file of 60 x 50 pixels of three bands."""
    image = noise(60, 50, 3)
    if name.endswith(".npy"):
        held = io.BytesIO()
        np.save(held, image)
        return held.getvalue()
    if name.endswith(".tif"):
        with rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", height=60, width=50, count=3, dtype="uint8") as file:
                file.write(np.moveaxis(image, -1, 0))
            return bytes(memory.read())
    return bytes(cv2.imencode(name[-4:], image)[1])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.npy"])
def test_truncated_files_are_refused(name: str, tmp_path: Path) -> None:
    """At twenty places from the first byte to shortly before the end: nothing is filled up in silence."""
    content, path = written(name), tmp_path / name
    for length in np.linspace(0, len(content) - 40, 20).astype(int).tolist():
        path.write_bytes(content[:length])
        line = refusal(path, lambda path: read_image(path, RGB))
        assert line.endswith("; replace it by an intact copy")
    path.write_bytes(content)
    assert read_image(path, RGB).shape == (60, 50, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_what_is_no_picture_is_refused(name: str, tmp_path: Path) -> None:
    """Text, nothing, and the files by which GDAL would be led elsewhere: told by their first bytes."""
    canary = tmp_path / "canary.png"
    picture(canary, noise(20, 30))
    path = tmp_path / name
    source = f'<SimpleSource><SourceFilename relativeToVRT="0">{canary}</SourceFilename></SimpleSource>'
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    for content in (
        "",
        "no picture\n",
        f'<VRTDataset rasterXSize="30" rasterYSize="20">{band}</VRTDataset>',
        "<GDAL_WMS><Service name='TMS'><ServerUrl>http://localhost:9/</ServerUrl></Service></GDAL_WMS>",
        "/vsicurl/http://localhost:9/a.tif",
        str(canary),
    ):
        path.write_text(content)
        for read in (lambda path: read_image(path, GREY), lambda path: read_mask(path, GREY), raster_size):
            assert "neither TIFF, PNG nor JPEG; replace it by an intact copy" in refusal(path, read)


def test_nothing_beside_a_picture_is_read(tmp_path: Path) -> None:
    """Side-cars and overviews, which GDAL looks for, change nothing: here they would make 7 nodata, and hide a mask."""
    path = raster(tmp_path / "a.tif", np.full((20, 30, 1), 7, np.uint8))
    side = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>'
    (tmp_path / "a.tif.aux.xml").write_text(side)
    raster(tmp_path / "a.tif.msk", np.zeros((20, 30, 1), np.uint8))
    with rasterio.open(path) as file:
        assert file.nodata == 7, "GDAL does take it by itself"
    assert (read_image(path, GREY) == 7).all()


def test_a_name_is_a_file_and_no_way_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL knows schemes and virtual paths: of a patch that is called so, nothing but the file is opened."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "canary.png", noise(20, 30))
    for name in ("/vsizip/canary.zip/canary.png", "zip://canary.png", "GTIFF_DIR:1:canary.png", "file:canary.png"):
        with pytest.raises(DataError, match="cannot be read: No such file or directory"):
            read_image(Path(name), GREY)


@pytest.mark.parametrize("name", ["a.png", "a.npy"])
@pytest.mark.parametrize("read", [read_array, look])
def test_a_pipe_is_not_waited_for(name: str, read: Callable[[Path], np.ndarray], tmp_path: Path) -> None:
    """A file that is none, of which bytes might never come."""
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in refusal(tmp_path / name, read)
    if name == "a.png":
        assert "not a regular file" in refusal(tmp_path / name, raster_size)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self._target),)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    """Neither as the whole file nor as the objects of an array."""
    bomb = Bomb(tmp_path / "exploded")
    path = tmp_path / "a.npy"
    path.write_bytes(pickle.dumps(bomb))
    assert "not an array as numpy.save writes it; replace it by an intact copy" in refusal(path, read_array)
    np.save(path, np.array([bomb], object), allow_pickle=True)
    assert "cannot be read: Array can't be memory-mapped: Python objects" in refusal(path, read_array)
    np.savez(tmp_path / "a.npz", np.zeros(3))
    (tmp_path / "a.npz").rename(path)
    assert "not an array as numpy.save writes it" in refusal(path, read_array)
    assert not (tmp_path / "exploded").exists()


def header(text: str) -> bytes:
    """The beginning of a NumPy file whose header is `text`."""
    padded = f"{text}\n".encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


@pytest.mark.parametrize(
    "text",
    [
        # 8 x 1,000,000 x 13,422 bytes are 100 GiB.
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 13422)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000000000, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, 4)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4)}",
        "{'descr': '<f9', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': '<U4', 'fortran_order': False, 'shape': (1, 4)}",
        "{'descr': '<c16', 'fortran_order': False, 'shape': (1, 4)}",
        "{'descr': '''<f8",
        "{'descr': \0",
        "(" * 500,
        "-" * 9000 + "1",
    ],
)
def test_what_a_header_declares_is_not_believed(text: str, tmp_path: Path) -> None:
    """More than there is, no numbers, or nonsense: one line, and at once."""
    path = tmp_path / "a.npy"
    path.write_bytes(header(text) + bytes(64))
    assert refusal(path, read_array).startswith(f"file {path}: ")


def test_100_gib_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """In a TIFF of less than a megabyte, in which nothing was written, and in a NumPy file that is that long."""
    path = tmp_path / "a.tif"
    blocks = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True, "bigtiff": "yes"}
    with rasterio.open(path, "w", driver="GTiff", height=330_000, width=330_000, count=1, dtype="uint8", **blocks):
        pass
    assert path.stat().st_size < 10**6
    # 330,000 ** 2, and eight times as many bytes.
    says = "declares 108,900,000,000 values, which take 871,200,000,000 bytes in memory, limit 4,294,967,296; cut it"
    assert says in refusal(path, read_array)
    long = tmp_path / "a.npy"
    with long.open("wb") as file:
        file.write(header("{'descr': '|u1', 'fortran_order': False, 'shape': (330000, 330000)}"))
        file.truncate(108_900_000_000 + 200)
    assert says in refusal(long, read_array)


def test_a_small_type_is_counted_as_what_it_takes_in_memory(tmp_path: Path) -> None:
    """13,400 ** 2 pixels of three bytes are 539 million values: .5 GiB in the file, and 4.01 as float64."""
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(header("{'descr': '|u1', 'fortran_order': False, 'shape': (13400, 13400, 3)}"))
        file.truncate(13_400**2 * 3 + 200)
    assert "declares 538,680,000 values, which take 4,309,440,000 bytes in memory" in refusal(path, read_array)


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_values_are_refused(dtype: str, tmp_path: Path) -> None:
    """Single-look radar images are of them; NumPy has no name for one of the two."""
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=9, width=9, count=1, dtype=dtype):
        pass
    line = refusal(tmp_path / "a.tif", read_array)
    assert f"holds {dtype}, not numbers; write it as integers or floats" in line


def test_look_takes_the_shortest_axis_for_the_bands(tmp_path: Path) -> None:
    """Whatever the format; what is no image is refused."""
    image = noise(20, 30, 5).astype("float32")
    image[0, 0, :2] = np.inf, np.nan
    expected = np.where(np.isfinite(image), image, np.nan)
    np.testing.assert_array_equal(look(array_file(tmp_path / "a.npy", image)), expected)
    np.testing.assert_array_equal(look(array_file(tmp_path / "b.npy", np.moveaxis(image, -1, 0))), expected)
    np.testing.assert_array_equal(look(raster(tmp_path / "c.tif", image)), expected)
    assert look(array_file(tmp_path / "d.npy", image[..., 0])).shape == (20, 30, 1)
    for shape in ((5,), (), (2, 3, 4, 5)):
        line = refusal(array_file(tmp_path / "e.npy", np.zeros(shape)), look)
        assert f"has shape {shape}, expected (H, W, C)" in line


def test_a_mask_of_shares_means_landslide_from_a_value_on(tmp_path: Path) -> None:
    """At the value too, of floating point and of greys, in one channel or three alike; other values may be ignored."""
    shares = np.array([[0, 0.25, 0.49], [0.5, 0.75, 1]], np.float32)
    halves = replace(GREY, at_least=0.5)
    for path in (array_file(tmp_path / "m.npy", shares), raster(tmp_path / "m.tif", shares[..., None])):
        np.testing.assert_array_equal(read_mask(path, halves), [[0, 0, 0], [1, 1, 1]])
    greys = np.array([[0, 127, 255], [128, 1, 200]], np.uint8)
    for array in (greys, np.repeat(greys[..., None], 3, axis=-1)):
        path = picture(tmp_path / "m.png", array)
        np.testing.assert_array_equal(read_mask(path, replace(GREY, at_least=128)), [[0, 0, 1], [1, 0, 1]])
        ignoring = replace(GREY, at_least=128, ignore=((255,),))
        np.testing.assert_array_equal(read_mask(path, ignoring), [[0, 0, 2], [1, 0, 1]])
        assert Sensor.from_dict(ignoring.to_dict()) == ignoring


def test_a_mask_of_shares_has_no_colours_and_no_holes(tmp_path: Path) -> None:
    """Nobody could say on which side of the value they are."""
    halves = replace(GREY, at_least=0.5)
    red = picture(tmp_path / "red.png", marked((slice(8), RED), channels=3))
    assert "has colours, where dataset.yaml says at_least" in refusal(red, lambda path: read_mask(path, halves))
    holes = array_file(tmp_path / "holes.npy", np.array([[0.1, np.nan], [np.nan, 0.9]]))
    line = refusal(holes, lambda path: read_mask(path, halves))
    assert "has 2 values that are not finite, where dataset.yaml says at_least; write numbers alone" in line


def test_bytes_that_gdal_quotes_print_no_traceback(tmp_path: Path) -> None:
    """XML of a TIFF's tag that begins with bytes that are no UTF-8: the picture is read without a word."""
    path = tmp_path / "quoted.tif"
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.ones((1, 8, 8), np.uint8))
        file.update_tags(NAME="value")
    content = path.read_bytes()
    assert b"<GDALMetadata" in content
    path.write_bytes(content.replace(b"<GDALMetadata", b"<\x80\x80\x80ALMetadata"))
    code = "import sys; from pathlib import Path; from lsml.data.formats import opened\n"
    code += "with opened(Path(sys.argv[1])) as file: print(file.read().sum())"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("64\n", "")
