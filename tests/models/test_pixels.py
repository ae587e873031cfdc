"""Classifiers of single pixels as networks: they say what scikit-learn says, also where lsml is not installed."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.data.sensor import Sensor
from lsml.data.statistics import BandStatistics
from lsml.models.export import export, load_bytes
from lsml.models.pixels import _Forest, _next_above
from lsml.models.unet import with_probability
from lsml.training.baselines import Kind, PixelLearner
from tests.bands import N_BANDS, RED, SENSOR, SLOPE
from tests.models.test_trees import NODE
from tests.processes import PATIENCE, WITHOUT_LSML

KINDS: tuple[Kind, ...] = ("regression", "boosting", "rule")
STRANGER = """
import sys
import keras, numpy as np

for kind in ("regression", "boosting", "rule"):
    np.save(f"{kind}.npy", np.asarray(keras.saving.load_model(f"{kind}.keras").predict_on_batch(np.load("bands.npy"))))
assert "lsml" not in sys.modules
"""


@dataclass
class Noise:
    """Four patches of bands of .5 to 2, with landslide where slope or the product of red and another band are high."""

    images: np.ndarray
    masks: np.ndarray
    sensor: Sensor = SENSOR

    @classmethod
    def of(cls, seed: int) -> "Noise":
        random = np.random.default_rng(seed)
        images = random.uniform(0.5, 2, (4, 32, 32, N_BANDS)).astype(np.float32)
        score = images[..., SLOPE] + images[..., RED] * images[..., 0] + random.normal(0, 0.3, images.shape[:3])
        return cls(images, (score > 3.5)[..., None].astype(np.float32))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return self.images[indices], self.masks[indices]


@pytest.fixture(scope="module")
def fitted() -> dict[Kind, object]:
    """All three, fitted to the same pixels."""
    return {kind: PixelLearner(kind).fit(Noise.of(0), 0) for kind in KINDS}


def _model(fitted: object, statistics: BandStatistics) -> keras.Model:
    return with_probability(fitted.network(statistics))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_says_what_the_classifier_says(
    kind: Kind, fitted: dict[Kind, object], statistics: BandStatistics
) -> None:
    """Of the pixels that it was fitted to, and of others whose bands go beyond theirs, to 1e-6 in probability."""
    model, far = _model(fitted[kind], statistics), np.random.default_rng(1).normal(1.25, 1, (1, 16, 48, N_BANDS))
    for images in (Noise.of(0).images, far.astype(np.float32)):
        expected = fitted[kind].predict(images)  # type: ignore[attr-defined]
        for said in (model(images), model.predict_on_batch(images)):
            assert said.shape == expected.shape
            np.testing.assert_allclose(np.asarray(said), expected, rtol=0, atol=1e-6)
    expected = fitted[kind].predict(Noise.of(0).images)  # type: ignore[attr-defined]
    assert expected.min() < 0.2
    assert expected.max() > 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_broken_pixels_count_as_the_median(kind: Kind, fitted: dict[Kind, object], statistics: BandStatistics) -> None:
    """NaN and infinities of either sign in any band."""
    images = Noise.of(2).images
    broken, mended = images.copy(), images.copy()
    for row, value in enumerate((np.nan, np.inf, -np.inf)):
        broken[0, row], mended[0, row] = value, statistics.median
    broken[1, 0, 0, SLOPE], mended[1, 0, 0, SLOPE] = np.nan, statistics.median[SLOPE]
    said = np.asarray(_model(fitted[kind], statistics)(broken))
    np.testing.assert_allclose(said, fitted[kind].predict(mended), rtol=0, atol=1e-6)  # type: ignore[attr-defined]


def test_pixels_on_a_limit_of_a_tree_go_its_way(fitted: dict[Kind, object], statistics: BandStatistics) -> None:
    """Limits are numbers of float64: the numbers of float32 around one go to the sides that scikit-learn sends them to.

    A pixel has such a number in all its bands, so that the tree of that limit meets it.
    """
    boosting = fitted["boosting"]
    nodes = np.concatenate([nodes for (predictor,) in boosting.classifier._predictors for nodes in [predictor.nodes]])  # type: ignore[attr-defined]
    limits = np.unique(nodes["num_threshold"][nodes["is_leaf"] == 0]).astype(np.float32)
    around = np.stack([np.nextafter(limits, np.float32(-9)), limits, np.nextafter(limits, np.float32(9))])
    images = np.broadcast_to(around[None, ..., None], (1, *around.shape, N_BANDS)).copy()
    said = np.asarray(_model(boosting, statistics)(images))
    np.testing.assert_allclose(said, boosting.predict(images), rtol=0, atol=1e-6)  # type: ignore[attr-defined]


def test_limits_are_the_next_number_above() -> None:
    """Float32's .1 is above float64's, and so is the next after its .5 and after its -.1, which is below float64's."""
    assert _next_above(0.1) == np.float32(0.1)
    assert _next_above(0.5) == np.float32(0.5 + 2**-24 * 1.0)
    assert float(_next_above(-0.1)) > -0.1 > float(np.float32(-0.1))


