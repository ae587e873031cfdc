"""`lsml export`: a registered model as files that run where lsml is not installed."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Study
from tests.processes import lsml, without_lsml

APART = """
import glob, json, sys
import h5py, numpy as np, onnx, onnxruntime, tensorflow as tf
onnx_file, saved, patch, answer = sys.argv[1:]
with h5py.File(patch) as file:
    images = file["img"][()][None].astype("float32")
(with_onnx,) = onnxruntime.InferenceSession(onnx_file).run(None, {"stored_bands": images})
(with_tensorflow,) = tf.saved_model.load(saved).signatures["serving_default"](tf.constant(images)).values()
with h5py.File(answer) as file:
    expected = file["probability"][()]
told = {entry.key: json.loads(entry.value) for entry in onnx.load(onnx_file).metadata_props}
found = {name: float(np.abs(np.squeeze(a) - np.squeeze(expected)).max())
         for name, a in (("onnx", with_onnx), ("tensorflow", with_tensorflow))}
print(json.dumps(found | {"threshold": told["threshold"], "run_id": told["run_id"]}))
"""


@pytest.mark.full
@pytest.mark.landslide4sense("predictions of its HDF5 files are HDF5 files")
def test_exported_models_answer_as_predict_does_without_lsml(study: Study, tmp_path: Path) -> None:
    """Within 1e-4 of the probabilities that `lsml predict` writes; the threshold is that of the model."""
    for name in ("onnx", "savedmodel"):
        done = lsml(study.folder, "export", "first@candidate", "--format", name, "--out", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        checked, threshold, written = done.stdout.splitlines()
        assert checked.startswith("checked: probabilities of a trial image are at most")
        assert written == f"written: {tmp_path / name}"
        assert done.stderr == ""
    images = study.data / "TestData" / "img"
    assert lsml(study.folder, "predict", str(images), "--run-id", study.best_run, "--out", "answers").returncode == 0
    patch, answer = images / "image_1.h5", study.folder / "answers" / "probability" / "probability_1.h5"
    told = without_lsml(tmp_path, APART, *map(str, (tmp_path / "onnx", tmp_path / "savedmodel", patch, answer)))
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["onnx"] < 1e-4
    assert found["tensorflow"] < 1e-4
    assert found["run_id"] == study.best_run
    assert f"{found['threshold']:.4f}" in threshold


def test_what_is_there_already_is_left_alone(study: Study, tmp_path: Path) -> None:
    """Before anything is loaded; and a wrong combination is named."""
    (tmp_path / "model.onnx").write_text("mine")
    refused = lsml(study.folder, "export", "first@candidate", "--out", str(tmp_path / "model.onnx"))
    assert (refused.returncode, refused.stderr) == (
        2,
        f"lsml: error: --out {tmp_path}/model.onnx: exists; name another one, or remove it\n",
    )
    assert (tmp_path / "model.onnx").read_text() == "mine"
    refused = lsml(study.folder, "export", "first@candidate", "--format", "savedmodel", "--channels", "first")
    assert refused.stderr == "lsml: error: --channels first: is for ONNX alone; leave it out\n"
    assert refused.returncode == 2
