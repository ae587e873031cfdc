"""Comparison and leaderboard over a real MLflow store: what is compared, what is refused, and why."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lsml.cli import models as cli
from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig, with_values
from lsml.data.holdout import SYNTHETIC
from lsml.data.splits import FoldedData, ScoredPatches, Steps, StudyData, TrainingData
from lsml.errors import ConfigError, DataError, LsmlError
from lsml.names import OWN, POOLED, Artifact, Tag
from lsml.plots.patches import panel
from lsml.scoring.comparison import NOT_COMPARABLE, ScoreKind, differing_parameters
from lsml.tracking.runs import (
    OTHER_PATCHES,
    SAME_PATCHES,
    RunWriter,
    TrainingRun,
    TrialRecorder,
    score_kind,
    score_tags,
)
from lsml.tracking.spool import Outbox
from lsml.tracking.store import find_run, open_client
from lsml.tracking.study import StudyRun
from lsml.training.outcome import Attempt, Panel, TrialOutcome
from lsml.workflows.compare import Comparison, compare, leaderboard
from tests.bands import SENSOR
from tests.patches import SUFFIX, make_patches
from tests.processes import lsml
from tests.scoring.patch_tables import GOOD, POOR, Row, table


class Store(NamedTuple):
    """A folder with an MLflow store, and the same patches split as published and at random."""

    folder: Path
    client: Any
    data: TrainingData
    shuffled: TrainingData

    def trained(self, name: str, rows: list[Row] | None, data: StudyData | None = None, **values: Scalar) -> str:
        """The run of a training that came to its end, with that table; `values` are of fields of its model."""
        config = with_values(TrainConfig(), {f"model.{field}": value for field, value in values.items()})
        run = TrainingRun(self.client, name=name, config=config, data=data or self.data, root="patches")
        run.outcome(outcome(self.data, rows))
        run.closed("complete", "")
        return run.id


def outcome(data: TrainingData, rows: list[Row] | None, value: float = 0.5) -> TrialOutcome:
    """Of a training without a model, with pictures of its validation patches."""
    pictures = [
        Panel(f"validation/{name}", panel(data.validation.image(place), mask, belief, 0.5, SENSOR))
        for place, name in enumerate(data.validation.ids)
        for mask in [data.validation.mask(place)]
        for belief in [np.clip(mask + 0.1 * value, 0, 1)]
    ]
    return TrialOutcome(
        value=value,
        stopped="finished",
        steps=Steps("epoch", 1),
        best_epoch=1,
        threshold=0.5,
        metrics={"val_f1": value},
        environment={"device": "cpu", "backend": "tensorflow"},
        panels=tuple(pictures),
        tables={} if rows is None else {Artifact.VALIDATION_PATCHES: table(rows)},
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Iterator[Store]:
    """One store for the whole file; only `study` runs and those that a test makes are in it."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder))
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        make_patches(folder / "made", train=3, validation=2, test=1, seed=3)
        shuffle(folder / "made", folder / "shuffled")
        data = TrainingData.prepare(folder / "made", folder / "packs")
        yield Store(folder, open_client(), data, TrainingData.prepare(folder / "shuffled", folder / "packs"))


def shuffle(made: Path, out: Path) -> None:
    """Draws the validation split anew from the patches of both splits, as a random hold-out does."""
    shutil.copytree(made, out)
    (out / "synthetic.json").unlink()
    for kind in ("img/image", "mask/mask"):
        one, other = out / "TrainData" / f"{kind}_2{SUFFIX}", out / "ValidData" / f"{kind}_1{SUFFIX}"
        for source, target in ((one, out / "held"), (other, one), (out / "held", other)):
            source.rename(target)


def compared(store: Store, *run_ids: str, **options: Any) -> Comparison:
    """By the job, with its picture in the store's folder."""
    chosen = {"study": None, "top": 5, "split": None, "out": store.folder / "figure.png"} | options
    return compare(run_ids, **chosen)


