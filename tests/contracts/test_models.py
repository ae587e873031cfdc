"""What holds for every network that lsml can build, whatever its encoder, decoder and inputs."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.fields import Scalar
from lsml.config.schema import LossConfig, TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.losses import CompoundLoss
from lsml.models.encoders import encoders
from lsml.models.ensemble import MembersLoss
from lsml.models.export import export, load_bytes
from lsml.models.unet import SupervisedLoss, build_model, build_networks
from lsml.training.optimizer import PacedAdamW
from tests.bands import N_BANDS, SENSOR
from tests.processes import PATIENCE, WITHOUT_LSML

EAGER = keras.backend.backend() == "tensorflow"
"""TensorFlow takes longer to trace a function than to compute it a few times; JAX compiles each operation by itself
unless it may compile the whole."""

DECLARED = {spec.name: spec for spec in TrainConfig.fields()}


def _encoders() -> Iterator[tuple[str, dict[str, Scalar]]]:
    """A name and the fields of every encoder that the configuration offers: variants by their own names."""
    for architecture in map(str, DECLARED["model.architecture"].choices):
        chosen: dict[str, Scalar] = {"model.architecture": architecture}
        for variant in encoders()[architecture].variants:
            yield variant, chosen | {"model.encoder": variant}
        if not encoders()[architecture].variants:
            yield architecture, chosen


ENCODERS = dict(_encoders())
PRETRAINED = [name for name, chosen in ENCODERS.items() if encoders()[str(chosen["model.architecture"])].pretrained]

FILTERS = {"batch": 4, "group": 6, "none": 8}
"""Networks without normalisation start as their shortcuts and learn slowly from fewer; 6 is no multiple of 8 groups."""

RATES = {"batch": 5e-3, "group": 5e-3, "none": 1e-3}
"""Learning rates at which some steps show something; a ResNet-50 without normalisation explodes at the others'."""

STEPS = {"batch": 8, "group": 8, "none": 12}
"""Without normalisation the first steps show little: how little depends on the weights drawn, and on the backend."""

OPTIONS = (
    *("model.normalization", "model.attention", "model.upsampling", "model.deep_supervision"),
    *("input.scaling", "input.terrain", "input.indices", "input.clip_percentile"),
)
ROWS: tuple[tuple[int, tuple[tuple[Scalar, ...], ...]], ...] = (
    (
        3,
        (
            ("batch", "none", "transposed", False, "standard", True, "none", 0.0),
            ("group", "gate", "bilinear", True, "minmax", False, "all", 0.0),
            ("none", "squeeze_excitation", "transposed", False, "minmax", True, "vegetation", 0.1),
        ),
    ),
    (
        3,
        (
            ("batch", "gate", "transposed", True, "standard", False, "vegetation", 0.1),
            ("group", "squeeze_excitation", "bilinear", False, "minmax", False, "none", 0.1),
            ("none", "none", "bilinear", True, "standard", True, "all", 0.0),
        ),
    ),
    (
        4,
        (
            ("batch", "squeeze_excitation", "bilinear", False, "minmax", True, "all", 0.0),
            ("group", "none", "transposed", True, "standard", False, "vegetation", 0.1),
            ("none", "gate", "bilinear", True, "minmax", True, "none", 0.0),
        ),
    ),
    (
        5,
        (
            ("batch", "squeeze_excitation", "transposed", True, "standard", True, "all", 0.1),
            ("group", "none", "bilinear", False, "minmax", True, "vegetation", 0.0),
            ("none", "gate", "bilinear", False, "minmax", False, "none", 0.1),
        ),
    ),
)
"""Depths, and three rows of `OPTIONS` with every value of each; an encoder takes one of these after the other in turn.
In the rows of all together every two values meet, the defaults first."""

COVER: tuple[tuple[Scalar, ...], ...] = tuple(
    (encoder, depth, *row)
    for encoder, (depth, rows) in zip(ENCODERS, itertools.cycle(ROWS), strict=False)
    for row in rows
)
"""Every two values of an encoder and `OPTIONS` meet in one of these."""


def _values(encoder: Scalar, depth: Scalar, *options: Scalar) -> dict[str, Scalar]:
    chosen = dict(zip(OPTIONS, options, strict=True))
    return {
        "model.filters": FILTERS[str(chosen["model.normalization"])],
        "model.depth": depth,
        "model.dropout": 0.1,
        **ENCODERS[str(encoder)],
        **chosen,
    }


