"""The synthetic dataset: its format, its physics, and that pixels alone do not give landslides away."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from lsml.data.domains import domains
from lsml.data.sealed import test_split as sealed_test_split
from lsml.data.splits import TrainingData
from lsml.data.synthetic import synthesize, synthetic_patch
from lsml.errors import ConfigError, DataError
from tests.bands import (
    CONSTANTS,
    ELEVATION,
    GREEN,
    NEAR_INFRARED,
    PATCH_SHAPE,
    PIXEL_METRES,
    RED,
    SHORT_WAVE_INFRARED_2,
    SLOPE,
)

pytestmark = pytest.mark.landslide4sense("synthetic patches have its published format")

SIZES = {"train": 48, "validation": 16, "test": 16}


@pytest.fixture(scope="module")
def splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Stored bands (N, H, W, 14) and masks (N, H, W) of each split of a small dataset."""
    patches = {split: [synthetic_patch(split, n + 1) for n in range(count)] for split, count in SIZES.items()}
    return {
        split: (np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn]))
        for split, drawn in patches.items()
    }


def datasets(folder: Path) -> dict[str, np.ndarray]:
    """Every dataset under a folder, by `path/in/folder:name`."""
    found = {}
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:
            found |= {f"{path.relative_to(folder)}:{name}": file[name][()] for name in file}
    return found


def test_files_have_the_format_of_landslide4sense(tmp_path: Path) -> None:
    """Names, dataset names, shapes, types and storage are those of the official files."""
    synthesize(tmp_path / "out", train=2, validation=1, test=1)
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.h5")) == [
        "TestData/img/image_1.h5",
        "TestData/mask/mask_1.h5",
        "TrainData/img/image_1.h5",
        "TrainData/img/image_2.h5",
        "TrainData/mask/mask_1.h5",
        "TrainData/mask/mask_2.h5",
        "ValidData/img/image_1.h5",
        "ValidData/mask/mask_1.h5",
    ]
    for kind, name, shape, dtype in (("img", "image", PATCH_SHAPE, "float64"), ("mask", "mask", (128, 128), "uint8")):
        with h5py.File(tmp_path / f"out/TrainData/{kind}/{name}_2.h5") as file:
            assert list(file) == [kind]
            assert (file[kind].shape, file[kind].dtype) == (shape, dtype)
            assert (file[kind].chunks, file[kind].compression) == (None, None)


def test_stored_values_are_integers_over_the_band_constants(splits: dict) -> None:
    """Multiplying by the constants gives back integers that fit in uint16, as with the real files."""
    for images, masks in splits.values():
        physical = images * np.array(CONSTANTS)
        # A double holds some 16 digits, so a product of a few thousand is exact to 1e-12.
        assert np.abs(physical - np.rint(physical)).max() < 1e-11
        assert physical.min() >= 0
        assert physical.max() <= 65_535
        assert set(np.unique(masks)) == {0, 1}


def test_the_seed_alone_decides_the_bytes(tmp_path: Path) -> None:
    """The same seed writes equal datasets, another seed other ones, and no two patches are the same."""
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        synthesize(tmp_path / name, train=2, validation=1, test=1, seed=seed)
    one, again, other = (datasets(tmp_path / name) for name in ("one", "again", "other"))
    assert list(one) == list(again) == list(other)
    assert all(one[key].tobytes() == again[key].tobytes() for key in one)
    images = [key for key in one if key.endswith(":img")]
    assert all(one[key].tobytes() != other[key].tobytes() for key in images)
    assert len({one[key].tobytes() for key in images}) == len(images) == 4


def test_a_patch_depends_on_no_other(tmp_path: Path) -> None:
    """A patch made alone equals the one in the files, so patches can be made in any order."""
    synthesize(tmp_path / "out", train=2, validation=1, test=1, seed=3)
    stored = datasets(tmp_path / "out")
    image, mask = synthetic_patch("train", 2, seed=3)
    np.testing.assert_array_equal(image, stored["TrainData/img/image_2.h5:img"])
    np.testing.assert_array_equal(mask, stored["TrainData/mask/mask_2.h5:mask"])


