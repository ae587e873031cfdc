"""`lsml config`: the reference is whole, and a file is checked without anything heavy."""

import json
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT, environment, lsml

DEMO = str(ROOT / "experiments" / "demo.yaml")
HEAVY = {"keras", "tensorflow", "mlflow", "optuna", "dask", "distributed", "h5py", "cv2", "albumentations", "sklearn"}


def test_reference_as_json_holds_every_field_and_setting(tmp_path: Path) -> None:
    """One entry a hyperparameter, one a setting, with what an editor's form needs."""
    from lsml.config.schema import TrainConfig

    found = json.loads(lsml(tmp_path, "config", "reference", "--format", "json").stdout)
    assert [entry["name"] for entry in found["hyperparameters"]] == [spec.name for spec in TrainConfig.fields()]
    by_name = {entry["name"]: entry for entry in found["hyperparameters"] + found["settings"]}
    depth = by_name["model.depth"]
    assert (depth["type"], depth["default"], depth["low"], depth["high"]) == ("int", 4, 1, 5)
    assert by_name["training.epochs"]["unit"] == "epochs"
    assert by_name["study.trials"] == {
        "name": "study.trials",
        "type": "int",
        "default": 20,
        "choices": [],
        "low": 1,
        "high": 100_000,
        "unit": "trials",
        "meaning": "number of trials of the study",
    }
    assert by_name["study.sampler.name"]["choices"] == ["tpe", "random", "qmc", "cma-es", "gp", "nsga2"]
    assert by_name["study.pruner.name"]["default"] == "successive_halving"
    assert by_name["data.synthetic.train"]["default"] == 96
    assert by_name["data.folds"]["default"] is None
    assert all(entry["meaning"] and entry["type"] for entry in by_name.values())
    # startup_trials belongs to three samplers and a pruner, each with its own line.
    owners = [e["meaning"].split(":")[0] for e in found["settings"] if e["name"].endswith("startup_trials")]
    assert owners == ["tpe", "cma-es", "gp", "median"]


def test_reference_loads_nothing_heavy(tmp_path: Path) -> None:
    """Neither the reference nor a check of a file loads Keras, Optuna, MLflow or what reads patches."""
    script = f"""
import sys
from lsml.cli.main import main
assert main(["config", "reference"]) == 0
assert main(["config", "check", {DEMO!r}]) == 0
print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_a_file_is(tmp_path: Path) -> None:
    """One line: how much is searched, how, on what; a mistake is one line too, with exit code 2."""
    path = tmp_path / "mine.yaml"
    path.write_text("""
name: mine
data: {path: somewhere, folds: 4, repeats: 3}
space:
  model.architecture: {choices: [unet, resnet_unet]}
  model.encoder: {choices: [resnet18, resnet34], when: {model.architecture: resnet_unet}}
  model.depth: {low: 3, high: 5}
study: {trials: 7, sampler: qmc, pruner: {name: median}}
""")
    done = lsml(tmp_path, "config", "check", "mine.yaml")
    assert done.stdout == (
        "mine: 3 fields searched (1 conditional), 7 trials by qmc, pruning median; "
        "patches in somewhere in 4 folds, 3 times\n"
    )
    path.write_text(path.read_text().replace("sampler: qmc", "sampler: qmcc"))
    wrong = lsml(tmp_path, "config", "check", "mine.yaml")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert (
        wrong.stderr == "lsml: error: experiment mine.yaml: study.sampler: no such name 'qmcc'; did you mean 'qmc'?\n"
    )