STEMS: dict[str, dict[str, Scalar]] = {
    f"{row[0]}-{stem}": _values(*row[:2], *COVER[0][2:]) | {"model.weights": "absent.weights.h5", "model.stem": stem}
    for encoder, stem in zip((PRETRAINED[0], PRETRAINED[-1]), map(str, DECLARED["model.stem"].choices), strict=True)
    # What it carries filters to has to be there.
    if stem != "inflate" or SENSOR.has("blue", "green", "red")
    for row in COVER
    if row[0] == encoder and row[2] == "batch"
}
"""Networks that are made for pretrained weights, whose file is not read before training.

Without those weights their normalisations' moments are far off, and their logits so large that bfloat16 shows:
`tests/models/test_pretrained.py` looks at it with weights.
"""

SEVERAL: dict[str, dict[str, Scalar]] = {
    f"two {row[0]}s": _values(*row) | {"model.members": 2} for row in (COVER[1], COVER[5])
}
"""Networks side by side, with deep supervision and without."""

BESIDE_TREES: dict[str, dict[str, Scalar]] = {
    f"{COVER[0][0]} beside trees": _values(*COVER[0]) | {"model.tree_weight": 0.5}
}

DOWNSCALED: dict[str, dict[str, Scalar]] = {f"{COVER[1][0]} at a quarter": _values(*COVER[1]) | {"input.downscale": 4}}
"""With deep supervision, whose coarser logits are interpolated too."""

NETWORKS = {f"{row[0]}-{row[2]}": _values(*row) for row in COVER} | STEMS | SEVERAL | BESIDE_TREES | DOWNSCALED

STRANGER = """
import sys
import keras, numpy as np

bands = np.load("bands.npy")
for name in sys.argv[1:]:
    model = keras.saving.load_model(name + ".keras")
    answer = model(bands) if keras.backend.backend() == "tensorflow" else model.predict_on_batch(bands)
    np.save(name + ".npy", np.asarray(answer))
assert "lsml" not in sys.modules
"""


@pytest.fixture(scope="module", params=NETWORKS)
def config(request: pytest.FixtureRequest) -> TrainConfig:
    """One configuration of each network."""
    return with_values(TrainConfig(), NETWORKS[request.param])


@pytest.fixture(scope="module")
def model(config: TrainConfig, statistics: BandStatistics) -> keras.Model:
    """Its network from bands to probabilities, as it starts; nobody may change it."""
    return build_model(config, statistics)


def _bands(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, (*size, N_BANDS)).astype("float32")


def _layers(network: keras.Model) -> Iterator[keras.Layer]:
    """Those of a network, and of the networks in it."""
    for layer in network.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _answer(network: keras.Model, bands: np.ndarray) -> np.ndarray:
    """The network's output, as fast as the backend gives it once."""
    return np.asarray(network(bands) if EAGER else network.predict_on_batch(bands))


def test_every_two_options_meet_in_a_network() -> None:
    """`COVER` is a pairwise cover of all encoders and of all choices that the fields have today."""
    assert {spec.name for spec in DECLARED.values() if spec.choices or spec.kind == "bool"} >= {*OPTIONS[:-1]}
    choices = [tuple(ENCODERS), *(DECLARED[name].choices or (False, True) for name in OPTIONS[:-1]), (0.0, 0.1)]
    cover = {(encoder, *options) for encoder, _, *options in COVER}
    for (first, ours), (second, theirs) in itertools.combinations(enumerate(choices), 2):
        assert {(row[first], row[second]) for row in cover} == set(itertools.product(ours, theirs))


def test_the_configuration_offers_every_encoder_that_is_there() -> None:
    """Architectures, their variants and which of them start from pretrained weights: config and registry agree."""
    assert set(encoders()) == set(DECLARED["model.architecture"].choices)
    variants = [variant for encoder in encoders().values() for variant in encoder.variants]
    assert sorted(variants) == sorted(map(str, DECLARED["model.encoder"].choices))
    for name, encoder in encoders().items():
        config = with_values(TrainConfig(), {"model.architecture": name, "model.weights": "absent.weights.h5"})
        assert config.model.pretrained == (encoder.pretrained is not None)


def test_finding_the_encoders_loads_no_keras() -> None:
    """A configuration is checked in processes that are to stay without Keras."""
    code = "import sys; from lsml.models import pretrained; pretrained.encoders(); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_probabilities_have_the_shape_of_the_patches(model: keras.Model) -> None:
    """Any height and width that 2**depth divides give as many float32 probabilities in 0..1."""
    for size in ((2, 64, 64), (1, 32, 96)):
        probability = _answer(model, _bands(*size))
        assert probability.shape == (*size, 1)
        assert probability.dtype == np.float32
        assert 0 <= probability.min() < probability.max() <= 1


