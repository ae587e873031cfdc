"""An ensemble of a finished study: selected, killed at every step, registered, scored and compared as one model."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lsml.names import Artifact, Attribute
from lsml.workspace import DEFAULT_STORAGE
from tests.bands import PATCH_SHAPE, SENSOR
from tests.end_to_end.conftest import Study, client, copy_study, runs
from tests.end_to_end.test_evaluate import LOAD_AND_SCORE
from tests.processes import lsml, without_lsml

# Where an attempt is killed, right after the call, and what is then still owed.
STEPS = [
    "lsml.tracking.study:EnsembleRun.open",  # an empty run
    "lsml.tracking.runs:RunWriter.log_scores",  # a run with scores and no model
    "lsml.tracking.models:RunModel.log",  # all is there, the run is open
    "lsml.tracking.runs:RunWriter.closed",  # not registered
    "lsml.tracking.registry:RegisteredModel.register",
]


class Killed(BaseException):
    """Nothing after it is done, as after a SIGKILL; here, so that five attempts load Keras once."""


class Made(NamedTuple):
    """A study of its own and the ensemble of it, made in six attempts, of which five were killed."""

    folder: Path
    data: Path
    found: Any
    reached: list[str]
    baselines: list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study in a folder of its own, with one more trial, which keeps its probabilities."""
    copy = tmp_path_factory.mktemp("ensemble") / "study"
    copy_study(study.folder, copy)
    more = ("--data", str(study.data), "--study", "first", "--trials", "4", "--keep-probabilities")
    done = lsml(copy, "tune", "experiment.yaml", *more)
    assert done.returncode == 0, done.stderr
    return copy


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """This process as one of lsml's in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        yield patch


def trials(folder: Path) -> list[Any]:
    """The runs of the study's complete trials, the best first."""
    found = runs(folder, "tags.`lsml.role` = 'trial' and tags.`lsml.state` = 'complete'")
    return sorted(found, key=lambda run: (-run.data.metrics["best_val_f1"], int(run.data.tags["lsml.trial"])))


def ensembles(folder: Path) -> list[Any]:
    """The runs of ensembles."""
    return runs(folder, "tags.`lsml.role` = 'ensemble'")


