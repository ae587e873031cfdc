"""Packs: contents, fingerprints, replaced values, and what happens when files or processes break."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from lsml.data import pack as pack_module
from lsml.data.holdout import training_splits
from lsml.data.layout import PatchFiles
from lsml.data.pack import PackedSplit
from lsml.data.packing import arrays, pack_split
from lsml.data.splits import TrainingData
from lsml.errors import DataError
from tests.bands import BANDS, CONSTANTS, N_BANDS, PATCH_SHAPE, PATCH_SIZE, SENSOR, SLOPE
from tests.data.conftest import integers_of
from tests.patches import describe_patches
from tests.processes import PATIENCE, wait_until

BAND = np.array(CONSTANTS)
FILES = ("images.npy", "masks.npy", "manifest.json")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(pack_module.__file__).parents[2])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test's patches lie."""
    return tmp_path / "data"


def files_of(folder: Path, numbers: Sequence[int]) -> tuple[PatchFiles, ...]:
    return tuple(PatchFiles(f"image_{k}", folder / f"img/image_{k}.h5", folder / f"mask/mask_{k}.h5") for k in numbers)


def write_all(folder: Path, write_patch, numbers: Sequence[int], **arrays: np.ndarray) -> tuple[PatchFiles, ...]:
    for number in numbers:
        write_patch(folder / "img", folder / "mask", number, **arrays)
    return files_of(folder, numbers)


def refusal(act) -> str:
    with pytest.raises(DataError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_integers_over_constants_are_packed_as_uint16(tmp_path: Path, folder: Path, write_patch) -> None:
    """The published format: two bytes a value, 459 kB a patch; values back to float32 precision, masks as they were."""
    files = write_all(folder, write_patch, [2, 3, 10])
    pack = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    assert pack.dtype == np.uint16
    assert (pack.name, len(pack), pack.ids) == ("train", 3, ("image_2", "image_3", "image_10"))
    assert (pack.path / "images.npy").stat().st_size < 3 * PATCH_SIZE**2 * N_BANDS * 2 + 1000
    for index, number in enumerate([2, 3, 10]):
        integers = integers_of(number)
        image = pack.image(index)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, (integers / BAND).astype(np.float32))
        np.testing.assert_array_equal(np.rint(image.astype(np.float64) * BAND), integers)
        mask = pack.mask(index)
        assert mask.dtype == np.uint8
        assert mask.sum() == number * PATCH_SIZE  # the first `number` rows
    np.testing.assert_allclose(pack.landslide_fractions, np.array([2, 3, 10]) / PATCH_SIZE)
    assert pack.nonfinite == {band.name: 0 for band in BANDS}
    pack.verify()


def test_other_values_are_packed_as_float32(tmp_path: Path, folder: Path, write_patch) -> None:
    """One value that is no integer over its constant, in the last patch, makes the whole pack float32."""
    files = write_all(folder, write_patch, [1, 2])
    odd = integers_of(3) / BAND
    odd[90, 90, -1] += 0.25 / CONSTANTS[-1]
    write_patch(folder / "img", folder / "mask", 3, image=odd)
    pack = pack_split("train", [*files, *files_of(folder, [3])], tmp_path / "cache", SENSOR, fill=None)
    assert pack.dtype == np.float32
    np.testing.assert_array_equal(pack.image(2), odd.astype(np.float32))
    np.testing.assert_array_equal(pack.image(0), (integers_of(1) / BAND).astype(np.float32))
    pack.verify()