def test_no_convolution_of_single_pixels_has_a_stride(model: keras.Model) -> None:
    """TensorFlow's float32 gradient of one with less than 16 channels writes past its memory on a CPU."""
    convolutions = [layer for layer in _layers(model) if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) > 3
    assert {layer.strides for layer in convolutions if layer.kernel_size == (1, 1)} <= {(1, 1)}


def test_gradient_steps_lower_the_loss(config: TrainConfig, statistics: BandStatistics) -> None:
    """So many steps on one batch, whose landslide is a brighter square, or fewer, take off a tenth of the loss."""
    _, trained, members, _ = build_networks(with_values(config, {"model.dropout": 0.0}), statistics)
    loss = CompoundLoss(LossConfig())
    trained.compile(
        PacedAdamW(RATES[config.model.normalization], decay=0.004),
        loss if trained is members[0] else MembersLoss(SupervisedLoss(loss), len(members)),
        run_eagerly=EAGER,
    )
    truth = np.zeros((2, 64, 64, 1), "float32")
    truth[:, 16:48, 16:48] = 1
    bands = _bands(2, 64, 64) + 2 * truth
    if len(members) > 1:
        bands, truth = [bands] * len(members), np.concatenate([truth] * len(members))
    losses = []
    for _ in range(STEPS[config.model.normalization]):
        trained.reset_metrics()
        losses.append(float(trained.train_on_batch(bands, truth)))
        if losses[-1] < 0.9 * losses[0]:
            return
    pytest.fail(f"{losses}")


@pytest.mark.full
def test_files_load_where_lsml_cannot_be_imported(statistics: BandStatistics, tmp_path: Path) -> None:
    """Every network's file is let in, and without lsml gives the same to 1e-6, finite also of NaN and infinity."""
    bands = _bands(2, 64, 64)
    bands[0, 0, 0, :3], bands[0, :4, :, 3], bands[1, 5, 5] = (np.nan, np.inf, -np.inf), np.nan, np.inf
    np.save(tmp_path / "bands.npy", bands)
    expected = {}
    for name, values in NETWORKS.items():
        model = build_model(with_values(TrainConfig(), values), statistics)
        content = export(model, SENSOR).content
        load_bytes(content, SENSOR)
        (tmp_path / f"{name}.keras").write_bytes(content)
        expected[name] = _answer(model, bands)
        assert np.isfinite(expected[name]).all(), name
    subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_LSML + STRANGER, *expected], cwd=tmp_path, check=True, timeout=500
    )
    for name, probability in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), probability, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("config", [name for name in NETWORKS if name not in STEMS], indirect=True)
def test_bfloat16_ends_in_float32_logits(config: TrainConfig, model: keras.Model, statistics: BandStatistics) -> None:
    """Under mixed bfloat16 all convolutions but the last compute in it, and the output is the float32 network's.

    The tolerance is that of bfloat16's 8 bits in some dozen layers; networks of other weights lie .3 apart.
    """
    networks = build_networks(config, statistics, precision="mixed_bfloat16")
    network = networks.inference_model
    for member in networks.members:
        *convolutions, last = [layer for layer in member.layers if isinstance(layer, keras.layers.Conv2D)]
        assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
        assert last.name == "logits"
        after = member.layers[member.layers.index(last) :]
        assert {layer.compute_dtype for layer in after} == {"float32"}
        assert (last is member.layers[-1]) == (config.input.downscale == 1)
    assert keras.config.dtype_policy().name == "float32"

    network.set_weights(model.get_weights())
    logits = _answer(network, _bands(1, 32, 32))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), _answer(model, _bands(1, 32, 32)), rtol=0, atol=0.05)


def test_weights_derive_from_the_seed_alone(
    config: TrainConfig, model: keras.Model, statistics: BandStatistics
) -> None:
    """Equal seeds give equal weights whatever was built in between, another seed gives others; no two layers share."""
    first = model.get_weights()
    keras.utils.set_random_seed(99)
    again = build_model(config, statistics).get_weights()
    other = build_model(config.model_copy(update={"seed": 1}), statistics).get_weights()
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    drawn = [index for index, array in enumerate(first) if array.ndim == 4 and array.any()]
    assert not any(np.array_equal(first[index], other[index]) for index in drawn)
    starts = [first[index].ravel()[:8].tobytes() for index in drawn]
    assert len(set(starts)) == len(starts)
