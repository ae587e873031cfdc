"""The weighted mean of networks: its values by hand, its weights, and its file where lsml is not installed."""

import json
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.evaluation.predict import over_symmetries
from lsml.models.ensemble import mean_network, mean_of_orientations, member_network, weighted_mean
from lsml.models.export import export, load_bytes
from lsml.models.unet import build_model, with_probability
from tests.bands import N_BANDS, SENSOR
from tests.processes import PATIENCE, WITHOUT_LSML

STRANGER = """
import sys
import keras, numpy as np

for name in ("mean", "cooled"):
    said = keras.saving.load_model(f"{name}.keras").predict_on_batch(np.load("bands.npy"))
    np.save(f"{name}.npy", np.asarray(said))
assert "lsml" not in sys.modules
"""


def _constant(probability: float) -> keras.Model:
    """A network with 15 weights that says `probability` everywhere, under the name that all of them have."""
    bands = keras.Input((None, None, N_BANDS))
    bias = keras.initializers.Constant(probability)
    said = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer=bias)(bands)
    return keras.Model(bands, said, name="unet")


def _bands(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, (*size, N_BANDS)).astype("float32")


def test_shares_are_the_weights_over_their_sum() -> None:
    """0.2, 0.4 and 0.8 with weights 1, 2 and 1 are (0.2 + 2 * 0.4 + 0.8) / 4 = 0.45; ten times the weights too."""
    members = [_constant(0.2), _constant(0.4), _constant(0.8)]
    for weights in ((1, 2, 1), (10, 20, 10), (0.25, 0.5, 0.25)):
        said = np.asarray(weighted_mean(members, weights)(_bands(2, 3, 5)))
        assert said.shape == (2, 3, 5, 1)
        assert said.dtype == np.float32
        np.testing.assert_allclose(said, 0.45, rtol=0, atol=1e-6)


def test_the_mean_of_one_is_what_it_says() -> None:
    """A single network keeps its answer, whatever its weight."""
    np.testing.assert_array_equal(np.asarray(weighted_mean([_constant(0.25)], [3])(_bands(1, 2, 2))), np.float32(0.25))


def test_the_mean_never_exceeds_one() -> None:
    """Of networks that are all certain it is 1 at most, however their shares round: by up to 60 sevenths, ninths..."""
    for count in (3, 7, 49, 60):
        said = np.asarray(weighted_mean([_constant(1.0) for _ in range(count)], [1] * count)(_bands(1, 1, 1)))
        assert 1 - 1e-5 < said.item() <= 1


def test_a_member_that_counts_twice_is_in_the_file_once(tmp_path: Path) -> None:
    """Two members with weights 2 and 1 have the weights of two, and the file names two nested networks."""
    mean = weighted_mean([_constant(0.3), _constant(0.9)], [2, 1])
    assert mean.count_params() == 2 * (N_BANDS + 1)
    np.testing.assert_allclose(np.asarray(mean(_bands(1, 1, 1))), 0.5, rtol=0, atol=1e-6)
    with zipfile.ZipFile(BytesIO(export(mean, SENSOR).content)) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert [layer["name"] for layer in layers if layer["class_name"] == "Functional"] == ["member_1", "member_2"]


@pytest.mark.full
@pytest.mark.parametrize("backend", ["as here", "jax"])
def test_the_file_loads_where_lsml_cannot_be_imported(backend: str, statistics: BandStatistics, tmp_path: Path) -> None:
    """From one file, which is let in, come networks of two architectures and depths, and the mean of what each says."""
    python, environment = sys.executable, os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": ""}
    if backend == "jax":
        python, environment["KERAS_BACKEND"] = os.environ.get("LSML_JAX_PYTHON", ""), "jax"
        if not python:
            pytest.skip("LSML_JAX_PYTHON names no Python of an environment with JAX; `make test` makes one")
    values = [{"model.architecture": "unet", "model.depth": 1}, {"model.architecture": "resnet_unet", "model.depth": 2}]
    members = [
        build_model(with_values(TrainConfig(), {"model.filters": 4, "seed": seed, **each}), statistics)
        for seed, each in enumerate(values)
    ]
    bands = _bands(2, 16, 32)
    first, second = (model.predict_on_batch(bands) for model in members)
    expected = 0.75 * first + 0.25 * second
    content = export(weighted_mean(members, [3, 1]), SENSOR).content
    np.testing.assert_allclose(load_bytes(content, SENSOR).predict_on_batch(bands), expected, rtol=0, atol=1e-6)

    # The same with a temperature of 2: the mean's odds become their square roots.
    logits = [keras.Model(one.input, one.layers[-1].input, name=f"n{number}") for number, one in enumerate(members)]
    cooled = with_probability(mean_network(logits, [3, 1], name="cooled"), 2.0)
    (tmp_path / "cooled.keras").write_bytes(export(cooled, SENSOR).content)
    (tmp_path / "mean.keras").write_bytes(content)
    np.save(tmp_path / "bands.npy", bands)
    script = WITHOUT_LSML + STRANGER
    subprocess.run([python, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)
    np.testing.assert_allclose(np.load(tmp_path / "mean.npy"), expected, rtol=0, atol=1e-5)
    roots = np.sqrt(expected / (1 - expected))
    np.testing.assert_allclose(np.load(tmp_path / "cooled.npy"), roots / (1 + roots), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "why"),
    [([1], "2 networks and 1 weights"), ([1, 0], "not all positive"), ([1, float("nan")], "not all positive")],
)
def test_weights_that_are_none_are_refused(weights: list[float], why: str) -> None:
    """One positive number for each network, or a ValueError that says what came instead."""
    with pytest.raises(ValueError, match=why):
        weighted_mean([_constant(0.5), _constant(0.5)], weights)