def test_batch_has_the_shapes_that_a_network_takes(tmp_path: Path, folder: Path, write_patch) -> None:
    """In the order asked for, repeats included, and writable."""
    pack = pack_split("train", write_all(folder, write_patch, [1, 2, 3]), tmp_path / "cache", SENSOR, fill=None)
    images, masks = pack.batch([2, 0, 2, 1])
    assert (images.shape, images.dtype) == ((4, *PATCH_SHAPE), np.float32)
    assert (masks.shape, masks.dtype) == ((4, PATCH_SIZE, PATCH_SIZE, 1), np.float32)
    for place, index in enumerate([2, 0, 2, 1]):
        np.testing.assert_array_equal(images[place], pack.image(index))
        np.testing.assert_array_equal(masks[place, ..., 0], pack.mask(index))
    images[:] = 0
    pack.image(0)[:] = 0
    assert pack.image(0).any()


@pytest.mark.parametrize("whole", [True, False])
def test_nan_and_inf_become_the_median_of_train(tmp_path: Path, folder: Path, write_patch, whole: bool) -> None:
    """Slope of two train patches is half 10 and half 20, and 30 where it is finite; the lower median is 20.

    The counts of 128 x 128: patch 1 has 8,192 of 10 and 8,192 of 20; patch 2 has 90 NaN, 38 inf and 16,256 of 30. Of
    32,640 finite values number 16,319 (from 0) is the lower middle: 8,192 tens, then twenties up to 16,383. So 20.
    """
    off = 0.0 if whole else 0.25
    first, second = np.full(PATCH_SHAPE, 7.0), np.full(PATCH_SHAPE, 7.0)
    half = PATCH_SIZE // 2
    first[:half, :, SLOPE], first[half:, :, SLOPE] = 10 + off, 20 + off
    second[:, :, SLOPE] = 30 + off
    second[0, :90, SLOPE], second[0, 90:, SLOPE] = np.nan, np.inf
    write_patch(folder / "img", folder / "mask", 1, image=first / BAND)
    write_patch(folder / "img", folder / "mask", 2, image=second / BAND)
    train = pack_split("train", files_of(folder, [1, 2]), tmp_path / "cache", SENSOR, fill=None)
    assert train.dtype == (np.uint16 if whole else np.float32)
    assert train.nonfinite == {band.name: PATCH_SIZE if band.name == "slope" else 0 for band in BANDS}
    median = (20 + off) / BAND[SLOPE]
    assert train.statistics.median[SLOPE] == pytest.approx(median, rel=1e-7)
    np.testing.assert_allclose(train.image(1)[0, :, SLOPE], median, rtol=1e-7)
    np.testing.assert_allclose(train.image(1)[1:, :, SLOPE], (30 + off) / BAND[SLOPE], rtol=1e-7)
    # the replaced values are not in the statistics: of 128 x 128, (8192 * 10 + 8192 * 20 + 16256 * 30) / 32640
    halves, rest = PATCH_SIZE**2 // 2, PATCH_SIZE**2 - PATCH_SIZE
    mean = (halves * 10 + halves * 20 + rest * 30) / (2 * halves + rest) + off
    assert train.statistics.mean[SLOPE] == pytest.approx(mean / BAND[SLOPE], rel=1e-7)

    third = np.full(PATCH_SHAPE, 50.0)
    third[5, 5, SLOPE] = -np.inf
    write_patch(folder / "img", folder / "mask", 3, image=third / BAND)
    validation = pack_split(
        "validation", files_of(folder, [3]), tmp_path / "cache", SENSOR, fill=train.statistics.median
    )
    assert validation.dtype == train.dtype
    assert validation.image(0)[5, 5, SLOPE] == np.float32(median)
    assert validation.image(0)[5, 4, SLOPE] == np.float32(50 / BAND[SLOPE])
    assert validation.nonfinite["slope"] == 1


def test_values_beyond_float32_are_not_finite(tmp_path: Path, folder: Path, write_patch) -> None:
    """1e300 would be inf in the float32 that a network takes: it is replaced and counted like one."""
    image = np.full(PATCH_SHAPE, 0.123456)
    image[0, 0, 0] = 1e300
    pack = pack_split("train", write_all(folder, write_patch, [1], image=image), tmp_path / "cache", SENSOR, fill=None)
    assert pack.nonfinite[BANDS[0].name] == 1
    assert pack.image(0)[0, 0, 0] == np.float32(0.123456)


