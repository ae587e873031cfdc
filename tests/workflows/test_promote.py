"""Promotion over a real MLflow store, with tables of patches made by hand: who becomes champion, and why."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from lsml.config.schema import TrainConfig
from lsml.data.splits import FoldedData, Steps, StudyData, TrainingData, WholeData
from lsml.errors import ConfigError, DataError, ModelError, StorageError
from lsml.models.export import ModelFile
from lsml.names import Alias, Artifact, Tag
from lsml.tracking.runs import TrainingRun, retrainings_of
from lsml.tracking.store import find_run, open_client
from lsml.training.outcome import Report, StepEvent, TrialOutcome, TrialTask
from lsml.workflows.promote import Promotion, promote, rollback
from lsml.workflows.retrain import Retraining
from lsml.workflows.train import refit
from tests import warm
from tests.bands import PATCH_SIZE, SENSOR
from tests.patches import make_patches
from tests.processes import environment
from tests.scoring.patch_tables import GOOD, POOR, Row, table
from tests.workflows.run_promoted import Silent, state, unmoved


class Store(NamedTuple):
    """A folder with an MLflow store and packed patches."""

    folder: Path
    client: Any
    data: TrainingData

    def trained(
        self,
        name: str,
        rows: list[Row] | None,
        data: StudyData | None = None,
        *,
        model: bool = True,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """The run of a training of experiment `name` that came to its end, with that table and a model's bytes."""
        run = TrainingRun(
            self.client,
            name=name,
            config=TrainConfig(),
            data=data or self.data,
            root=str(self.folder / "made"),
            tags={Tag.EXPERIMENT: name, **tags},
        )
        run.outcome(_outcome(rows, run.id if model else None))
        run.closed("complete", "")
        return run.id

    def champion(self, name: str) -> str | None:
        """The version that the alias is at."""
        return state(self.client, name)["aliases"].get(Alias.CHAMPION)


def _outcome(rows: list[Row] | None, content: str | None) -> TrialOutcome:
    file = ModelFile(content.encode(), hashlib.sha256(content.encode()).hexdigest(), SENSOR) if content else None
    return TrialOutcome(
        value=0.5,
        stopped="finished",
        steps=Steps("epoch", 1),
        best_epoch=1,
        threshold=0.5,
        metrics={"val_f1": 0.5, "val_threshold": 0.5},
        environment={"device_name": "a processor", "backend": "tensorflow"},
        model=file,
        tables={Artifact.VALIDATION_PATCHES: table(rows)} if rows else {},
    )


def counts(rows: list[Row]) -> np.ndarray:
    """TP, FP and FN of each patch."""
    return np.array([[hits, alarms, misses] for hits, misses, alarms in rows])


