"""Pretrained weights of a study: refused before anything begins, and part of what the study is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsml.config.schema import TrainConfig, with_values
from lsml.errors import ConfigError
from lsml.models.pretrained import _three_channel_encoder as three_channel_encoder

from .conftest import environment
from .sleeping import sleeping
from .test_tune import Listener, run

CODE = """
import sys
from lsml.cli.main import main
code = main(["tune", "experiment.yaml", "--data", sys.argv[1]])
assert "keras" not in sys.modules
sys.exit(code)
"""


def _weights(path: Path, *, seed: int) -> None:
    """A file that fits a ResNet-18 of 4 filters."""
    import keras

    keras.utils.set_random_seed(seed)
    config = with_values(TrainConfig(), {"model.encoder": "resnet18", "model.filters": 4})
    three_channel_encoder(config.model).save_weights(path)


def _choose(folder: Path, *, weights: str, encoders: str) -> None:
    """Has the experiment search these weights and encoders, beside a base without weights."""
    path = folder / "experiment.yaml"
    text = path.read_text().replace("model: {filters: 4", f"model: {{encoder: {encoders.split(',')[0]}, filters: 4")
    dimensions = f"""space:
  model.architecture: {{choices: [unet, resnet_unet]}}
  model.encoder: {{choices: [{encoders}], when: {{model.architecture: resnet_unet}}}}
  model.weights: {{choices: [none, {weights}], when: {{model.architecture: resnet_unet}}}}
"""
    path.write_text(text.replace("space:\n", dimensions))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("absent.weights.h5", "model.weights absent.weights.h5: cannot be read: No such file or directory; check"),
        ("eighteen.weights.h5", "three-channel resnet34 with model.filters=4"),
    ],
)
def test_weights_that_no_trial_could_use_end_the_study_before_it_begins(
    folder: Path, patches: Path, weights: str, says: str
) -> None:
    """One line, exit code 5, nothing made, and no Keras in the process that would coordinate."""
    _weights(folder / "eighteen.weights.h5", seed=0)
    _choose(folder, weights=weights, encoders="resnet34")
    before = sorted(folder.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(patches)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lsml: error: model.weights {weights}: ")
    assert says in line
    assert done.returncode == 5
    assert sorted(folder.iterdir()) == before


def test_weights_that_the_bands_do_not_suit_end_the_study_before_it_begins(folder: Path, tmp_path: Path) -> None:
    """`inflate` on a sensor without blue, green and red: told before anything is packed, without a worker."""
    for kind in ("images", "masks"):
        (tmp_path / "data/train" / kind).mkdir(parents=True)
        for number in range(4):
            value = np.full((32, 32), number + 1.0) if kind == "images" else np.eye(32, dtype=np.uint8)
            np.save(tmp_path / "data/train" / kind / f"{number}.npy", value)
    (tmp_path / "data/dataset.yaml").write_text("name: radar\nbands: [{name: VV, unit: decibels}]\n")
    _weights(folder / "tiny.weights.h5", seed=1)
    _choose(folder, weights="tiny.weights.h5", encoders="resnet18")
    before = sorted(folder.iterdir())
    with pytest.raises(ConfigError, match="inflate carries filters to blue, green and red, which radar lacks"):
        run(tmp_path / "data", sleeping, Listener(), trials=1)
    assert sorted(folder.iterdir()) == before


@pytest.mark.full
def test_a_study_does_not_go_on_with_another_file(folder: Path, patches: Path) -> None:
    """One encoder of two that fits is enough to begin; with other weights in the file the study is refused."""
    _weights(folder / "tiny.weights.h5", seed=1)
    _choose(folder, weights="tiny.weights.h5", encoders="resnet34, resnet18")
    run(patches, sleeping, Listener(), trials=1)
    _weights(folder / "tiny.weights.h5", seed=2)
    with pytest.raises(ConfigError) as refused:
        run(patches, sleeping, Listener(), trials=2)
    line = str(refused.value)
    assert line.startswith("study 's': was started with another weights file (tiny.weights.h5: ")
    assert line.endswith("; start a new one with --study NAME")
    assert "\n" not in line
