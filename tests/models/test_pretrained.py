"""Pretrained encoders: from a file that the test trains and saves, through the door that every file takes."""

import hashlib
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig, with_values
from lsml.data.splits import TrainingData
from lsml.data.statistics import BandStatistics
from lsml.errors import ConfigError, ModelError
from lsml.models.export import load_bytes
from lsml.models.pretrained import _three_channel_encoder as three_channel_encoder
from lsml.models.pretrained import identity, load_pretrained
from lsml.models.unet import build_network, build_networks
from lsml.training.fit import FitResult, fit
from lsml.training.network import Network
from lsml.training.trainer import Trainer, last_epoch
from tests.bands import N_BANDS, SENSOR
from tests.processes import ROOT, environment, lsml
from tests.training.test_trainer import STATISTICS, Listener, Squares

pytestmark = pytest.mark.landslide4sense("pretrained filters are carried to its blue, green and red")

ENCODER: dict[str, Scalar] = {"model.architecture": "resnet_unet", "model.encoder": "resnet18", "model.filters": 4}

LAST = "conv3_block2_out"
"""The coarsest features of a ResNet-18 of depth 3."""


@pytest.fixture(scope="module", autouse=True)
def _untraced(without_tracing: None) -> None:
    """Trainings of some steps."""


@pytest.fixture(scope="session")
def trained() -> keras.Model:
    """A ResNet-18 of 4 filters that has learnt for ten steps which of two textures a picture has."""
    encoder = three_channel_encoder(with_values(TrainConfig(), ENCODER).model)
    pooled = keras.layers.GlobalAveragePooling2D()(encoder.outputs[-1])
    classifier = keras.Model(encoder.input, keras.layers.Dense(1, activation="sigmoid")(pooled))
    classifier.compile("adam", "binary_crossentropy", run_eagerly=True)
    truth = np.arange(8) % 2
    for step in range(10):
        pictures = _pictures(8, seed=step)
        pictures[truth == 1, ::2] -= 60
        classifier.train_on_batch(pictures, truth)
    return encoder


