"""What a study's registered model is called, and which of its versions has an alias."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lsml.config.experiment import load_experiment
from lsml.errors import ConfigError
from lsml.names import Attribute
from lsml.report.facts import TuneResult
from lsml.study.database import load_study
from lsml.study.trial import FUNCTIONS as DEFAULTS
from lsml.training.outcome import TrialFunction
from lsml.workflows.studies import stored_study
from lsml.workflows.tune import tune

from .conftest import client, runs
from .sleeping import better, pruning_resnets, sleeping, worse
from .test_tune import STORAGE, Listener


def study_of(name: str, data: Path, function: TrialFunction, *, trials: int = 1, **asked: str) -> TuneResult:
    """A study of that name in the current folder, of the base alone unless told otherwise."""
    experiment = load_experiment(Path("experiment.yaml")).with_settings(trials=trials)
    functions = replace(DEFAULTS, search=function, baselines={})
    return tune(experiment, study=name, data=data, storage=STORAGE, listener=Listener(), functions=functions, **asked)


def _aliases(model: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in client().get_registered_model(model).aliases.items()}


def test_another_study_leaves_the_models_of_the_first_alone(folder: Path, patches: Path) -> None:
    """Both are of one experiment, and each registers under its own name."""
    first = study_of("first", patches, sleeping)
    before = _aliases("first")
    assert (first.model, before) == ("first", {"candidate": "1"})
    assert first.aliases == ["first@candidate is version 1"]
    second = study_of("second", patches, sleeping)
    assert (second.model, second.version) == ("second", "1")
    assert _aliases("first") == before
    assert {model.name for model in client().search_registered_models()} == {"first", "second"}


def test_a_study_goes_by_its_runs_and_its_model_too(folder: Path, patches: Path) -> None:
    """In the database, which knows its name alone; what MLflow does not know either is told with the studies' names."""
    result = study_of("first", patches, sleeping)
    ids = (result.best_run_id[:8], result.study_run_id)
    for name in ("first", "first-000", *ids, "first@candidate", "models:/first/1"):
        assert stored_study(STORAGE, name).study_name == "first", name
    for name in ("second", "first@champion"):
        with pytest.raises(ConfigError, match=f"study .{name}.: no such study in the database; existing studies"):
            stored_study(STORAGE, name)
    said = load_study(STORAGE, "first").user_attrs[Attribute.SEARCHED]
    assert said == "model.dropout: 0 to 0.3; loss.jaccard: 0 to 1"


def test_studies_of_one_model_move_its_alias_by_the_promotion_policy(folder: Path, patches: Path) -> None:
    """The base finds 510 of 1,000 landslide pixels of each patch, the others 500 and 520, with as many false alarms.

    F1 is .51, .50 and .52, the same on every patch, so the interval of a difference is the difference alone.
    """
    studies = [("one", sleeping), ("worse", worse), ("better", better)]
    one, lower, higher = (study_of(name, patches, function, model_name="ours") for name, function in studies)
    assert [result.version for result in (one, lower, higher)] == ["1", "2", "3"]
    assert one.aliases == ["ours@candidate is version 1"]
    assert lower.aliases == [
        "ours@candidate stays at version 1: version 2 is worse: the whole 95 % interval of the difference lies below 0"
    ]
    assert higher.aliases == [
        "ours@candidate moved from version 1 to version 3: not worse: its F1 is as high or higher"
    ]
    assert _aliases("ours") == {"candidate": "3"}
    (moved,) = [value for key, value in client().get_model_version("ours", "3").tags.items() if "alias" in key]
    assert json.loads(moved)["from"] == "1"


def test_a_study_keeps_the_name_of_its_model(folder: Path, patches: Path) -> None:
    """Another one is refused; a study of an earlier lsml resumes under its experiment's name, as it began."""
    study_of("s", patches, sleeping)
    with pytest.raises(ConfigError, match="its registered model is called s, not other; leave out --model-name"):
        study_of("s", patches, sleeping, model_name="other")
    (parent,) = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    client().delete_tag(parent.info.run_id, "lsml.model_name")
    client().delete_registered_model("s")
    resumed = study_of("s", patches, sleeping, trials=2)
    assert resumed.model == "kill-test"
    assert [model.name for model in client().search_registered_models()] == ["kill-test"]


def test_a_pruned_network_has_no_alias(folder: Path, patches: Path) -> None:
    """Where no network of an architecture is complete, the best pruned one is a version without its name."""
    path = Path("experiment.yaml")
    path.write_text(
        path.read_text().replace("space:\n", "space:\n  model.architecture: {choices: [unet, resnet_unet]}\n")
    )
    result = study_of("s", patches, pruning_resnets, trials=4)
    states = {best["architecture"]: best["state"] for best in result.best_per_architecture}
    assert states == {"unet": "complete", "resnet_unet": "pruned"}
    # Its F1 is that of its model; Optuna has that of the last epoch.
    last = max(trial.value for trial in load_study(STORAGE, "s").trials if trial.state == TrialState.PRUNED)
    (pruned,) = [best for best in result.best_per_architecture if best["state"] == "pruned"]
    assert pruned["f1"] == pytest.approx(last + 0.01)
    assert set(_aliases("s")) == {"candidate", "unet"}