def evaluated(store: Store, run_id: str, rows: list[Row], split: str = OWN) -> None:
    """Gives a run what an evaluation writes."""
    run = RunWriter(store.client, run_id)
    run.log_scores({"test_f1": 0.5}, score_tags("test", ScoredPatches(split, "e" * 64)))
    run.log_texts({"test_patches.csv": table(rows)})


def test_a_run_says_what_its_scores_are(store: Store) -> None:
    """The tags of a training on patches with a validation split of their own, and of one in folds."""
    run = find_run(store.client, store.trained("says", GOOD))
    assert score_kind(run.data.tags, "validation") == ScoreKind(
        SYNTHETIC, store.data.validation.fingerprint, POOLED, SAME_PATCHES
    )
    assert set(score_kind(run.data.tags, "test")) == {"unknown"}
    folds = FoldedData.prepare(store.folder / "made", store.folder / "packs", folds=3, repeats=2)
    run = find_run(store.client, store.trained("folds", GOOD, folds))
    assert score_kind(run.data.tags, "validation") == ScoreKind(
        "3 contiguous folds, 2 repeats", folds.train.fingerprint, POOLED, SAME_PATCHES
    )


def test_runs_are_set_side_by_side(store: Store) -> None:
    """Only what differs, the best first, differences against the run that was named first, with hand-worked numbers."""
    poor = store.trained("poor", POOR, depth=2)
    good = store.trained("good", GOOD, depth=3, dropout=0.25)
    found = compared(store, poor, good)
    assert (found.split, found.patches, found.reference) == ("validation", 2, poor)
    first, second = found.runs
    assert (first.run_id, second.run_id) == (good, poor)
    assert first.scores["f1"].value == pytest.approx(3 / 4)
    assert second.scores["f1"].value == pytest.approx(4 / 7)
    assert second.ahead is None
    assert first.ahead is not None
    assert first.ahead.value == pytest.approx(3 / 4 - 4 / 7)
    # Between 1/7 and 3/14, each 1/28 off, and as far again as two patches stretch it: sqrt(2) x 12.7062 / 1.95996.
    assert first.ahead.interval == pytest.approx((5 / 28 - 9.1682 / 28, 5 / 28 + 9.1682 / 28), abs=1e-5)
    assert found.parameters == {"model.depth": ["3", "2"], "model.dropout": ["0.25", "0.1"]}
    # Two patches' pictures beside each run: wider and higher than the scores alone.
    with_pictures = found.figure.read_bytes()
    assert with_pictures.startswith(b"\x89PNG")
    evaluated(store, poor, POOR)
    evaluated(store, good, GOOD)
    assert compared(store, poor, good).split == "test"
    assert found.figure.read_bytes() != with_pictures
    assert compared(store, poor, good, split="validation").split == "validation"


def test_an_ensemble_has_no_parameters_of_a_network() -> None:
    """What two networks differ in is listed; that an ensemble has none of it is no difference, what it has is one."""
    deep = {"model.architecture": "unet", "model.depth": "4", "model.filters": "8"}
    runs = [deep, deep | {"model.depth": "3"}, {"ensemble.members": "2"}]
    assert differing_parameters(runs, network_field="model.architecture") == {
        "ensemble.members": [None, None, "2"],
        "model.depth": ["4", "3", None],
    }


def test_a_random_split_is_refused_against_the_published_one(store: Store) -> None:
    """The patches of a random hold-out are others; the one line names both runs; so it is with folds and blocks."""
    official = store.trained("official", GOOD)
    random = store.trained("random", GOOD, store.shuffled)
    folds = store.trained(
        "in folds", GOOD, FoldedData.prepare(store.folder / "made", store.folder / "packs", folds=3, repeats=1)
    )
    relabelled = store.trained("random, as synthetic", GOOD, store.shuffled._replace(held_out=SYNTHETIC))
    for other, why in (
        (random, "their split differ: the own split of synthetic patches and the dataset's own split"),
        (relabelled, f"their patches differ: {store.data.validation.fingerprint[:12]}"),
        (folds, "their split differ: the own split of synthetic patches and 3 contiguous folds, 1 repeat"),
    ):
        with pytest.raises(DataError, match="not comparable") as caught:
            compared(store, official, other)
        assert caught.value.exit_code == 3
        assert f"runs {official} and {other}" in str(caught.value)
        assert why in str(caught.value)


