"""Keras's own file of settings in the home folder, which is there for other programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lsml.errors import ConfigError
from lsml.training.device import prepare
from tests.processes import environment

SHOW = """
import json
from lsml.training.device import load_keras
load_keras()
import keras
print(json.dumps([keras.backend.backend(), keras.config.floatx(), keras.config.epsilon(),
                  keras.config.image_data_format(), keras.layers.Dense(1).dtype]))
"""


def test_settings_of_the_home_folder_change_nothing(tmp_path: Path) -> None:
    """Another backend, precision, constant and order of axes there: lsml computes as without the file."""
    theirs = {"backend": "torch", "floatx": "float64", "epsilon": 1e-3, "image_data_format": "channels_first"}
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(theirs))
    env = environment(HOME=str(tmp_path))
    for name in ("KERAS_BACKEND", "KERAS_HOME"):
        env.pop(name, None)
    done = subprocess.run([sys.executable, "-c", SHOW], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["tensorflow", "float32", 1e-7, "channels_last", "float32"]


@pytest.mark.parametrize(
    "text", ['["a list"]', '{"floatx": "float128"}', '{"epsilon": 1}', '{"image_data_format": []}']
)
def test_settings_that_keras_refuses_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Keras would end in a traceback while it is imported."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(text)
    with pytest.raises(ConfigError, match=r"keras\.json: it holds what Keras refuses"):
        prepare()


@pytest.mark.parametrize("content", [b"{broken", b"\xff\xfe", b""])
def test_a_file_of_settings_that_is_no_json_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """As Keras itself does."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_bytes(content)
    prepare()