def test_patches_are_made_by_one_thread(tmp_path: Path) -> None:
    """Two threads take twice the time of one for matrices of 16,384 x 6 and 6 x 12; their number is given back."""
    counts: list[int] = []

    def count(_done: int = 0, _total: int = 0) -> None:
        counts.append(max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"))

    with threadpool_limits(2, "blas"):
        synthesize(tmp_path / "out", train=1, validation=1, test=1, progress=count)
        count()
    assert counts == [1, 1, 1, 2]


def test_slope_follows_from_elevation(splits: dict) -> None:
    """The slope band is that of the elevation band, but for the rounding of both to integers."""
    images, _ = splits["train"]
    physical = images * np.array(CONSTANTS)
    down, along = np.gradient(physical[..., ELEVATION], PIXEL_METRES, axis=(1, 2))
    slope = np.degrees(np.arctan(np.hypot(down, along)))
    error = np.abs(slope - physical[..., SLOPE])[:, 1:-1, 1:-1]
    # Elevations off by .5 m each put a central difference over 20 m off by at most .05 along each axis: at most
    # arctan(.05 * sqrt 2) = 4.05 degrees, and rounding the slope itself adds .5.
    assert error.max() <= 4.55
    assert error.mean() < 1


def test_landslides_lie_on_steep_ground(splits: dict) -> None:
    """Landslides avoid level ground, although their foot may run out onto gentle slopes."""
    images, masks = splits["train"]
    slope = images[..., SLOPE] * CONSTANTS[SLOPE]
    assert slope[masks > 0].mean() > 28
    assert (slope[masks > 0] < 10).mean() < 0.05
    assert (slope[masks == 0] < 10).mean() > 0.10


def test_landslides_are_rare(splits: dict) -> None:
    """They cover 2 to 6 % of all pixels of each split, and some patches have none."""
    assert all(0.02 < masks.mean() < 0.06 for _, masks in splits.values())
    _, masks = splits["train"]
    assert 1 <= (masks.max((1, 2)) == 0).sum() <= len(masks) / 3


def test_separations_have_the_signs_of_the_real_data(splits: dict) -> None:
    """Landslides are bright in B3, B4 and B12, poor in vegetation, and steeper; slope tells less than the red band."""
    images, masks = splits["train"]
    physical = images * np.array(CONSTANTS)
    red, near = physical[..., RED], physical[..., NEAR_INFRARED]

    def separation(values: np.ndarray) -> float:
        return (values[masks > 0].mean() - values[masks == 0].mean()) / values.std()

    bands = {band: separation(physical[..., band]) for band in (GREEN, RED, SHORT_WAVE_INFRARED_2, SLOPE)}
    # The published figures are +1.9, +2.5, +2.0 and +.6; NDVI -2.1.
    assert all(bands[band] > 1 for band in (GREEN, RED, SHORT_WAVE_INFRARED_2))
    assert separation((near - red) / (near + red)) < -1
    assert 0.2 < bands[SLOPE] < 1


def test_pixels_alone_score_in_the_middle(splits: dict) -> None:
    """A logistic regression on the 14 bands of a pixel reaches a pooled test F1 of .40 to .65: the rest is context."""
    pixels = {split: (images.reshape(-1, 14), masks.ravel()) for split, (images, masks) in splits.items()}
    bands, labels = pixels["train"]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(bands[::4], labels[::4])
    probability = {split: model.predict_proba(bands)[:, 1] for split, (bands, _) in pixels.items()}
    precision, recall, thresholds = precision_recall_curve(pixels["validation"][1], probability["validation"])
    threshold = thresholds[np.argmax((2 * precision * recall / (precision + recall + 1e-12))[:-1])]
    truth, found = pixels["test"][1] > 0, probability["test"] >= threshold
    f1 = 2 * (truth & found).sum() / (truth.sum() + found.sum())
    assert 0.40 < f1 < 0.65


def test_progress_counts_every_patch(tmp_path: Path) -> None:
    """The callback hears of each patch once, with the total."""
    heard: list[tuple[int, int]] = []
    synthesize(tmp_path / "out", train=2, validation=1, test=1, progress=lambda *counts: heard.append(counts))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    """What is stopped half way leaves neither the folder nor scraps beside it, and can be started again."""

    def stop(written: int, total: int) -> None:
        if written == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "out", train=2, validation=1, test=1, progress=stop)
    assert list(tmp_path.iterdir()) == []
    synthesize(tmp_path / "out", train=2, validation=1, test=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path: Path) -> None:
    """Nothing that exists is touched: an empty folder will do, one with a file in it is an error, as is a file."""
    (tmp_path / "empty").mkdir()
    synthesize(tmp_path / "empty", train=1, validation=1, test=1)
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == [
        *("TestData", "TrainData", "ValidData"),
        "synthetic.json",
    ]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for taken in (tmp_path / "full", tmp_path / "full" / "notes.txt"):
        with pytest.raises(DataError, match="choose another folder"):
            synthesize(taken, train=1, validation=1, test=1)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    """A parent that is a file ends in one line with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .* choose another folder"):
        synthesize(tmp_path / "file" / "out", train=1, validation=1, test=1)


def test_a_split_without_patches_is_refused(tmp_path: Path) -> None:
    """A split of zero patches, or a negative seed, is a usage error and writes nothing."""
    with pytest.raises(ConfigError, match="at least 1 patch"):
        synthesize(tmp_path / "out", train=1, validation=0, test=1)
    with pytest.raises(ConfigError, match="seed"):
        synthesize(tmp_path / "out", train=1, validation=1, test=1, seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_regions_differ_and_are_named(tmp_path: Path) -> None:
    """Of five, train has three, one after the other, and validation and test one each, as the table says."""
    synthesize(tmp_path / "made", train=7, validation=2, test=2, seed=3, regions=5)
    table = (tmp_path / "made" / "patches.csv").read_text().splitlines()
    # Of 7 train patches in three regions the first has places 0, 1 and 2, for 3 * 2 // 7 = 0 and 3 * 3 // 7 = 1.
    assert table[:5] == ["patch,region"] + [f"TrainData/img/image_{n}.h5,region {1 + (n > 3)}" for n in (1, 2, 3, 4)]
    data = TrainingData.prepare(tmp_path / "made", tmp_path / "packs")
    assert data.train.regions == tuple(f"region {n}" for n in (1, 1, 1, 2, 2, 3, 3))
    assert data.validation.regions == ("region 4", "region 4")
    assert {patch.region for patch in sealed_test_split(tmp_path / "made")} == {"region 5"}
    of_region = domains({"train": 7, "validation": 2, "test": 2}, regions=5, seed=3)["train"][0]
    image, mask = synthetic_patch("train", 1, seed=3, domain=of_region)
    np.testing.assert_array_equal(data.train.image(0), image.astype(np.float32))
    np.testing.assert_array_equal(data.train.mask(0), mask)


def test_a_sensor_with_twice_the_gain_stores_twice_the_light() -> None:
    """But for rounding to integers, and in the bands of light alone; landslides of half the size are fewer pixels."""
    (domain,) = domains({"train": 1})["train"]
    brighter = domain._replace(gain=2 * domain.gain)
    (once, mask), (twice, _) = (synthetic_patch("train", 4, domain=each) for each in (domain, brighter))
    light = np.rint(once[..., :SLOPE] * CONSTANTS[:SLOPE]), np.rint(twice[..., :SLOPE] * CONSTANTS[:SLOPE])
    assert np.abs(light[1] - 2 * light[0]).max() <= 1
    np.testing.assert_array_equal(once[..., SLOPE:], twice[..., SLOPE:])
    _, smaller = synthetic_patch("train", 4, domain=domain._replace(slide_size=0.5))
    assert 0 < smaller.sum() < mask.sum()


def test_a_region_is_a_function_of_seed_and_number() -> None:
    """However many there are; its sensor's gain, its ground and its landslides are its own."""
    few, many = (domains({"train": 6, "validation": 1, "test": 1}, regions=n, seed=1)["train"] for n in (4, 8))
    assert [each.region for each in few] == ["region 1"] * 3 + ["region 2"] * 3
    assert few[0].gain.tolist() == many[0].gain.tolist() != few[-1].gain.tolist()
    assert few[0].slide_size == many[0].slide_size != few[-1].slide_size
    assert few[0].gain.shape == (12,)


@pytest.mark.parametrize("regions", [1, 2, 10])
def test_regions_that_do_not_fit_are_refused(regions: int, tmp_path: Path) -> None:
    """Each split needs one, and there have to be patches for those of train."""
    with pytest.raises(ConfigError, match=f"{regions} asked for: .* 7 train patches the others; give 3 to 9"):
        synthesize(tmp_path / "made", train=7, validation=2, test=2, regions=regions)
    assert not (tmp_path / "made").exists()