KIND = ScoreKind(OWN, "a" * 64, POOLED, OTHER_PATCHES)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (KIND._replace(split="random 20 % of train"), "their split differ"),
        (KIND._replace(patches="b" * 64), "their patches differ"),
        (KIND._replace(averaging="mean over batches"), "averaging differ: pooled over pixels and mean over batches"),
        (KIND._replace(threshold=SAME_PATCHES), "source of the threshold differ"),
        (score_kind({}, "test"), "the second does not say its split"),
    ],
)
def test_every_fact_of_a_score_must_agree_and_be_known(other: ScoreKind, says: str) -> None:
    """One that differs or is unknown is an obstacle; two unknown ones do not agree."""
    assert says in str(KIND.obstacle(other))
    assert KIND.obstacle(KIND) is None
    assert other.obstacle(other) is None or "neither says" in str(other.obstacle(other))
    assert "neither says" in str(score_kind({}, "test").obstacle(score_kind({}, "test")))


def test_a_score_of_fewer_rounds_of_folds_is_refused(store: Store) -> None:
    """A trial pruned amid its folds has fewer landslide pixels on a patch than one that went through."""
    whole, pruned = store.trained("whole", GOOD), store.trained("pruned", [(4, 0, 0), (1, 1, 0)])
    with pytest.raises(DataError, match="image_2 has 4 landslide pixels in one table and 2 in the other"):
        compared(store, whole, pruned)


def test_a_run_without_a_table_says_what_to_do(store: Store) -> None:
    """One line, exit code 3, with the command that makes one."""
    good, bare = store.trained("with", GOOD), store.trained("without", None)
    with pytest.raises(DataError, match=f"lsml evaluate --run-id {bare}, and compare with --split test"):
        compared(store, good, bare)
    with pytest.raises(DataError, match="it was never evaluated"):
        compared(store, good, bare, split="test")


def study_of(store: Store, name: str) -> tuple[str, list[str]]:
    """A study's run, and its trials' runs: three complete ones and a pruned one with the highest score."""
    parent = StudyRun.open(
        store.client, None, identity=name, study=name, params={}, data=store.data, root="patches", note=name
    ).run
    recorder = TrialRecorder(
        Outbox(store.client, store.folder / f"{name}.spool"),
        parent,
        role="trial",
        study=name,
        data=store.data,
        root="patches",
    )
    ids = []
    for slot, (rows, value) in enumerate([(POOR, 0.4), (GOOD, 0.6), (POOR, 0.5), (GOOD, 0.9)]):
        attempt = Attempt(slot, slot, 1, "trial", str(slot), TrainConfig(), {}, {"depth": slot})
        ids.append(recorder.started(attempt, "0 on here"))
        recorder.outcome(ids[-1], replace(outcome(store.data, rows, value)))
        recorder.closed(ids[-1], "pruned" if slot == 3 else "complete", "")
    RunWriter(store.client, parent.info.run_id).log_scores({}, {Tag.BEST_RUN: ids[1]})
    return parent.info.run_id, ids


def test_a_study_brings_its_best_complete_trials(store: Store) -> None:
    """The best first, which is the reference, pruned ones left out; its own run stands for what it registered."""
    parent, ids = study_of(store, "several")
    found = compared(store, study="several", top=2)
    assert [run.run_id for run in found.runs] == [ids[1], ids[2]]
    assert found.reference == ids[1]
    assert found.parameters == {"depth": ["1", "2"]}
    by_name = compared(store, ids[0], parent)
    assert [run.run_id for run in by_name.runs] == [ids[1], ids[0]]
    with pytest.raises(ConfigError, match=f"run {ids[1]} stands for two of them"):
        compared(store, ids[1], parent)