def test_train_band_without_finite_values_is_refused_and_leaves_nothing(
    tmp_path: Path, folder: Path, write_patch
) -> None:
    """Nothing incomplete stays where packs are looked for."""
    image = np.ones(PATCH_SHAPE)
    image[..., 0] = np.nan
    files = write_all(folder, write_patch, [1], image=image)
    line = refusal(lambda: pack_split("train", files, tmp_path / "cache", SENSOR, fill=None))
    assert f"{BANDS[0].name}: no finite value" in line
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] in ([], [".lock"])


def test_unchanged_files_open_the_pack_that_is_there(tmp_path: Path, folder: Path, write_patch) -> None:
    """The second call reads and writes nothing; a file that changed makes a new pack."""
    files = write_all(folder, write_patch, [1, 2])
    calls: list[tuple[str, int, int]] = []

    def note(what: str, done: int, total: int) -> None:
        calls.append((what, done, total))

    first = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None, progress=note)
    assert calls == [("train", 1, 2), ("train", 2, 2)]
    written = (first.path / "manifest.json").stat().st_mtime_ns
    second = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None, progress=note)
    assert len(calls) == 2
    assert second.path == first.path
    assert (second.path / "manifest.json").stat().st_mtime_ns == written

    image = integers_of(2)
    image[7, 7, -1] += 1
    times = {path: path.stat() for path in (files[1].image, files[1].mask)}
    write_patch(folder / "img", folder / "mask", 2, image=image / BAND)
    for path, status in times.items():  # as copying tools do
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    assert third.path != first.path
    assert third.fingerprint != first.fingerprint