@pytest.fixture(scope="session")
def weights(trained: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file."""
    path = tmp_path_factory.mktemp("pretrained") / "tiny.weights.h5"
    trained.save_weights(path)
    return path


def _pictures(count: int, *, seed: int = 0, size: int = 32) -> np.ndarray:
    """Blue, green and red as the weights know them: mean 0, standard deviation 57.6, float32 `(B, H, W, 3)`."""
    return np.random.default_rng(seed).normal(0, 57.6, (count, size, size, 3)).astype("float32")


def _config(weights: Path | str, **values: Scalar) -> TrainConfig:
    changes = {name.replace("__", "."): value for name, value in values.items()}
    return with_values(TrainConfig(), {**ENCODER, "model.depth": 3, "model.weights": str(weights), **changes})


def _carried(config: TrainConfig, statistics: BandStatistics) -> keras.Model:
    network = build_network(config, statistics)
    load_pretrained(config, network, statistics.sensor)
    return network


def _features(network: keras.Model, name: str, stored: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(network.input, network.get_layer(name).output)(stored))


def _stored(pictures: np.ndarray, statistics: BandStatistics) -> np.ndarray:
    """Bands whose blue, green and red are the pictures: mean + std * value / 57.6; the others are at their mean."""
    mean, std = np.asarray(statistics.mean), np.asarray(statistics.std)
    stored = np.tile(mean, (*pictures.shape[:3], 1))
    stored[..., 1:4] += std[1:4] * pictures / 57.6
    return stored.astype("float32")


INPUTS: tuple[dict[str, Scalar], ...] = (
    {},
    {"input.scaling": "minmax"},
    {"input.indices": "all", "input.terrain": False},
    {"input.red_edge": False, "input.near_infrared": False, "input.short_wave_infrared": False},
    {f"input.{name}": False for name in ("red_edge", "near_infrared", "short_wave_infrared", "atmospheric", "terrain")},
)


@pytest.mark.parametrize("stem", ["inflate", "project"])
@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_with_other_bands_at_their_mean_it_is_the_three_channel_network(
    stem: str, inputs: dict[str, Scalar], trained: keras.Model, weights: Path, statistics: BandStatistics
) -> None:
    """Whatever the scaling and the bands, features of the network with 14 bands are those that the file's has."""
    network = _carried(with_values(_config(weights, model__stem=stem), inputs), statistics)
    # 170 is less than 3 standard deviations of .5 from a mean of 1.1 or more: above -.4, and minmax cuts at -4 and 8.
    pictures = np.clip(_pictures(2, seed=99), -170, 170)
    found = _features(network, LAST, _stored(pictures, statistics))
    expected = np.asarray(keras.Model(trained.input, trained.get_layer(LAST).output)(pictures))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_other_bands_weigh_one_channel_together(
    trained: keras.Model, weights: Path, statistics: BandStatistics
) -> None:
    """Each of the eleven other bands has the filters' mean over eleven, and an index has nothing."""
    kernel = _carried(_config(weights, input__indices="all"), statistics).get_layer("conv1_conv").get_weights()[0]
    published = trained.get_layer("conv1_conv").get_weights()[0]
    assert kernel.shape == (7, 7, N_BANDS + 6, 4)
    np.testing.assert_array_equal(kernel[:, :, 1:4], published)
    for band in (0, *range(4, N_BANDS)):
        np.testing.assert_allclose(kernel[:, :, band], published.mean(axis=2) / 11, rtol=1e-6, atol=1e-9)
    assert not kernel[:, :, N_BANDS:].any()


def test_bands_come_into_the_range_of_the_weights(weights: Path, statistics: BandStatistics) -> None:
    """One standard deviation above its train mean every band is 57.6, under both scalings; a constant band is 0."""
    stored = (np.asarray(statistics.mean) + np.asarray(statistics.std))[None, None, None].astype("float32")
    for scaling in ("standard", "minmax"):
        network = build_network(_config(weights, input__scaling=scaling), statistics)
        ranged = _features(network, "pretrained_range", np.tile(stored, (1, 8, 8, 1)))[0, 0, 0]
        np.testing.assert_allclose(ranged, [57.6] * 13 + [0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stem", ["inflate", "project"])
def test_bfloat16_gives_the_same_network(stem: str, weights: Path, statistics: BandStatistics) -> None:
    """All convolutions but the last compute in bfloat16, and probabilities are the float32 network's within .05."""
    config = _config(weights, model__stem=stem)
    plain = _carried(config, statistics)
    mixed = build_networks(config, statistics, precision="mixed_bfloat16").inference_model
    mixed.set_weights(plain.get_weights())
    *convolutions, _ = [layer for layer in mixed.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
    stored = _stored(_pictures(1, seed=5), statistics)
    expected, found = (np.asarray(keras.ops.sigmoid(network(stored))) for network in (plain, mixed))
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05)


def test_project_works_without_visible_bands(weights: Path, statistics: BandStatistics) -> None:
    """The layer in front then starts from random weights, and from other ones with another seed."""
    kernels = [
        _carried(_config(weights, model__stem="project", input__visible=False, seed=seed), statistics)
        .get_layer("stem_project")
        .get_weights()[0]
        for seed in (0, 1)
    ]
    assert kernels[0].shape == (1, 1, 11, 3)
    assert kernels[0].all()
    assert not np.array_equal(*kernels)


def test_every_kind_of_file_gives_the_same(
    trained: keras.Model, weights: Path, statistics: BandStatistics, tmp_path: Path
) -> None:
    """Keras's `.weights.h5`, its `.keras` and the whole models of older versions in `.h5`."""
    trained.save(tmp_path / "whole.keras")
    trained.save(tmp_path / "whole.h5")
    expected = _carried(_config(weights), statistics).get_weights()
    for name in ("whole.keras", "whole.h5"):
        found = _carried(_config(tmp_path / name), statistics).get_weights()
        assert all(np.array_equal(one, two) for one, two in zip(found, expected, strict=True)), name


@pytest.mark.parametrize("top", [False, True])
def test_files_of_keras_applications_fit_resnet50(top: bool, statistics: BandStatistics, tmp_path: Path) -> None:
    """A file of keras's own ResNet-50, with its 1,000 classes or without, gives the features that keras's has."""
    theirs = keras.applications.ResNet50(include_top=top, weights=None, input_shape=(224, 224, 3) if top else None)
    generator = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # As trained ones have; the convolutions' biases are not zero either.
            limits = ((0.5, 1), (-0.1, 0.1), (-0.1, 0.1), (0.01, 1))
            layer.set_weights([generator.uniform(*limit, layer.gamma.shape) for limit in limits])
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(generator.uniform(-0.1, 0.1, layer.bias.shape))
    path = tmp_path / ("whole.h5" if top else "published.weights.h5")
    theirs.save(path) if top else theirs.save_weights(path)

    config = _config(path, model__encoder="resnet50", model__filters=64, model__depth=2)
    network = _carried(config, statistics)
    pictures = _pictures(1, size=224 if top else 32)
    expected = np.asarray(keras.Model(theirs.input, theirs.get_layer("conv2_block3_out").output)(pictures))
    found = _features(network, "conv2_block3_out", _stored(pictures, statistics))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model.weights": "imagenet"}, "model.weights: keras.applications has no ImageNet weights of resnet18; set "),
        (
            {"model.weights": "imagenet", "model.encoder": "resnet50"},
            "model.weights: ImageNet's are of 64 filters, and model.filters is 4; set model.filters=64",
        ),
        ({"model.normalization": "group"}, "pretrained encoders have batch normalisation, and model.normalization is"),
        ({"input.features": "six_inputs"}, "model.weights: pretrained encoders need bands, and input.features is"),
        ({"input.visible": False}, "model.stem: inflate carries filters to blue, green and red, and input.visible is"),
    ],
)
def test_what_cannot_go_together_is_one_line(values: dict[str, Scalar], says: str, statistics: BandStatistics) -> None:
    """Before any file is read, building the network says what to change."""
    with pytest.raises(ConfigError, match=says) as raised:
        build_network(with_values(_config("absent.weights.h5"), values), statistics)
    assert "\n" not in str(raised.value)


def test_a_word_that_is_no_file_of_weights_is_refused() -> None:
    """`imagnet` is neither of the words nor a file's name."""
    with pytest.raises(ConfigError, match=r"model.weights: .*must be none, imagenet, or a file .* not 'imagnet'"):
        _config("imagnet")


def test_files_that_do_not_fit_are_one_line(weights: Path, statistics: BandStatistics, tmp_path: Path) -> None:
    """Missing, a folder, empty, cut short, a pickle, of other or fewer layers, of another encoder, or with a NaN."""
    content = weights.read_bytes()
    for name, bad in {"empty": b"", "cut": content[: len(content) // 2], "pickle": b"\x80\x04K\x00."}.items():
        (tmp_path / f"{name}.weights.h5").write_bytes(bad)
        (tmp_path / f"{name}.h5").write_bytes(bad)
        (tmp_path / f"{name}.keras").write_bytes(bad)
    (tmp_path / "folder.h5").mkdir()
    broken = three_channel_encoder(_config(weights).model)
    broken.get_layer("conv1_norm").moving_mean.assign([0, 1, np.nan, 1])
    broken.save_weights(tmp_path / "nan.weights.h5")
    keras.Model(broken.input, broken.outputs[:3]).save_weights(tmp_path / "shallow.weights.h5")
    outer = keras.Input((None, None, 3))
    keras.Model(outer, broken(outer)[-1]).save_weights(tmp_path / "nested.weights.h5")
    cases: list[tuple[str, dict[str, Scalar], str]] = [
        ("absent.weights.h5", {}, "cannot be read: No such file or directory"),
        ("folder.h5", {}, "cannot be read: Is a directory"),
        *((f"{name}.{end}", {}, "") for name in ("empty", "cut", "pickle") for end in ("weights.h5", "h5", "keras")),
        ("nan.weights.h5", {}, "it has no finite weights for conv1_norm"),
        ("shallow.weights.h5", {}, ""),
        ("nested.weights.h5", {}, ""),
    ]
    shutil.copy(weights, tmp_path / "good.weights.h5")
    cases += [
        ("good.weights.h5", {"model.filters": 8}, "three-channel resnet18 with model.filters=8"),
        ("good.weights.h5", {"model.encoder": "resnet34"}, "three-channel resnet34 with model.filters=4"),
    ]
    plain = build_network(_config("absent.weights.h5"), statistics)
    for name, values, says in cases:
        config = with_values(_config(tmp_path / name), values)
        network = build_network(config, statistics) if values else plain
        with pytest.raises(ModelError) as raised:
            load_pretrained(config, network, statistics.sensor)
        line = str(raised.value)
        assert says in line, line
        assert line.startswith(f"model.weights {tmp_path / name}: "), line
        assert "\n" not in line
        assert len(line) < 700, line


def _fitted(config: TrainConfig, checkpoint: Path | None = None) -> tuple[FitResult, Listener]:
    listener = Listener()
    data = TrainingData(Squares("train", 8), Squares("validation", 4), STATISTICS, "squares")
    return fit(config, data, listener, checkpoint=checkpoint), listener


def test_training_starts_from_the_file_and_its_model_needs_it_no_more(weights: Path, tmp_path: Path) -> None:
    """At a vanishing learning rate the exported encoder is the file's, also where the file is not there.

    That lsml need not be there either is a contract of all networks.
    """
    path = tmp_path / "moved.weights.h5"
    shutil.copy(weights, path)
    config = _config(path, training__epochs=1, training__learning_rate=1e-12, model__depth=2)
    result, _ = _fitted(config)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert result.environment["weights_sha256"] == Network(config).environment()["weights_sha256"] == digest
    assert "weights_sha256" not in Network(with_values(config, {"model.weights": "none"})).environment()
    carried = _carried(config, STATISTICS).get_layer("conv2_block1_1_conv").get_weights()[0]
    (tmp_path / "model.keras").write_bytes(result.model.content)
    path.unlink()
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert np.isfinite(np.asarray(model(np.ones((1, 32, 32, N_BANDS), "float32")))).all()
    np.testing.assert_allclose(model.get_layer("conv2_block1_1_conv").get_weights()[0], carried, rtol=0, atol=1e-6)


def test_every_member_starts_from_the_file(weights: Path) -> None:
    """Of several networks each has the file's encoder, and a decoder of its own."""
    config = _config(weights, model__depth=2, model__members=2)
    run = Trainer(config, Squares("train", 8), STATISTICS, validation=None, keep=last_epoch, checkpoint=None)
    first, second = (_kernels(layer) for layer in run.network.layers if isinstance(layer, keras.Model))
    expected = _kernels(_carried(with_values(config, {"model.members": 1}), STATISTICS))
    np.testing.assert_array_equal(first[0], expected[0])
    np.testing.assert_array_equal(second[0], expected[0])
    assert not np.array_equal(first[1], second[1])


def test_a_changed_file_is_another_run(weights: Path, tmp_path: Path) -> None:
    """A run goes on from its checkpoint while the file is the same, and starts again with other weights in it."""
    path = tmp_path / "weights.weights.h5"
    shutil.copy(weights, path)
    config, checkpoint = _config(path, training__epochs=1, model__depth=2), tmp_path / "checkpoint"
    _fitted(config, checkpoint)
    assert _fitted(config, checkpoint)[1].events[0].replayed
    other = three_channel_encoder(config.model)
    other.save_weights(path)
    assert not _fitted(config, checkpoint)[1].events[0].replayed


@pytest.fixture(scope="module")
def kernels(weights: Path) -> dict[str, list[np.ndarray]]:
    """An encoder's kernel and one of the decoder's, at the start and after three steps, by what held the encoder."""
    config = _config(weights, model__depth=2, training__epochs=1, training__batch_size=4, training__schedule="constant")
    # Of the eight patches two steps are an epoch as it is.
    config = with_values(config, {"training.steps_per_epoch": 3})
    held: dict[str, dict[str, Scalar]] = {
        "free": {},
        "frozen": {"training.freeze_epochs": 1},
        "slow": {"training.encoder_learning_rate_share": 0.01},
    }
    found = {"start": _kernels(_carried(config, STATISTICS))}
    return found | {
        name: _kernels(load_bytes(_fitted(with_values(config, h))[0].model.content, SENSOR)) for name, h in held.items()
    }


def _kernels(network: keras.Model) -> list[np.ndarray]:
    return [network.get_layer(name).get_weights()[0] for name in ("conv2_block1_1_conv", "decoder0_conv1")]


def test_a_frozen_encoder_keeps_its_weights(kernels: dict[str, list[np.ndarray]]) -> None:
    """With `training.freeze_epochs` of all epochs the encoder is the file's to the last bit, and the decoder learns."""
    np.testing.assert_array_equal(kernels["frozen"][0], kernels["start"][0])
    assert not np.array_equal(kernels["frozen"][1], kernels["start"][1])
    assert not np.array_equal(kernels["free"][0], kernels["start"][0])


def test_a_slow_encoder_moves_less(kernels: dict[str, list[np.ndarray]]) -> None:
    """At a hundredth of the learning rate it moves less than a thirtieth as far, the decoder about as far."""
    (free, free_decoder), (slow, slow_decoder) = (
        [np.abs(end - start).mean() for end, start in zip(kernels[name], kernels["start"], strict=True)]
        for name in ("free", "slow")
    )
    assert 0 < slow < free / 30
    assert free_decoder / 2 < slow_decoder < 2 * free_decoder


def test_unet_leaves_the_file_alone(statistics: BandStatistics) -> None:
    """As with `model.encoder`, a plain U-Net is the same whatever `model.weights` says, and needs no file."""
    plain = with_values(_config("absent.weights.h5"), {"model.architecture": "unet"})
    assert identity(plain.model) == "none"
    names = [layer.name for layer in build_network(plain, statistics).layers]
    assert names == [
        layer.name for layer in build_network(with_values(plain, {"model.weights": "none"}), statistics).layers
    ]


@pytest.mark.parametrize("command", [pytest.param("train", marks=pytest.mark.full), "tune"])
def test_without_a_network_imagenet_is_one_line_and_exit_5(command: str, tmp_path: Path) -> None:
    """It says where the file is to be had and what to do with it; `tune` does so before it makes anything."""
    demo = str(ROOT / "experiments" / "demo.yaml")
    values = ("architecture=resnet_unet", "encoder=resnet50", "filters=64", "weights=imagenet")
    # Nobody listens on port 9 of this machine.
    env = environment(KERAS_HOME=str(tmp_path / "keras"), https_proxy="http://127.0.0.1:9", no_proxy="")
    words = [word for value in values for word in ("--set", f"model.{value}")]
    # Keras reads where its home is when it is imported.
    done = lsml(tmp_path, command, demo, *words, python=sys.executable, env=env)
    assert done.returncode == 5, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "lsml: error: model.weights=imagenet: the weights are not available: URL fetch failure on https://"
    )
    assert last.endswith("download that file where there is a network, and set model.weights to its path")
    assert "Traceback" not in done.stderr
    if command == "tune":
        assert [path.name for path in tmp_path.iterdir()] == ["keras"]
