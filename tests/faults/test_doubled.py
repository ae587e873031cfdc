"""What writes is done once, also where its answer is lost on the way back."""

from pathlib import Path

import pytest

from lsml.names import Role, Tag
from tests.study.conftest import counted
from tests.study.sleeping import sleeping
from tests.study.test_tune import Listener, run

from .conftest import Proxy


@pytest.mark.full
def test_a_study_whose_answers_are_lost_writes_everything_once(folder: Path, patches: Path, proxy: Proxy) -> None:
    """The first answer to every write is lost: an attempt has one run, closed, a run one model, a model one version."""
    proxy.fault = "drop"
    result = run(patches, sleeping, Listener(), trials=2)
    proxy.fault = None
    from lsml.tracking.store import open_client

    client = open_client()
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment
    found = client.search_runs([experiment.experiment_id])
    assert [r.info.status for r in found if r.info.status == "RUNNING"] == []
    trials = [r for r in found if r.data.tags[Tag.ROLE] == Role.TRIAL]
    assert sorted((r.data.tags[Tag.SLOT], r.data.tags[Tag.ATTEMPT]) for r in trials) == [("0", "1"), ("1", "1")]
    assert len(found) == 3
    assert {entry["run_id"] for entry in counted("s")} == {r.info.run_id for r in trials}
    models = client.search_logged_models([experiment.experiment_id])
    assert sorted(model.source_run_id for model in models) == sorted(r.info.run_id for r in trials)
    versions = client.search_model_versions("name='s'")
    assert len({version.run_id for version in versions}) == len(versions)
    assert result.best_run_id in {version.run_id for version in versions}
    for trial in trials:
        curve = client.get_metric_history(trial.info.run_id, "val_f1")
        assert [point.step for point in curve] == [1, 2, 3, 4][: len(curve)]
        assert len([f for f in client.list_artifacts(trial.info.run_id, "images") if f.path.endswith(".png")]) == 1