def test_leaves_of_trees_by_hand() -> None:
    """A tree of two limits, and one that is a leaf: what each band leaves, and the baseline in the first tree alone.

    Band 1 above .5? no: 1 (leaf 0); yes: band 0 above 2? no: 2 (leaf 1); yes: 4 (leaf 2). What is above the first
    excludes leaf 0, bit 1; what is above the second leaf 1, bit 2: of 16 bits, 65535 - 1 and 65535 - 2 are left.
    """
    first = np.array(
        [(0, 1, 0.5, 1, 2, 0), (1, 0, 0, 0, 0, 1), (0, 0, 2.0, 3, 4, 0), (2, 0, 0, 0, 0, 1), (4, 0, 0, 0, 0, 1)], NODE
    )
    forest = _Forest.of([first, np.array([(7, 0, 0, 0, 0, 1)], NODE)], -0.5, bands=3)
    assert [limits.tolist() for limits in forest.limits] == [[_next_above(2.0)], [_next_above(0.5)], []]
    every = [65535] * 4
    assert [kept.tolist() for kept in forest.kept] == [
        [every, [65533, 65535, 65535, 65535]],
        [every, [65534, 65535, 65535, 65535]],
        [every],
    ]
    np.testing.assert_array_equal(forest.said[:, :4], [[0.5, 1.5, 3.5, -0.5], [7, 0, 0, 0]])


def test_trees_without_a_limit_say_their_leaves(statistics: BandStatistics) -> None:
    """Ten pixels are too few to be parted, as a leaf has 20: everything has the share of landslide, 2 of 10."""
    noise = Noise.of(0)
    few = Noise(noise.images[:1, :2, :5], np.zeros((1, 2, 5, 1), np.float32))
    few.masks[0, 0, :2] = 1
    said = np.asarray(_model(PixelLearner("boosting").fit(few, 0), statistics)(noise.images[:1]))
    np.testing.assert_allclose(said, 0.2, rtol=0, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("backend", ["as here", "jax"])
def test_their_files_load_where_lsml_cannot_be_imported(
    backend: str, fitted: dict[Kind, object], statistics: BandStatistics, tmp_path: Path
) -> None:
    """All three are let in, and say the same in a process without lsml; the largest has 3,000 limits of 100 trees."""
    python, environment = sys.executable, os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": ""}
    if backend == "jax":
        python, environment["KERAS_BACKEND"] = os.environ.get("LSML_JAX_PYTHON", ""), "jax"
        if not python:
            pytest.skip("LSML_JAX_PYTHON names no Python of an environment with JAX; `make test` makes one")
    images = Noise.of(3).images
    for kind in KINDS:
        content = export(_model(fitted[kind], statistics), SENSOR).content
        # Two numbers of four bytes for each limit and tree.
        assert len(content) < 3_000_000
        load_bytes(content, SENSOR)
        (tmp_path / f"{kind}.keras").write_bytes(content)
    np.save(tmp_path / "bands.npy", images)
    script = WITHOUT_LSML + STRANGER
    subprocess.run([python, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)
    for kind in KINDS:
        expected = fitted[kind].predict(images)  # type: ignore[attr-defined]
        np.testing.assert_allclose(np.load(tmp_path / f"{kind}.npy"), expected, rtol=0, atol=1e-6)
