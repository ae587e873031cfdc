"""The losses against values worked out by hand, against public definitions, and under both backends."""

import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.special import expit
from sklearn.metrics import f1_score, fbeta_score, jaccard_score, log_loss

from lsml.config.fields import Scalar
from lsml.config.schema import LOSS_COMPONENTS, LossConfig, TrainConfig, with_values
from lsml.data.sensor import IGNORED
from lsml.errors import ConfigError
from lsml.losses import CompoundLoss, components
from lsml.losses.pixelwise import focal
from lsml.losses.region import dice, soft_jaccard, tversky
from tests import warm
from tests.processes import environment

LN2 = math.log(2)


def _pixels(*rows: list[float]) -> np.ndarray:
    """Patches of one row each, float32 `(B, 1, W, 1)`."""
    return np.array(rows, dtype="float32")[:, None, :, None]


def _random(*size: int, landslide: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Truth with a share of landslide, and logits with some mistakes of both sorts, float32 `(B, H, W, 1)`."""
    generator = np.random.default_rng(0)
    truth = (generator.random((*size, 1)) < landslide).astype("float32")
    return truth, (generator.normal(0, 2, (*size, 1)) + 2 * truth - 1).astype("float32")


def _only(name: str, **parameters: float) -> LossConfig:
    """One component and nothing else."""
    return LossConfig(**{other: float(other == name) for other in LOSS_COMPONENTS} | parameters)


def _value(config: LossConfig, truth: np.ndarray, logits: np.ndarray) -> float:
    return float(CompoundLoss(config)(truth, logits))


def _hinge(truth: np.ndarray, logits: np.ndarray) -> float:
    """Algorithm 1 of Berman et al. 2018 on the hinge errors, step by step as published."""
    errors = 1 - logits * (2 * truth - 1)
    order = np.argsort(-errors, kind="stable")
    true = truth[order]
    intersection = true.sum() - np.cumsum(true)
    union = true.sum() + np.cumsum(1 - true)
    jaccard = 1 - intersection / union
    jaccard[1:] = jaccard[1:] - jaccard[:-1]
    return float(np.maximum(errors[order], 0) @ jaccard)


def _overlap(truth: np.ndarray, logits: np.ndarray, alpha: float, beta: float) -> float:
    """Equation 4 of Salehi et al. 2017 with one more pixel that is landslide and found."""
    truth, found = np.append(truth, 1), np.append(expit(logits), 1)
    hit, alarm, missed = truth @ found, (1 - truth) @ found, truth @ (1 - found)
    return float(1 - hit / (hit + alpha * alarm + beta * missed))


def _focal(truth: np.ndarray, logits: np.ndarray) -> float:
    right = np.where(truth == 1, expit(logits), expit(-logits))
    return float(np.mean(-((1 - right) ** 2) * np.log(right)))


DEFINITIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "cross_entropy": lambda truth, logits: log_loss(truth, expit(logits), labels=[0, 1]),
    "focal": _focal,
    "dice": lambda truth, logits: _overlap(truth, logits, 0.5, 0.5),
    "tversky": lambda truth, logits: _overlap(truth, logits, 0.3, 0.7),
    "jaccard": lambda truth, logits: _overlap(truth, logits, 1, 1),
    "lovasz": _hinge,
    "focal_tversky": lambda truth, logits: _overlap(truth, logits, 0.3, 0.7) ** 0.75,
}
"""Each component at its default parameters in float64, of flat truth and logits."""


def _defined(name: str, truth: np.ndarray, logits: np.ndarray) -> float:
    return DEFINITIONS[name](truth.ravel().astype("float64"), logits.ravel().astype("float64"))


def test_soft_jaccard_of_two_undecided_pixels() -> None:
    """Half a pixel of intersection and one and a half of union give a loss of .4."""
    # p = .5, .5; t = 1, 0: intersection .5, union 1 + 1 - .5 = 1.5; 1 - (.5 + 1) / (1.5 + 1) = .4
    assert float(soft_jaccard(_pixels([1, 0]), _pixels([0, 0]))) == pytest.approx(0.4, abs=1e-7)


def test_soft_jaccard_pools_the_batch() -> None:
    """The sums run over all patches: a false alarm in one weighs against the landslide of another."""
    truth, logits = _pixels([1, 1], [0, 0]), _pixels([100, 100], [100, 100])
    # intersection 2, union 2 + 4 - 2 = 4: 1 - 3/5 = .4; a mean of patches would be (0 + (1 - 1/3)) / 2 = .333
    assert float(soft_jaccard(truth, logits)) == pytest.approx(0.4, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "undecided", "alarm"),
    [
        # Two pixels, the first of them landslide. Undecided, p = .5, .5: of landslide, .5 is found and .5 missed, and
        # .5 is a false alarm. Alarm, p = 1, 1: 1 is found, 0 missed, 1 a false alarm. The smoothing adds 1 found.
        ("cross_entropy", LN2, 50),  # the false alarm's logit is 100 and the other pixel costs nothing
        ("focal", 0.25 * LN2, 50),  # (1 - .5)**2; 1 for the false alarm
        ("dice", 0.25, 0.2),  # 1 - 2 * 1.5 / (1 + 1 + 2); 1 - 2 * 2 / (1 + 2 + 2)
        ("tversky", 0.25, 0.3 / 2.3),  # 1 - 1.5 / (1.5 + .3 * .5 + .7 * .5); 1 - 2 / (2 + .3 * 1)
        ("jaccard", 0.4, 1 / 3),  # 1 - 1.5 / 2.5; 1 - 2 / 3
        ("lovasz", 1, 50.5),  # both errors 1, and the last J is 1; error 101 with J = 1 - 1 / 2, then -99, cut off
        ("focal_tversky", 0.25**0.75, (0.3 / 2.3) ** 0.75),  # gamma 4 / 3: the power of 3 / 4
    ],
)
def test_components_of_two_pixels(name: str, undecided: float, alarm: float) -> None:
    """Each component alone gives the value of its formula."""
    assert _value(_only(name), _pixels([1, 0]), _pixels([0, 0])) == pytest.approx(undecided, rel=1e-6)
    assert _value(_only(name), _pixels([1, 0]), _pixels([100, 100])) == pytest.approx(alarm, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Eight pixels of p = .5: four false alarms in sum.
        ("cross_entropy", LN2),
        ("focal", 0.25 * LN2),
        ("dice", 2 / 3),  # 1 - 2 / (4 + 2)
        ("tversky", 1.2 / 2.2),  # 1 - 1 / (1 + .3 * 4)
        ("jaccard", 0.8),  # 1 - 1 / (4 + 1)
        ("lovasz", 1),  # 1 + the highest logit
        ("focal_tversky", (1.2 / 2.2) ** 0.75),
    ],
)
def test_a_batch_without_landslide(name: str, expected: float) -> None:
    """Nothing found costs nothing, and what is found costs what the docstrings say."""
    none = _pixels([0] * 8)
    assert _value(_only(name), none, _pixels([0] * 8)) == pytest.approx(expected, rel=1e-6)
    assert _value(_only(name), none, _pixels([-100] * 8)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # One landslide missed and one false alarm, both with logits of a thousand; found is the smoothing's pixel.
        ("cross_entropy", 1000),
        ("focal", 1000),
        ("dice", 0.5),  # 1 - 2 / (1 + 1 + 2)
        ("tversky", 0.5),  # 1 - 1 / (1 + .3 + .7)
        ("jaccard", 2 / 3),  # 1 - 1 / (2 + 1)
        ("lovasz", 1001),  # both errors 1001, and the last J is 1
        ("focal_tversky", 0.5**0.75),
    ],
)
def test_certain_mistakes_are_finite(name: str, expected: float) -> None:
    """Logits of a thousand on the wrong side cost a thousand at most, and on the right side nothing."""
    assert _value(_only(name), _pixels([1, 0]), _pixels([-1000, 1000])) == pytest.approx(expected, rel=1e-6)
    assert _value(_only(name), _pixels([1, 0]), _pixels([1000, -1000])) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", LOSS_COMPONENTS)
@pytest.mark.parametrize("landslide", [0.0, 0.1, 1.0])
def test_components_equal_their_definitions(name: str, landslide: float) -> None:
    """On random pixels, some without any landslide or nothing else, float32 and the float64 definition agree."""
    truth, logits = _random(4, 32, 32, landslide=landslide)
    assert _value(_only(name), truth, logits) == pytest.approx(_defined(name, truth, logits), rel=2e-6)


def test_hard_decisions_give_the_scores_of_sklearn() -> None:
    """With probabilities 0 and 1 the region losses are 1 - Jaccard, 1 - F1 and, by their balance, 1 - F2."""
    truth, logits = _random(4, 32, 32)
    hard = np.where(logits > 0, 100, -100).astype("float32")
    # The smoothing is one more pixel that is landslide and found.
    flat, found = np.append(truth, 1), np.append(logits > 0, 1)
    assert float(soft_jaccard(truth, hard)) == pytest.approx(1 - jaccard_score(flat, found), abs=1e-6)
    assert float(dice(truth, hard)) == pytest.approx(1 - f1_score(flat, found), abs=1e-6)
    half = tversky(truth, hard, alpha=0.5, beta=0.5)
    assert float(half) == pytest.approx(1 - f1_score(flat, found), abs=1e-6)
    # F_b = (1 + b**2) TP / ((1 + b**2) TP + b**2 FN + FP): for b = 2, divided by 5, FP has .2 and FN has .8.
    tilted = tversky(truth, hard, alpha=0.2, beta=0.8)
    assert float(tilted) == pytest.approx(1 - fbeta_score(flat, found, beta=2), abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_keras_between_certainties(gamma: float) -> None:
    """Up to logits of 10, where the clipping of keras's probabilities does not show."""
    truth, logits = _random(2, 16, 16)
    theirs = keras.losses.binary_focal_crossentropy(truth, logits, gamma=gamma, from_logits=True)
    np.testing.assert_allclose(focal(truth, logits, gamma=gamma), theirs, rtol=1e-4, atol=1e-7)


def test_class_weight_is_the_sample_weight_of_sklearn() -> None:
    """A landslide pixel that counts for seven, in cross-entropy and, times alpha / (1 - alpha), in the focal loss."""
    truth, logits = _random(2, 16, 16)
    flat, weights = truth.ravel(), np.where(truth.ravel() == 1, 7.0, 1.0)
    expected = log_loss(flat, expit(logits.ravel().astype("float64")), sample_weight=weights)
    assert _value(_only("cross_entropy", landslide_weight=7), truth, logits) == pytest.approx(expected, rel=1e-6)
    # 21 * .25 / .75 = 7, and with gamma 0 the focal loss is cross-entropy.
    config = _only("focal", landslide_weight=21, focal_alpha=0.25, focal_gamma=0)
    assert _value(config, truth, logits) == pytest.approx(expected, rel=1e-6)


def test_only_the_hardest_pixels_count() -> None:
    """The mean of the worst two of four, of the worst one where the share is less, of all where they are equal."""
    truth, logits = _pixels([0, 0, 0, 0]), _pixels([-100, 0, 100, 50])
    # -log(1 - sigmoid(z)) is 0, ln 2, 100 and 50
    assert _value(_only("cross_entropy", ohem_fraction=0.5), truth, logits) == pytest.approx(75, rel=1e-6)
    assert _value(_only("focal", ohem_fraction=0.5), truth, logits) == pytest.approx(75, rel=1e-6)
    assert _value(_only("cross_entropy", ohem_fraction=0.01), truth, logits) == pytest.approx(100, rel=1e-6)
    assert _value(_only("cross_entropy", ohem_fraction=0.01), truth, 0 * logits) == pytest.approx(LN2, rel=1e-6)
    # Losses 10, 20, 15 and 0; with the weight of the first, 30, 20, 15 and 0: (30 + 20) / (3 + 1)
    truth, logits = _pixels([1, 0, 0, 0]), _pixels([-10, 20, 15, -100])
    config = _only("cross_entropy", ohem_fraction=0.5, landslide_weight=3)
    assert _value(config, truth, logits) == pytest.approx(12.5, rel=1e-4)


def test_the_default_is_half_cross_entropy_and_half_soft_jaccard() -> None:
    """To the last digit, as keras computes the one."""
    truth, logits = _random(4, 32, 32)
    theirs = keras.losses.BinaryCrossentropy(from_logits=True)(truth, logits)
    assert _value(LossConfig(), truth, logits) == float(0.5 * theirs + 0.5 * soft_jaccard(truth, logits))


def test_weights_are_divided_by_their_sum() -> None:
    """Weights .1, .2 and .5 are shares of an eighth, a quarter and five eighths, and the rest has none."""
    truth, logits = _random(2, 16, 16)
    config = LossConfig(cross_entropy=0.1, jaccard=0, lovasz=0.2, dice=0.5)
    assert config.shares == pytest.approx({"cross_entropy": 1 / 8, "lovasz": 1 / 4, "dice": 5 / 8})
    expected = sum(share * _defined(name, truth, logits) for name, share in config.shares.items())
    assert _value(config, truth, logits) == pytest.approx(expected, rel=1e-6)


def test_a_loss_of_nothing_is_refused() -> None:
    """All weights 0 is one line that says so, with exit code 2."""
    nothing: dict[str, Scalar] = {"loss.cross_entropy": 0, "loss.jaccard": 0.0}
    with pytest.raises(ConfigError) as caught:
        with_values(TrainConfig(), nothing)
    assert str(caught.value) == (
        "configuration: loss: every component has weight 0; give one a weight above 0, such as loss.cross_entropy=1"
    )
    assert caught.value.exit_code == 2
    assert with_values(TrainConfig(), nothing | {"loss.lovasz": 1}).loss.shares == {"lovasz": 1.0}


@pytest.mark.parametrize("name", LOSS_COMPONENTS)
def test_components_are_float32_under_bfloat16(name: str) -> None:
    """Sums over 65,536 pixels keep every one of them although the logits are bfloat16."""
    truth, logits = _random(4, 128, 128)
    short = ops.cast(logits, "bfloat16")
    loss = CompoundLoss(_only(name))(truth, short)
    assert "float32" in str(loss.dtype)
    rounded = ops.convert_to_numpy(ops.cast(short, "float32"))
    assert float(loss) == pytest.approx(_defined(name, truth, rounded), rel=1e-5)


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def gradients(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with truth, logits, and the gradients that a backend trains with, a file for each loss."""
    if request.param == "jax" and "LSML_JAX_PYTHON" not in os.environ:
        pytest.skip("LSML_JAX_PYTHON names no Python of an environment with JAX; `make test` makes one")
    folder = tmp_path_factory.mktemp(request.param)
    truth, logits = _random(2, 8, 8)
    logits[0, 0, :4, 0] = [1000, -900, 60, -60]
    truth[0, 0, :4, 0] = [0, 1, 1, 0]
    np.save(folder / "truth.npy", truth)
    np.save(folder / "logits.npy", logits)
    alone = {name: _only(name).model_dump() for name in LOSS_COMPONENTS}
    equal = dict.fromkeys(LOSS_COMPONENTS, 1.0)
    compound = {"all": equal, "mined": equal | {"ohem_fraction": 0.25}}
    # Under JAX nothing is computed but what XLA has compiled.
    networks = [(False, alone), (True, compound)] if request.param == "tensorflow" else [(True, alone | compound)]
    (folder / "losses.json").write_text(json.dumps(networks))
    env = environment(KERAS_BACKEND=request.param, CUDA_VISIBLE_DEVICES="-1")
    if request.param == "tensorflow":
        done = warm.run_module("tests.losses.gradients", folder=folder, env=env, timeout=300)
    else:
        command = [os.environ["LSML_JAX_PYTHON"], "-m", "tests.losses.gradients"]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def _slopes(name: str, truth: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The gradient of a component's float64 definition by central differences."""
    flat, step = logits.ravel().astype("float64"), 1e-5
    rises = [
        DEFINITIONS[name](truth.ravel(), flat + step * unit) - DEFINITIONS[name](truth.ravel(), flat - step * unit)
        for unit in np.eye(flat.size)
    ]
    return np.array(rises) / (2 * step)


def test_gradients_are_those_of_the_definitions(gradients: Path) -> None:
    """Every component's gradient in a training step, certain mistakes among its pixels, and their compound's."""
    truth, logits = np.load(gradients / "truth.npy"), np.load(gradients / "logits.npy")
    found = {name: np.load(gradients / f"{name}.npy").ravel() for name in LOSS_COMPONENTS}
    for name, gradient in found.items():
        if name not in ("cross_entropy", "focal"):
            expected = _slopes(name, truth, logits)
            np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6 * abs(expected).max(), err_msg=name)
        assert np.count_nonzero(gradient) > 16, name
    # d(-log p_t) / dz = p - t, of 128 pixels
    expected = (expit(logits.ravel().astype("float64")) - truth.ravel()) / 128
    np.testing.assert_allclose(found["cross_entropy"], expected, rtol=1e-5, atol=1e-9)
    # At a certain mistake the focal loss is the cross-entropy.
    np.testing.assert_allclose(found["focal"][:2], [1 / 128, -1 / 128], rtol=1e-6)
    everything = np.load(gradients / "all.npy").ravel()
    np.testing.assert_allclose(everything, sum(found.values()) / len(found), rtol=1e-4, atol=1e-8)
    mined = np.load(gradients / "mined.npy")
    assert np.isfinite(mined).all()
    assert abs(mined.ravel() - everything).max() > 1e-4


def test_every_weight_has_its_component() -> None:
    """The weights that `LossConfig` declares and the components are the same, in name and number."""
    assert set(components(LossConfig())) == set(LOSS_COMPONENTS)


def _with_gradient(loss: CompoundLoss, truth: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss, and its gradient in the shape of the logits, with TensorFlow's tape."""
    variable = tf.Variable(logits, dtype="float32")
    with tf.GradientTape() as tape:
        value = loss(truth.astype("float32"), variable.value())
    return float(value), tape.gradient(value, variable).numpy()


@pytest.mark.parametrize("name", LOSS_COMPONENTS)
@pytest.mark.parametrize("parameters", [{}, {"ohem_fraction": 0.25, "landslide_weight": 3.0}])
def test_pixels_that_nobody_knows_have_neither_loss_nor_gradient(name: str, parameters: dict[str, float]) -> None:
    """Value and gradient are those of a batch without them, to rounding, whatever the network says there.

    Of 2 x 6 x 8 pixels a third is ignored: the 64 that are known, in one row, are what the loss has to be of.
    """
    truth, logits = _random(2, 6, 8, landslide=0.3)
    unknown = np.zeros(truth.shape, bool)
    unknown[:, :2] = True
    loss = CompoundLoss(_only(name, **parameters), ignores=True)
    known = [side[~unknown].reshape(1, 1, 64, 1) for side in (truth, logits)]
    expected = _with_gradient(CompoundLoss(_only(name, **parameters)), *known)
    for said in (-50.0, 0.0, 50.0):
        value, gradient = _with_gradient(loss, np.where(unknown, IGNORED, truth), np.where(unknown, said, logits))
        assert value == pytest.approx(expected[0], rel=1e-5)
        assert not gradient[unknown].any()
        np.testing.assert_allclose(gradient[~unknown], expected[1].ravel(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LOSS_COMPONENTS)
def test_a_batch_that_nobody_knows_moves_nothing(name: str) -> None:
    """Its gradient is 0 and its loss next to it, not NaN."""
    truth = np.full((1, 4, 4, 1), IGNORED, np.float32)
    value, gradient = _with_gradient(CompoundLoss(_only(name), ignores=True), truth, np.ones(truth.shape, np.float32))
    assert value == pytest.approx(0, abs=1e-5)
    assert not gradient.any()