def test_no_networks_and_the_same_twice_are_refused() -> None:
    """Nothing has no mean; a network that counts twice has twice the weight."""
    with pytest.raises(ValueError, match="0 networks"):
        weighted_mean([], [])
    network = _constant(0.5)
    with pytest.raises(ValueError, match="given twice"):
        weighted_mean([network, network], [1, 1])


def test_the_mean_of_orientations_is_that_of_evaluation() -> None:
    """A network that says what is above a pixel: the mean is over both neighbours of a row and of a column.

    With the patch mirrored and turned in eight ways, each neighbour is the one above in two of them. So a pixel of 0.8
    amid zeros gives 0.8 / 4 to each of its four neighbours, as probability; what evaluation averages is the same.
    """
    bands = keras.Input((None, None, N_BANDS))
    kernel = np.zeros((3, 3, N_BANDS, 1), "float32")
    kernel[0, 1, 0] = 1
    above = keras.layers.Conv2D(1, 3, padding="same", use_bias=False, name="above")
    network = keras.Model(bands, above(bands))
    above.set_weights([kernel])
    patch = np.full((1, 4, 6, N_BANDS), -50.0, "float32")
    patch[0, 1, 2, 0] = np.log(0.8 / 0.2)
    averaged = with_probability(mean_of_orientations(network))
    said = np.asarray(averaged(patch))[0, 1:-1, 1:-1, 0]
    expected = np.zeros((2, 4))
    expected[[1, 0, 0], [1, 0, 2]] = 0.2
    np.testing.assert_allclose(said, expected, atol=1e-6)
    assert len(averaged.weights) == len(network.weights)
    evaluated = over_symmetries(lambda images: np.asarray(with_probability(network)(images)))
    np.testing.assert_allclose(np.asarray(averaged(patch)), evaluated(patch), atol=1e-6)


def test_a_network_of_all_orientations_is_exported_and_trained_as_it_is() -> None:
    """The field changes what is said, not what is trained: weights are the same, and the file loads."""
    config = with_values(TrainConfig(), {"model.filters": 4, "model.depth": 1})
    statistics = BandStatistics.of(lambda: [_bands(8, 8)], SENSOR)
    plain, averaged = (
        build_model(with_values(config, {"model.average_orientations": field}), statistics) for field in (False, True)
    )
    for one, other in zip(plain.get_weights(), averaged.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    file = export(averaged, SENSOR)
    images = _bands(1, 8, 8)
    said = np.asarray(load_bytes(file.content, SENSOR)(images))
    np.testing.assert_array_equal(said, np.asarray(averaged(images)))
    np.testing.assert_allclose(
        np.rot90(said, axes=(1, 2)), np.asarray(averaged(np.rot90(images, axes=(1, 2)))), atol=1e-5
    )


def test_a_mean_is_taken_apart_into_its_members() -> None:
    """Of a weighted mean of a network alone and of a mean of folds with a temperature of 2, read back from its file.

    The alone one says .2. The folds' logits are 1 and 3, halved by the temperature: sigmoid(.5) = .6225 and
    sigmoid(1.5) = .8176.
    """
    alone = with_probability(_constant(np.log(0.2 / 0.8)))
    folds = [keras.Model(each.input, each.output, name=f"network_{n}") for n, each in enumerate(map(_constant, (1, 3)))]
    mean = weighted_mean([alone, with_probability(mean_network(folds, name="mean_of_folds"), 2.0)], [1, 3])
    read = load_bytes(export(mean, SENSOR).content, SENSOR)
    said = np.asarray(member_network(read)(_bands(1, 8, 8)))
    assert said.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(said[0, 0, 0], [0.2, 0.6225, 0.8176], atol=1e-4)


def test_what_is_no_mean_is_its_own_member() -> None:
    """A network with its sigmoid; of a mean over orientations the network itself, once."""
    alone = with_probability(_constant(1.0))
    np.testing.assert_allclose(np.asarray(member_network(alone)(_bands(1, 4, 4))), 0.7311, atol=1e-4)
    turned = with_probability(mean_of_orientations(_constant(1.0)))
    said = np.asarray(member_network(turned)(_bands(1, 4, 4)))
    assert said.shape == (1, 4, 4, 1)
    np.testing.assert_allclose(said, 0.7311, atol=1e-4)