def promoted(reference: str, rows: list[Row]) -> Promotion:
    """By the job, where a fresh process finds what those rows say."""
    return promote(reference, repeats=0, data=None, listener=Silent(), check=partial(unmoved, counts(rows)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Iterator[Store]:
    """One store for the whole file; each test has models of its own name."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder))
        make_patches(folder / "made", train=3, validation=2, test=1, seed=3)
        yield Store(folder, open_client(), TrainingData.prepare(folder / "made", Path(".lsml/packs")))


def test_the_first_champion_is_registered_and_the_same_command_changes_nothing(store: Store) -> None:
    """It says that there was nothing to compare with; the second time that it is champion already."""
    run = store.trained("first", GOOD)
    found = promoted(run, GOOD)
    assert (found.verdict, found.version, found.champion_before) == ("promoted", "1", None)
    assert "there is none to compare it with" in found.why
    once = state(store.client, "first")
    assert once["aliases"] == {Alias.CHAMPION: "1"}
    tags = once["versions"][0]["tags"]
    assert (tags["lsml.promotion.verdict"], tags["lsml.promotion.champion_before"]) == ("promoted", "none")
    assert promoted(run, GOOD).verdict == "already"
    assert promoted("models:/first/1", GOOD).verdict == "already"
    assert state(store.client, "first") == once


def test_the_part_that_takes_longest_is_announced(store: Store) -> None:
    """A fresh process loads Keras and scores the validation patches, two here, which takes longer than all else."""
    listener = Silent()
    run = store.trained("announced", GOOD)
    promote(run, repeats=0, data=None, listener=listener, check=partial(unmoved, counts(GOOD)))
    assert listener.stages == ["scoring the registered file in a fresh process on 2 patches"]


def test_a_worse_model_is_refused_and_a_better_one_is_not(store: Store) -> None:
    """The alias moves from poor to good and never back; what was compared stands in the version's tags."""
    poor, good = store.trained("ranked", POOR), store.trained("ranked", GOOD)
    promoted(poor, POOR)
    better = promoted(good, GOOD)
    assert (better.verdict, better.champion_before, better.patches) == ("promoted", "1", 2)
    assert better.ahead is not None
    assert better.ahead.value == pytest.approx(3 / 4 - 4 / 7)
    refused = promoted(poor, POOR)
    assert refused.verdict == "refused"
    assert refused.why == "worse: 0.1786 below the champion, more than the margin of 0.005"
    assert store.champion("ranked") == "2"
    one, two = (version["tags"] for version in state(store.client, "ranked")["versions"])
    # 4/7 - 3/4 = -.178571; each patch alone 6/7 - 1 and 2/7 - 1/2, 1/28 off, which two patches stretch 9.1682 times.
    assert one["lsml.promotion.f1_above"].startswith("-0.178571 (95 % interval -0.506006 to +0.148863)")
    assert (one["lsml.promotion.verdict"], two["lsml.promotion.verdict"]) == ("refused", "promoted")
    assert one["lsml.promotion.champion_before"] == "2"
    assert one["lsml.promotion.data_fingerprint"] == store.data.validation.fingerprint
    assert one["lsml.promotion.patches"] == "2"
    assert "@" in one["lsml.promotion.who"]


def test_a_file_that_gives_something_else_is_refused(store: Store) -> None:
    """A fresh process that finds one hit less on two patches: the model does not become champion."""
    run = store.trained("changed", GOOD)
    with pytest.raises(ModelError, match=f"classifies 1 of {2 * PATCH_SIZE**2} validation pixels otherwise"):
        promoted(run, [(3, 1, 0), (2, 2, 2)])
    assert store.champion("changed") is None
    bare = store.trained("bare", GOOD, model=False)
    with pytest.raises(ModelError, match="has no model"):
        promoted(bare, GOOD)


def test_scores_of_other_patches_are_not_compared(store: Store) -> None:
    """A model scored in folds cannot take the place of one scored on validation: exit code 3, both runs named."""
    promoted(store.trained("mixed", GOOD), GOOD)
    folds = FoldedData.prepare(store.folder / "made", Path(".lsml/packs"), folds=3, repeats=1)
    other = store.trained("mixed", GOOD, folds)
    with pytest.raises(DataError, match="are not comparable: their split differ"):
        promoted(other, GOOD)
    assert store.champion("mixed") == "1"


def test_the_run_of_its_configuration_speaks_for_a_refit(store: Store) -> None:
    """A model trained on all patches is compared by the table of the run that it refits, and says so."""
    poor, good = store.trained("final", POOR), store.trained("final", GOOD)
    whole = WholeData.prepare(store.folder / "made", Path(".lsml/packs"))
    assert len(whole.train) == 5
    refits = [store.trained("final", None, whole, tags={Tag.ROLE: "refit", Tag.OF_RUN: of}) for of in (poor, good)]
    assert promoted(refits[1], GOOD).scored_run_id == good
    refused = promoted(refits[0], POOR)
    assert (refused.verdict, refused.scored_run_id) == ("refused", poor)
    same = promoted(good, GOOD)
    assert (same.verdict, same.ahead and same.ahead.value) == ("promoted", 0.0)
    assert store.champion("final") == same.version


def test_the_out_of_fold_table_speaks_for_a_study_in_folds(store: Store) -> None:
    """What such a study registers was scored on nothing; the run at the head of its standings was, and decides."""
    folds = FoldedData.prepare(store.folder / "made", Path(".lsml/packs"), folds=3, repeats=1)
    verdicts = []
    for rows in (GOOD, POOR):
        study = store.client.create_run("0", tags={Tag.ROLE: "study"}).info.run_id
        store.client.log_param(study, "study.experiment", "in-folds")
        below = {Tag.PARENT: study}
        confirmed = store.trained("in-folds", rows, folds, model=False, tags={Tag.ROLE: "confirm", **below})
        store.client.log_dict(study, [{"what": "base", "run_id": confirmed}], Artifact.STANDINGS)  # type: ignore[arg-type]
        found = promoted(store.trained("in-folds", None, folds, tags={Tag.ROLE: "refit", **below}), rows)
        assert found.scored_run_id == confirmed
        assert "it was trained on them" in found.reload
        verdicts.append(found.verdict)
    assert verdicts == ["promoted", "refused"]


def test_a_training_again_that_was_killed_is_found_and_gone_on_with(store: Store) -> None:
    """Its open run is closed as superseded, its checkpoint is there; once it is complete nothing is trained."""
    run = find_run(store.client, store.trained("twice", GOOD))
    training = Retraining(
        of=run,
        below=None,
        role="repeat",
        number=1,
        title="twice repeat 1",
        config=TrainConfig(),
        data=store.data,
        root=store.folder / "made",
        tags={},
        scores={"threshold": 0.5},
    )
    calls = []

    def trained(task: TrialTask, report: Report) -> TrialOutcome:
        assert task.checkpoint
        calls.append(task.checkpoint.exists())
        report(StepEvent(1, {"loss": 1.0}))
        task.checkpoint.write_text("epoch 1")
        if len(calls) == 1:
            # As a kill does, it passes all that would close the run.
            raise KeyboardInterrupt
        return _outcome(GOOD, None)

    def again() -> str:
        return training.run(store.client, trained, steps=Steps("epoch", 1), listener=Silent())

    with pytest.raises(KeyboardInterrupt):
        again()
    done = again()
    assert again() == done
    assert calls == [False, True]
    tags = [found.data.tags for found in retrainings_of(store.client, run, training.identity)]
    assert [found["lsml.state"] for found in tags] == ["superseded", "complete"]
    assert {found[Tag.EXPERIMENT] for found in tags} == {"twice"}
    assert find_run(store.client, done).data.metrics["threshold"] == 0.5


def test_rollback_goes_back_as_far_as_there_were_champions(store: Store) -> None:
    """Four in turn, one of them twice; a version that somebody gave the alias by hand is gone back to as well."""
    runs = [store.trained("turns", GOOD) for _ in range(4)]
    for run in (*runs[:3], runs[0]):
        promoted(run, GOOD)
    assert store.champion("turns") == "1"
    # Each stands once in the history, where it was last: 2, 3, 1.
    # By the model's name, a run of it and a version of it.
    assert [rollback(name) for name in ("turns", runs[0])] == [("turns", "1", "3"), ("turns", "3", "2")]
    with pytest.raises(StorageError, match="no version was champion before version 2") as error:
        rollback("turns/2")
    assert error.value.exit_code == 4
    promoted(runs[3], GOOD)
    store.client.set_registered_model_alias("turns", Alias.CHAMPION, "3")
    promoted(runs[0], GOOD)
    assert [rollback("turns")[1:] for _ in range(3)] == [("1", "3"), ("3", "4"), ("4", "2")]
    with pytest.raises(StorageError, match="run nowhere: no run has that id or name, and no study"):
        rollback("nowhere")


def _killed(store: Store, command: str, target: str, kills: str = "each") -> dict[str, Any]:
    done = warm.run_module(
        "tests.workflows.run_promoted",
        *(str(store.folder / "mlflow.db"), command, target, kills),
        folder=store.folder,
        env=environment(LSML_TEST_COUNTS=json.dumps(counts(GOOD).tolist())),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("kills", ["ends", pytest.param("each", marks=pytest.mark.full)])
def test_a_promotion_killed_after_any_write_ends_the_same(store: Store, kills: str) -> None:
    """Registration, every tag, the history and the alias: killed after each and called again, the registry is equal."""
    name = f"killed-{kills}"
    for _ in range(2):
        promoted(store.trained(name, POOR), POOR)
    promoted(f"{name}/1", POOR)
    found = _killed(store, "promote", store.trained(name, GOOD), kills)
    writes = found["writes"]
    assert (writes[0], writes[-1]) == ("create_model_version", "set_registered_model_alias")
    assert {"set_model_version_tag", "set_registered_model_tag"} < set(writes)
    assert len(found["killed"]) == (len(writes) - 1 if kills == "each" else 4)
    for write, left in found["killed"]:
        assert left == found["peaceful"], write
    assert found["peaceful"]["aliases"] == {Alias.CHAMPION: "3"}
    tags = found["peaceful"]["tags"]
    assert [tags[key] for key in sorted(tags)] == ["2", "1", "3"]


def test_a_rollback_killed_after_any_write_ends_the_same(store: Store) -> None:
    """It goes back one version, not two, wherever it was killed."""
    for _ in range(3):
        promoted(store.trained("killed-back", GOOD), GOOD)
    found = _killed(store, "rollback", "killed-back")
    assert [write for write, _ in found["killed"]] == ["set_model_version_tag", "delete_registered_model_tag"]
    for write, left in found["killed"]:
        assert left == found["peaceful"], write
    assert found["peaceful"]["aliases"] == {Alias.CHAMPION: "2"}


def test_a_run_scored_in_folds_has_its_final_model_already(store: Store) -> None:
    """`refit` says so in one line, with exit code 2; and it refuses a run that did not come to its end."""
    folds = FoldedData.prepare(store.folder / "made", Path(".lsml/packs"), folds=3, repeats=1)
    with pytest.raises(ConfigError, match="its registered model has seen all patches already"):
        refit(store.trained("folded", GOOD, folds), on="train+valid", data=None, listener=Silent())
    pruned = store.trained("pruned", GOOD)
    store.client.set_tag(pruned, "lsml.state", "pruned")
    with pytest.raises(ConfigError, match="its role is train and its state pruned"):
        refit(pruned, on="train+valid", data=None, listener=Silent())


def test_a_refit_starts_from_the_weights_that_the_run_had(store: Store) -> None:
    """Another file in the place of the run's is refused before a run is made."""
    run = store.trained("weights", GOOD, tags={"lsml.weights_sha256": "a" * 64})
    with pytest.raises(ModelError, match=f"its content is not what run {run} started from"):
        refit(run, on="train+valid", data=None, listener=Silent())
    query = f"tags.`{Tag.OF_RUN}` = '{run}'"
    assert store.client.search_runs([store.client.get_run(run).info.experiment_id], query) == []