@pytest.mark.parametrize(
    ("run_ids", "options", "code"),
    [([], {}, 2), (["a"], {"study": "b"}, 2), (["a"], {}, 2), (["a", "b"], {}, 4), ([], {"study": "none"}, 4)],
)
def test_what_cannot_be_asked(store: Store, run_ids: list[str], options: Mapping[str, Any], code: int) -> None:
    """Nothing, both at once, a single run; runs and studies that are not there."""
    with pytest.raises(LsmlError) as caught:
        compared(store, *run_ids, **options)
    assert caught.value.exit_code == code


def test_the_command_prints_and_draws(store: Store) -> None:
    """Differences with intervals, the warning below 60 patches, and last where the picture is."""
    poor, good = store.trained("shown poor", POOR, depth=2), store.trained("shown good", GOOD, depth=3)
    done = lsml(store.folder, "compare", poor, good)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0.7500" in done.stdout
    assert "+0.1786 (-0.1489 to +0.5060)" in done.stdout
    assert "intervals are unreliable: fewer than 60 patches" in done.stdout
    assert done.stdout.splitlines()[-1] == "drew compare.png"
    assert (store.folder / "compare.png").is_file()


def test_json_is_one_object(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures by name, the reference's difference null."""
    poor, good = store.trained("poor again", POOR, depth=2), store.trained("good again", GOOD, depth=3)
    cli.compare([good, poor], study=None, top=5, split=None, out=Path("other.png"), json=True)
    record = json.loads(capsys.readouterr().out)
    assert [run["run_id"] for run in record["runs"]] == [good, poor]
    assert record["runs"][0]["f1_above_reference"] is None
    assert record["runs"][1]["f1_above_reference"]["value"] == pytest.approx(4 / 7 - 3 / 4)
    assert record["runs"][1]["parameters"] == {"model.depth": "2"}
    assert (record["figure"], record["intervals_reliable"]) == ("other.png", False)


def test_a_run_on_the_official_split_has_a_place(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """With 800 test patches in a folder of their own, an F1 of .6 comes after three winners and .645, before .599."""
    run_id = store.trained("placed", None)
    # Each of TP 3, FN 2, FP 2: F1 6 / (6 + 2 + 2).
    evaluated(store, run_id, [(3, 2, 2)] * 800)
    scored, (board,) = leaderboard(run_id)
    assert scored == run_id
    assert (board.split, board.patches, board.place) == ("test", 800, 5)
    assert board.f1.value == pytest.approx(0.6)
    assert [score.f1 for score in board.published] == [0.7454, 0.7399, 0.7350, 0.645, 0.599]
    # Means over batches of a random split stand apart, however high.
    assert {score.f1 for score in NOT_COMPARABLE} == {0.719, 0.697}
    cli.leaderboard(run_id, json=True)
    record = json.loads(capsys.readouterr().out)
    assert (record["boards"]["test"]["place"], record["contents_verified"]) == (5, False)
    cli.leaderboard(run_id, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [run_id in line for line in lines if "U-Net baseline" in line or run_id in line] == [True, False]
    assert "official checksums are not known" in lines[-1]


@pytest.mark.parametrize(
    ("split", "n", "why"),
    [
        (OWN, 799, "it has 799 test patches, the official 800"),
        (SYNTHETIC, 800, "its test patches are not the official ones: the own split of synthetic patches"),
        ("random 20 % of train", 800, "its test patches are not the official ones: random 20 % of train"),
    ],
)
def test_other_patches_have_no_place(store: Store, split: str, n: int, why: str) -> None:
    """Too few, synthetic or drawn at random: exit code 3 and the reason."""
    run_id = store.trained("elsewhere", None)
    evaluated(store, run_id, [(3, 2, 2)] * n, split)
    with pytest.raises(DataError, match=why) as caught:
        leaderboard(run_id)
    assert caught.value.exit_code == 3
