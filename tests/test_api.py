"""The Python API: light to import, documented, and runnable from an experiment to predictions."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lsml
from tests import warm
from tests.patches import make_patches

EXPERIMENT = """
name: api
data: {path: patches}
base:
  model: {filters: 4, depth: 1}
  training: {epochs: 2, batch_size: 2, patience: 2}
space:
  training.learning_rate: {low: 1e-3, high: 1e-2, log: true}
study: {trials: 2}
"""

_LOADED = """
import sys
before = set(sys.modules)
import lsml
print(*sorted(name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names))
"""


def test_importing_it_is_cheap() -> None:
    """It loads no other package, and of its own modules the one of names alone; `bench/costs.py` says what it takes."""
    run = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["lsml", "lsml.names"]


def test_every_name_is_documented_and_others_are_refused() -> None:
    functions = [getattr(lsml, name) for name in lsml.__all__ if name != "__version__"]
    assert [function.__name__ for function in functions if len(function.__doc__ or "") < 100] == []
    assert dir(lsml) == lsml.__all__
    with pytest.raises(AttributeError, match="has no attribute 'tuna'"):
        lsml.tuna  # noqa: B018


def test_from_an_experiment_to_predictions(
    tmp_path: Path, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook: paths are text, nothing but what matters is given, and tables are data frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    make_patches(Path("patches"), train=6, validation=3, test=3, seed=1)
    Path("experiment.yaml").write_text(EXPERIMENT)
    experiment = lsml.load_experiment("experiment.yaml")
    with warm.warm_workers():
        result = lsml.tune(experiment)
    trials = result.to_frame()
    assert list(trials["slot"]) == [0, 1]
    assert {"state", "val_f1", "run_id", "training.learning_rate"} <= set(trials.columns)
    # After two epochs a classifier of single pixels knows more, and is what is registered.
    assert result.network is not None
    assert result.network["run_id"] in set(trials["run_id"])
    assert result.network["f1"] == trials["val_f1"].max()
    assert result.best_run_id in {entry["run_id"] for entry in result.baselines}
    assert lsml.tune(experiment, study="api").to_frame().equals(trials)

    report = lsml.evaluate(run_id=result.best_run_id, split="test")
    patches = report.to_frame()
    assert list(patches.columns) == ["id", "landslide_share", "hits", "misses", "false_alarms", "f1"]
    hits, wrong = patches["hits"].sum(), patches["misses"].sum() + patches["false_alarms"].sum()
    assert report.metrics["f1"] == pytest.approx(2 * hits / max(2 * hits + wrong, 1))
    low, high = report.intervals["f1"]
    assert low <= report.metrics["f1"] <= high

    predicted = lsml.predict("patches/TestData", run_id=result.best_run_id, out="maps").to_frame()
    assert list(predicted["id"]) == list(patches["id"])
    assert predicted["landslide_share"].between(0, 1).all()
    assert len(list(Path("maps/mask").iterdir())) == 3

    dataset = lsml.open_dataset("patches")
    images, masks = dataset.train.batch([0, 1])
    network = lsml.build_model(experiment.base, dataset.statistics)
    assert network(images).shape == masks.shape
    trained = lsml.train(experiment, seed=1)
    assert 0 <= trained.outcome.value <= 1