def test_fingerprint_is_of_the_content_alone(tmp_path: Path, folder: Path, write_patch) -> None:
    """Equal for the same content in another folder at another time; different by a pixel, a mask, an id, an order."""
    files = write_all(folder, write_patch, [1, 2])
    first = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    os.utime(elsewhere / "img/image_1.h5", (1, 1))
    again = pack_split("train", files_of(elsewhere, [1, 2]), tmp_path / "other", SENSOR, fill=None)
    assert again.path.name != first.path.name
    assert again.fingerprint == first.fingerprint
    assert len(first.fingerprint) == 64

    def changed(**arrays: np.ndarray) -> str:
        write_patch(elsewhere / "img", elsewhere / "mask", 2, **arrays)
        return pack_split("train", files_of(elsewhere, [1, 2]), tmp_path / "other", SENSOR, fill=None).fingerprint

    image = integers_of(2)
    image[7, 7, -1] += 1
    mask = np.zeros(PATCH_SHAPE[:2], np.uint8)
    mask[:2], mask[9, 9] = 1, 1
    renamed = (files[0], files[1]._replace(id="image_9"))
    prints = [
        first.fingerprint,
        changed(image=image / BAND),
        changed(mask=mask),
        pack_split("train", renamed, tmp_path / "names", SENSOR, fill=None).fingerprint,
        pack_split("train", files[::-1], tmp_path / "cache", SENSOR, fill=None).fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_pack_survives_pickling_as_its_path(tmp_path: Path, folder: Path, write_patch) -> None:
    """What goes to a worker is a path, however large the split."""
    pack = pack_split("train", write_all(folder, write_patch, [1, 2]), tmp_path / "cache", SENSOR, fill=None)
    data = pickle.dumps(pack)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert isinstance(copy, PackedSplit)
    assert copy.fingerprint == pack.fingerprint
    np.testing.assert_array_equal(copy.image(1), pack.image(1))


@pytest.mark.parametrize("name", FILES)
def test_truncated_pack_is_refused_and_made_again(tmp_path: Path, folder: Path, write_patch, name: str) -> None:
    """Cut at 20 places, each file is refused in one line when opened; packing again repairs it."""
    files = write_all(folder, write_patch, [1])
    pack = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    path = pack.path / name
    content = path.read_bytes()
    for size in np.linspace(0, len(content) - 1, 20).astype(int).tolist():
        path.write_bytes(content[:size])
        assert str(pack.path) in refusal(lambda: PackedSplit(pack.path))
    again = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    assert again.path == pack.path
    assert again.fingerprint == pack.fingerprint
    again.verify()
    path.unlink()
    refusal(lambda: PackedSplit(pack.path))


@pytest.mark.parametrize("name", FILES[:2])
def test_flipped_bit_is_found_by_its_checksum(tmp_path: Path, folder: Path, write_patch, name: str) -> None:
    """Row 4: the size is right, the content is not; whoever asks for the pack, as every training does, is told."""
    files = write_all(folder, write_patch, [1])
    pack = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    content = bytearray((pack.path / name).read_bytes())
    content[-1000] ^= 1
    (pack.path / name).write_bytes(content)
    for ask in (PackedSplit(pack.path).verify, lambda: pack_split("train", files, pack.path.parent, SENSOR, fill=None)):
        assert f"{name}: checksum differs from the manifest" in refusal(ask)


def test_changed_manifest_is_refused_when_opened(tmp_path: Path, folder: Path, write_patch) -> None:
    """Row 4: the statistics in it scale every input, so a changed digit must not pass."""
    pack = pack_split("train", write_all(folder, write_patch, [1]), tmp_path / "cache", SENSOR, fill=None)
    path = pack.path / "manifest.json"
    tree = json.loads(path.read_text())
    tree["pack"]["statistics"]["mean"][3] += 1e-9
    path.write_text(json.dumps(tree))
    assert "checksum differs" in refusal(lambda: PackedSplit(pack.path))
    for content in ("[]", "{}", '{"pack": 3}', "null"):
        path.write_text(content)
        assert "describes no pack" in refusal(lambda: PackedSplit(pack.path))


PACK = """
import sys
from pathlib import Path
from lsml.data.layout import PatchFiles
from lsml.data.packing import arrays, pack_split
from tests.bands import SENSOR
folder, cache, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
files = [PatchFiles(f"image_{k}", folder / f"img/image_{k}.h5", folder / f"mask/mask_{k}.h5") for k in range(1, n + 1)]
print("ready", flush=True)
sys.stdin.readline()
pack = pack_split("train", files, cache, SENSOR, fill=None, progress=lambda *call: print(*call, flush=True))
print("fingerprint", pack.fingerprint, flush=True)
"""


def packing_process(folder: Path, cache: Path, n: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", PACK, folder, cache, str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("after", [1, 4])
def test_killed_while_packing_then_packed_again(tmp_path: Path, folder: Path, write_patch, after: int) -> None:
    """SIGKILL in the middle leaves nothing under a pack's name; the next start cleans up and ends with a good one."""
    files = write_all(folder, write_patch, [1, 2, 3, 4])
    expected = pack_split("train", files, tmp_path / "reference", SENSOR, fill=None)
    cache = tmp_path / "cache"
    process = packing_process(folder, cache, 4)
    process.stdin.write("\n")
    process.stdin.flush()
    for done in range(1, after + 1):
        assert process.stdout.readline() == f"train {done} 4\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = {path.name for path in cache.iterdir()}
    assert any(name.endswith(".partial") for name in left) or expected.path.name in left
    pack = pack_split("train", files, cache, SENSOR, fill=None)
    pack.verify()
    assert pack.fingerprint == expected.fingerprint
    assert {path.name.removesuffix(".lock") for path in cache.iterdir()} == {pack.path.name}


def test_two_processes_share_one_pack(tmp_path: Path, folder: Path, write_patch) -> None:
    """Started at the same time, both end with the same good pack, and only one of them made it."""
    write_all(folder, write_patch, [1, 2, 3])
    cache = tmp_path / "cache"
    processes = [packing_process(folder, cache, 3) for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len({output.splitlines()[-1] for output in outputs}) == 1
    assert sum(output.count("train 3 3") for output in outputs) == 1
    (path,) = [path for path in cache.iterdir() if path.is_dir()]
    PackedSplit(path).verify()


MANY = {"_VALUES_A_PROCESS": 1, "_VALUES_A_BLOCK": 1, "cpu_count": lambda: 2}
"""Every patch is worth a process, of which there are two, and comes to it by itself."""

IN_PROCESSES = PACK.replace("print(*call, flush=True)", "(print(*call, flush=True), sys.stdin.readline())").replace(
    'print("ready", flush=True)',
    "from lsml.data.packing import arrays\n"
    "arrays._VALUES_A_PROCESS = arrays._VALUES_A_BLOCK = 1\n"
    "arrays.cpu_count = lambda: 2\n"
    'print("ready", flush=True)',
)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, packs are made by two processes."""

    def begin() -> None:
        for name, value in MANY.items():
            monkeypatch.setattr(arrays, name, value)

    return begin


def packing_in_processes(folder: Path, cache: Path, n: int) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """A process that has packed one patch and waits to go on, and the two that pack for it, then the one that reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_PROCESSES, folder, cache, str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"train 1 {n}\n"
    found: list[psutil.Process] = []

    def three() -> bool:
        found[:] = psutil.Process(process.pid).children(recursive=True)
        return len(found) == 3

    wait_until(three)
    # The size of the first patch was read before any was packed.
    reader, *helpers = sorted(found, key=psutil.Process.create_time)
    helpers.append(reader)
    return process, helpers


@pytest.mark.parametrize("kind", ["integers", "others"])
def test_several_processes_make_the_same_pack(
    tmp_path: Path, folder: Path, write_patch, many: Callable[[], None], kind: str
) -> None:
    """To the last byte, with NaN to fill in the third patch, and progress after each."""
    image = integers_of(3) / BAND
    image[:9, :, -1] = np.nan
    image[0, 0, 0] += 1e-3 if kind == "others" else 0
    files = write_all(folder, write_patch, [1, 2, 3, 4, 5])
    write_patch(folder / "img", folder / "mask", 3, image=image)
    alone = pack_split("train", files, tmp_path / "alone", SENSOR, fill=None)
    many()
    calls: list[tuple[str, int, int]] = []
    pack = pack_split("train", files, tmp_path / "many", SENSOR, fill=None, progress=lambda *call: calls.append(call))
    assert calls[-5:] == [("train", done, 5) for done in range(1, 6)]
    for name in FILES:
        assert (pack.path / name).read_bytes() == (alone.path / name).read_bytes()


def test_the_first_broken_patch_is_named_whoever_reads_it(
    tmp_path: Path, folder: Path, write_patch, many: Callable[[], None]
) -> None:
    """Patches 2 and 3 are, each read by another process: the line names 2, no pack is left, and no process."""
    files = write_all(folder, write_patch, [1, 2, 3, 4])
    for patch in files[1:3]:
        os.truncate(patch.image, 100_000)
    many()
    before = psutil.Process().children()
    line = refusal(lambda: pack_split("train", files, tmp_path / "cache", SENSOR, fill=None))
    assert f"{files[1].image}: truncated: 100000 of" in line
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert psutil.Process().children() == before


def test_images_that_are_cut_are_read_by_one_process(
    tmp_path: Path, folder: Path, write_patch, many: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is held as a whole, and may be large: two at once need not fit in memory."""
    monkeypatch.setattr(arrays, "in_order", None)
    many()
    files = write_all(folder, write_patch, [1])
    assert len(pack_split("train", files, tmp_path / "cache", replace(SENSOR, tile=64), fill=None)) == 4


def test_processes_end_with_the_one_that_they_pack_for(tmp_path: Path, folder: Path, write_patch) -> None:
    """It is killed, so it can tell them nothing; the next start makes the pack as if nothing had been."""
    files = write_all(folder, write_patch, range(1, 13))
    process, helpers = packing_in_processes(folder, tmp_path / "cache", 12)
    with process:
        process.kill()
    assert psutil.wait_procs(helpers, timeout=PATIENCE)[1] == []
    pack = pack_split("train", files, tmp_path / "cache", SENSOR, fill=None)
    pack.verify()
    assert pack.fingerprint == pack_split("train", files, tmp_path / "other", SENSOR, fill=None).fingerprint
    assert {path.name.removesuffix(".lock") for path in (tmp_path / "cache").iterdir()} == {pack.path.name}


def test_a_process_that_is_killed_ends_packing_in_one_line(tmp_path: Path, folder: Path, write_patch) -> None:
    """As where memory runs out: the other one ends too, and no pack is left."""
    write_all(folder, write_patch, range(1, 13))
    process, helpers = packing_in_processes(folder, tmp_path / "cache", 12)
    helpers[0].kill()
    _, errors = process.communicate("\n" * 12, timeout=PATIENCE)
    assert errors.splitlines()[-1].endswith(
        "packing: one of its processes was killed by signal 9; run the same command again"
    )
    assert psutil.wait_procs(helpers, timeout=PATIENCE)[1] == []
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_an_interruption_ends_all_processes(tmp_path: Path, folder: Path, write_patch) -> None:
    """A terminal sends it to a whole group, of which the others are none: only one of them speaks."""
    write_all(folder, write_patch, range(1, 13))
    process, helpers = packing_in_processes(folder, tmp_path / "cache", 12)
    assert all(os.getpgid(helper.pid) != os.getpgid(process.pid) for helper in helpers)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1
    assert psutil.wait_procs(helpers, timeout=PATIENCE)[1] == []
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("script", [PACK, IN_PROCESSES])
def test_full_disk_says_so_and_leaves_nothing(tmp_path: Path, folder: Path, write_patch, script: str) -> None:
    """A limit on the size of files stands for the disk: the kernel refuses the write in the same place."""
    write_all(folder, write_patch, [1, 2])
    # Packed in two bytes each, one patch fits, and two do not.
    values = PATCH_SIZE**2 * N_BANDS
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({3 * values}, {3 * values}))\n"
    result = subprocess.run(
        [sys.executable, "-c", limited + script, folder, tmp_path / "cache", "2"],
        input="\n" * 3,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert result.returncode != 0
    last = result.stderr.splitlines()[-1]
    # two patches of 128 * 128 * 14 * 2 + 128 * 128 bytes, 950,272 in all
    size = 2 * (2 * values + PATCH_SIZE**2)
    assert "DataError" in last
    assert f"{tmp_path / 'cache'}/train-" in last
    assert f"File too large (a pack of 2 patches takes {size:,} bytes or more)" in last
    assert [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == []


def test_broken_patch_is_named_and_nothing_is_left(tmp_path: Path, folder: Path, write_patch) -> None:
    """The line names the file, and the next start finds no half a pack."""
    files = write_all(folder, write_patch, [1, 2])
    os.truncate(files[1].image, 100_000)
    line = refusal(lambda: pack_split("train", files, tmp_path / "cache", SENSOR, fill=None))
    assert f"{files[1].image}: truncated: 100000 of" in line
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_files_that_change_meanwhile_are_refused(tmp_path: Path, folder: Path, write_patch) -> None:
    """A pack must not stand for files that it does not hold."""
    files = write_all(folder, write_patch, [1, 2])

    def change(name: str, done: int, total: int) -> None:
        if done == 2:
            write_patch(folder / "img", folder / "mask", 1, mask=np.zeros(PATCH_SHAPE[:2], np.uint8))

    line = refusal(lambda: pack_split("train", files, tmp_path / "cache", SENSOR, fill=None, progress=change))
    assert "its files changed while they were packed" in line
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_splits_without_patches_files_or_masks_are_refused(tmp_path: Path, folder: Path, write_patch) -> None:
    """Each in its own words."""
    assert "no patches" in refusal(lambda: pack_split("train", [], tmp_path / "cache", SENSOR, fill=None))
    (patch,) = write_all(folder, write_patch, [1])
    unmasked = [patch._replace(mask=None)]
    assert "image_1: no mask" in refusal(lambda: pack_split("train", unmasked, tmp_path / "cache", SENSOR, fill=None))
    patch.image.unlink()
    assert "image_1.h5: cannot be read" in refusal(
        lambda: pack_split("train", [patch], tmp_path / "cache", SENSOR, fill=None)
    )
    assert "no manifest.json" in refusal(lambda: PackedSplit(tmp_path / "nowhere"))


def test_prepare_gives_train_validation_and_statistics(tmp_path: Path, folder: Path, write_patch) -> None:
    """A bare pair of five: train 1 to 3 (round(3.5) = 4 leaves none for test), validation 4; nothing of patch 5."""
    write_all(folder, write_patch, [1, 2, 3, 4, 5])
    describe_patches(folder)
    data = TrainingData.prepare(folder, tmp_path / "cache")
    assert data.train.ids == ("image_1", "image_2", "image_3")
    assert data.validation.ids == ("image_4",)
    assert data.source == training_splits(folder).source + SENSOR.remarks
    integers = [integers_of(k) for k in (1, 2, 3)]
    stored = np.concatenate(integers).reshape(-1, N_BANDS) / BAND
    np.testing.assert_allclose(data.statistics.mean, stored.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(data.statistics.std, stored.std(axis=0), rtol=1e-6)
    assert data.statistics == data.train.statistics
    pickled = pickle.dumps(data)
    assert len(pickled) < 9000
    copy = pickle.loads(pickled)
    assert isinstance(copy, TrainingData)
    assert copy.train.fingerprint == data.train.fingerprint


def test_memory_stays_at_a_few_patches(tmp_path: Path, folder: Path, write_patch) -> None:
    """120 patches, 220 MB as float64 of 14 bands, are packed with less than 40 MB on top of what 4 patches take."""
    write_all(folder, write_patch, range(1, 5))
    for number in range(5, 121):
        os.link(folder / f"img/image_{number % 4 + 1}.h5", folder / f"img/image_{number}.h5")
        os.link(folder / f"mask/mask_{number % 4 + 1}.h5", folder / f"mask/mask_{number}.h5")
    peak = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    peaks = []
    for n in (4, 120):
        command = [sys.executable, "-c", PACK + peak, folder, tmp_path / f"cache{n}", str(n)]
        output = subprocess.run(command, input="\n", capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
        peaks.append(int(output.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 40


@pytest.mark.skipif("LSML_REAL_DATA" not in os.environ, reason="LSML_REAL_DATA names no folder of real patches")
def test_real_patches_are_integers_and_come_back(tmp_path: Path) -> None:
    """The published files fit in uint16 without loss at float32 precision."""
    from lsml.data.formats import read_image, read_mask

    root = Path(os.environ["LSML_REAL_DATA"]) / "landslide4sense"
    data = TrainingData.prepare(root, tmp_path / "cache")
    splits = training_splits(root)
    assert data.train.dtype == data.validation.dtype == np.uint16
    for pack, files in ((data.train, splits.train), (data.validation, splits.validation)):
        pack.verify()
        assert sum(pack.nonfinite.values()) == 0
        for index, patch in enumerate(files):
            np.testing.assert_allclose(pack.image(index), read_image(patch.image, SENSOR), rtol=0, atol=1e-6)
            np.testing.assert_array_equal(pack.mask(index), read_mask(patch.mask, SENSOR))