def validation(data: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, images float32 and masks of the validation patches."""
    from lsml.data.formats import read_image, read_mask

    ids = [f"image_{number}" for number in (1, 2, 3)]
    images = [read_image(data / "ValidData" / "img" / f"{name}.h5", SENSOR).astype(np.float32) for name in ids]
    masks = [read_mask(data / "ValidData" / "mask" / f"{name.replace('image', 'mask')}.h5", SENSOR) for name in ids]
    return ids, np.stack(images), np.stack(masks)


def model_of(folder: Path, run_id: str) -> Any:
    """The network of a run."""
    from lsml.tracking.models import RunModel

    with inside(folder):
        return RunModel(client(folder), run_id).load()


def kept_by_hand(masks: np.ndarray) -> list[np.ndarray]:
    """What three models say, such that the best mean is twice the first and once the second, by tests/test_ensemble.py.

    A fifth of the landslide's pixels each are that example's first and second, as many pixels of the background its
    third and fourth; in all others the models are right.
    """
    said = [np.where(masks == 1, 0.9, 0.01).astype(np.float32).ravel() for _ in range(3)]
    landslide, background = np.flatnonzero(masks == 1), np.flatnonzero(masks == 0)
    count = len(landslide) // 5
    groups = [landslide[:count], landslide[count : 2 * count], background[:count], background[-count:]]
    rows = ([0.2, 0.7, 0.2, 0.5], [0.9, 0.1, 0.7, 0.2], [0.1, 0.7, 0.4, 0.1])
    for one, values in zip(said, rows, strict=True):
        for pixels, value in zip(groups, values, strict=True):
            one[pixels] = value
    return [one.reshape(masks.shape) for one in said]


def make(folder: Path, **options: Any) -> Any:
    """The ensemble, by the job behind the command."""
    from lsml.workflows.ensemble import ensemble

    with inside(folder):
        return ensemble(
            "first",
            **{"max_members": 8, "name": None, "storage": None, "data": None, "progress": lambda *_: None} | options,
        )


def noted(folder: Path, study: str = "first", /, **changes: Any) -> dict[str, Any]:
    """What the database held of the study's result, of which some is changed now."""
    from lsml.study.database import load_study

    with inside(folder):
        result = dict(load_study(DEFAULT_STORAGE, study).result or {})
        load_study(DEFAULT_STORAGE, study).note(Attribute.RESULT, result | changes)
    return result


@pytest.fixture(scope="module")
def made(folder: Path, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The ensemble of trials whose kept probabilities are made by hand, killed after every step of its recording."""
    import pkgutil

    from lsml.scoring.ensemble_selection import StoredProbabilities

    ids, _, masks = validation(study.data)
    said = kept_by_hand(masks)
    for place, run in enumerate(trials(folder)):
        path = tmp_path_factory.mktemp("kept") / Artifact.PROBABILITIES
        path.write_bytes(StoredProbabilities.pack(ids, run.data.tags["lsml.data.validation"], said[min(place, 2)]))
        client(folder).log_artifact(run.info.run_id, str(path))
    # Those of the study are ahead of networks of two epochs: see the test of that.
    baselines = noted(folder, baselines=[], network=None)["baselines"]
    reached: list[str] = []
    for step in STEPS:
        place, _, name = step.rpartition(".")
        owner = pkgutil.resolve_name(place)
        original = getattr(owner, name)

        def dying(*args: Any, _original: Any = original, _step: str = step, **options: Any) -> None:
            _original(*args, **options)
            reached.append(_step)
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, dying)
            with contextlib.suppress(Killed):
                make(folder)
    return Made(folder, study.data, make(folder), reached, baselines)


def test_kept_probabilities_are_what_the_model_says(folder: Path, study: Study) -> None:
    """A trial that was asked to keeps its patches, in their order, and what its model says of them, to one level."""
    from lsml.scoring.ensemble_selection import StoredProbabilities, quantise

    store = client(folder)
    keeping = [run for run in runs(folder, "tags.`lsml.role` = 'trial'") if int(run.data.tags["lsml.slot"]) == 3]
    (run,) = keeping
    kept = StoredProbabilities.unpack(
        Path(store.download_artifacts(run.info.run_id, Artifact.PROBABILITIES)).read_bytes()
    )
    ids, images, _ = validation(study.data)
    assert (list(kept.ids), kept.levels.shape) == (ids, (3, *PATCH_SHAPE[:2]))
    assert kept.fingerprint == run.data.tags["lsml.data.validation"]
    said = quantise(np.asarray(model_of(folder, run.info.run_id).network.predict_on_batch(images))[..., 0])
    # Training may score in bfloat16, and a probability may lie on the border of two levels.
    assert np.abs(kept.levels.astype(int) - said).max() <= 4
    others = [other for other in runs(folder, "tags.`lsml.role` = 'trial'") if other.info.run_id != run.info.run_id]
    assert len(others) == 3
    for other in others:
        assert Artifact.PROBABILITIES not in {entry.path for entry in store.list_artifacts(other.info.run_id)}


def test_every_kill_happened_and_nothing_was_done_twice(made: Made) -> None:
    """Six attempts leave one run below the study's, ended, with one model, and one version with the alias."""
    assert made.reached == STEPS
    (run,) = ensembles(made.folder)
    (parent,) = runs(made.folder, "tags.`lsml.role` = 'study'")
    assert (run.info.run_id, run.info.status) == (made.found.run_id, "FINISHED")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert len(run.outputs.model_outputs) == 1
    store = client(made.folder)
    versions = [v for v in store.search_model_versions("name='first'") if v.run_id == run.info.run_id]
    assert [str(v.version) for v in versions] == [made.found.version]
    assert store.get_model_version_by_alias("first", "ensemble").run_id == run.info.run_id
    assert store.get_model_version_by_alias("first", "candidate").run_id != run.info.run_id


def test_the_members_are_those_that_hands_would_pick(made: Made) -> None:
    """The best trial counts twice, the second once; its run says so, and what the same patches cannot prove."""
    first, second, *_ = trials(made.folder)
    assert [(m.run_id, m.weight) for m in made.found.members] == [(first.info.run_id, 2), (second.info.run_id, 1)]
    (run,) = ensembles(made.folder)
    params = run.data.params
    assert (params["ensemble.member_1.run_id"], params["ensemble.member_1.weight"]) == (first.info.run_id, "2")
    assert (params["ensemble.member_2.run_id"], params["ensemble.member_2.weight"]) == (second.info.run_id, "1")
    assert "optimistically biased" in run.data.tags["mlflow.note.content"]
    metrics = run.data.metrics
    costs = sum(trial.data.metrics["parameters"] for trial in (first, second))
    assert metrics["parameters"] == made.found.parameters == costs
    assert metrics["latency_ms"] > 0
    assert metrics["best_val_f1"] == made.found.f1


def test_the_registered_model_is_the_weighted_mean(made: Made) -> None:
    """Of the members' own answers, (2 a + b) / 3; its F1 and its threshold are those of that mean."""
    from lsml.scoring.metrics import PooledCounts

    _, images, masks = validation(made.data)
    a, b = (model_of(made.folder, m.run_id).network.predict_on_batch(images) for m in made.found.members)
    loaded = model_of(made.folder, made.found.run_id)
    said = np.asarray(loaded.network.predict_on_batch(images))
    np.testing.assert_allclose(said, (2 * a + b) / 3, rtol=0, atol=1e-6)
    counts = PooledCounts()
    counts.update(masks, said[..., 0])
    assert loaded.threshold == made.found.threshold == pytest.approx(counts.best_threshold(), abs=1e-6)
    assert made.found.f1 == pytest.approx(counts.at(loaded.threshold).f1, abs=1e-6)


def test_the_command_finds_what_there_is(made: Made) -> None:
    """Once more from the command line: the same run and version, what flatters it said, and what to type next."""
    done = lsml(made.folder, "ensemble", "first")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"ensemble run: {made.found.run_id}"
    assert f"registered: first version {made.found.version}\nalias: {made.found.alias}\n" in done.stdout
    assert made.found.alias == f"first@ensemble is version {made.found.version}"
    assert "chosen on these patches" in done.stdout
    assert f"lsml compare {made.found.best_run_id} {made.found.run_id}" in done.stdout
    assert len(ensembles(made.folder)) == 1


def test_it_is_scored_and_compared_like_any_other(made: Made, tmp_path: Path) -> None:
    """By its alias, on the test split, where MLflow alone without lsml has the same F1; and beside the best trial."""
    from lsml.workflows.compare import compare
    from lsml.workflows.evaluate import evaluate

    with inside(made.folder):
        scored = evaluate(
            run_id=None,
            model="first@ensemble",
            split="test",
            tta="none",
            data=None,
            baseline=False,
            progress=lambda *_: None,
        )
    assert (scored.run_id, len(scored.evaluation.patches)) == (made.found.run_id, 3)
    store = f"sqlite:///{made.folder / 'mlflow.db'}"
    stranger = without_lsml(made.folder.parent, LOAD_AND_SCORE, store, "models:/first@ensemble", str(made.data))
    assert stranger.returncode == 0, stranger.stderr
    assert float(stranger.stdout.splitlines()[-1]) == pytest.approx(scored.evaluation.metrics["f1"], abs=1e-6)

    best = made.found.best_run_id
    with inside(made.folder):
        compared = compare([best, made.found.run_id], study=None, top=5, split="validation", out=tmp_path / "both.png")
    ahead = {run.run_id: run.ahead for run in compared.runs}
    assert ahead[best] is None
    assert -1 < ahead[made.found.run_id].value < 1
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_an_ensemble_that_a_baseline_is_ahead_of_has_no_alias(made: Made) -> None:
    """With the baselines of the study, which know more than networks of two epochs: a line, a tag, a version."""
    noted(made.folder, baselines=made.baselines)
    done = lsml(made.folder, "ensemble", "first", "--name", "behind")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\S.* is ahead by \+0.* the ensemble is registered without an alias$", done.stdout, re.MULTILINE)
    assert "registered: behind version 1\nnext" in done.stdout
    run = client(made.folder).get_run(done.stdout.splitlines()[-1].removeprefix("ensemble run: "))
    assert " is ahead by +0." in run.data.tags["lsml.behind"]
    assert client(made.folder).get_registered_model("behind").aliases == {}


def test_without_kept_probabilities_the_models_are_asked(made: Made) -> None:
    """The same selection as by hand from what each model says; models that are gone are left out; one is too few."""
    from lsml.errors import StudyError
    from lsml.scoring.ensemble_selection import _select, quantise

    store = client(made.folder)
    _, images, masks = validation(made.data)
    found = trials(made.folder)
    for run in found:
        folder = run.info.artifact_uri.removeprefix("file://")
        (Path(folder) / Artifact.PROBABILITIES).unlink()
    networks = [model_of(made.folder, run.info.run_id).network for run in found]
    levels = [quantise(np.asarray(network.predict_on_batch(images))[..., 0]) for network in networks]
    weights = _select(levels, masks, max_members=3).weights
    if sum(weight > 0 for weight in weights) > 1:
        members = {m.run_id: m.weight for m in make(made.folder, max_members=3, name="other").members}
        expected = {run.info.run_id: weight for run, weight in zip(found, weights, strict=True) if weight}
        assert members == expected
    else:
        with pytest.raises(StudyError, match=r"no mean of its \d models has a higher F1 on validation than trial"):
            make(made.folder, max_members=3, name="other")
    for run in found[1:]:
        store.delete_run(run.info.run_id)
    with pytest.raises(StudyError, match="1 of its complete trials have a model, and an ensemble needs two"):
        make(made.folder)
