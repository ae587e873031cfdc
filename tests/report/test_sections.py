"""What the report says of studies made up by hand: numbers, labels, and which parts are there."""

from dataclasses import replace

import numpy as np
import pytest

from lsml.config.schema import TrainConfig, with_values
from lsml.report.facts import (
    DataFacts,
    EvaluatedRun,
    FrontTrial,
    ScoredRun,
    SpentTime,
    SplitFacts,
    Standing,
    StudyFacts,
    TopTrial,
    TrialFacts,
)
from lsml.report.sections import study_files, study_page
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import PatchScore, PooledCounts
from lsml.scoring.regions import RegionScore
from tests.pages import Page

BASE = with_values(TrainConfig(), {"model.depth": 3, "seed": 5})


def pixels() -> PooledCounts:
    """Four landslide pixels, of which three reach .5, and six of background, of which one does."""
    counts = PooledCounts()
    counts.update(np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0]), np.array([0.9, 0.8, 0.7, 0.2, 0.6, *[0.1] * 5]))
    return counts


def scored(name: str, *confusion: tuple[int, int, int], depth: int = 3) -> ScoredRun:
    """A run with that TP, FP and FN on each patch."""
    counts = PatchCounts(tuple(f"image_{n}" for n in range(len(confusion))), np.array(confusion))
    config = with_values(BASE, {"model.depth": depth})
    return ScoredRun(name, f"run of {name}", 0.75, config, 0.5, counts, pixels(), {"Keras": "3.15.1"})


def trial(slot: int, f1: float | None, *, state: str = "complete", cost: float | None = None) -> TrialFacts:
    return TrialFacts(slot, 1, state, f1, cost, {"model.depth": 3 + slot}, f"r{slot}", "broken" if f1 is None else "")


# Patches have 4 and 2 landslide pixels, so TP + FN are (4, 2) in every run.
BEST = scored("trial 1", (3, 1, 1), (2, 0, 0), depth=4)
ONE = StudyFacts(
    study="one",
    experiment="tiny",
    description="What is asked.",
    state="finished",
    run_id="parent",
    settings={"study.trials": "1", "study.sampler": "tpe"},
    base=BASE,
    searched={"model.depth": "2 to 5"},
    logarithmic=frozenset(),
    choices={},
    data=DataFacts("patches", "official layout", "the dataset's own split", [SplitFacts("train", 7, 2, 0.125, "ab")]),
    trials=[trial(0, 0.75)],
    spent=[SpentTime("trial", 0, "complete", 90.0)],
    importance={},
    best=BEST,
    best_run_id="best-run",
    registered="tiny/1",
)
ALWAYS = ["answer", "asked", "configuration", "importance", "threshold", "calibration", "worst", "test", "time", "data"]
ALWAYS += ["methods", "again"]


def test_a_study_of_one_trial_has_no_figure_of_many() -> None:
    """History, coordinates, standings and front are left out; importances say in a sentence why there are none."""
    page = Page(study_page(ONE))
    assert list(page.sections) == ALWAYS
    assert "two complete trials" in page.sections["importance"]
    assert "not been opened" in page.sections["test"]
    assert "lsml evaluate --run-id best-run" in page.sections["test"]
    assert len(page.pictures) == 3
    assert page.loaded == []


def test_the_figures_are_files_too() -> None:
    """As SVG, by section and number; the page holds the same ones."""
    files = study_files(ONE)
    assert sorted(files) == [
        "report.html",
        "study/figures/calibration-1.svg",
        "study/figures/threshold-1.svg",
        "study/figures/threshold-2.svg",
    ]
    assert files["report.html"].decode() == study_page(ONE)
    assert all(content.startswith(b"<?xml") for path, content in files.items() if path.endswith(".svg"))


def test_the_answer_by_hand() -> None:
    """TP 5, FP 1, FN 1: F1 10/12; two patches are too few for an interval, and the difference is paired."""
    others = [scored("the base configuration", (2, 2, 2), (1, 0, 1)), scored("its double", (3, 1, 1), (2, 0, 0))]
    others += [scored("its better", (4, 0, 0), (2, 0, 0)), scored("a blind one", (0, 0, 4), (0, 0, 2))]
    page = Page(study_page(replace(ONE, rivals=others)))
    answer = page.sections["answer"]
    # Patch 0 alone: 6 / 8, .0833 lower, stretched sqrt(2) x 12.706 / 1.960 = 9.168 times for two; patch 1: 4 / 4.
    assert "F1 0.8333, 95 % interval 0.0693 to 1.0000" in answer
    assert "fewer than 60 patches it is unreliable" in answer
    assert "2 patches (the dataset's own split), by trial 1 at threshold 0.5" in answer
    # TP 3, FP 2, FN 3: 6/11. Patch 0: 6/8 - 4/8, .0379 lower; patch 1: 1 - 2/3, .0455 higher; both times 9.168.
    assert page.tables["answer"][0][1:] == [
        ["the base configuration", "0.5455", "+0.2879", "-0.0594 to +0.7046", "no clear difference"],
        ["its double", "0.8333", "+0.0000", "+0.0000 to +0.0000", "no clear difference"],
        ["its better", "1.0000", "-0.1667", "-0.9307 to +1.0000", "no clear difference"],
        ["a blind one", "0.0000", "+0.8333", "+0.0693 to +1.0000", "ahead"],
    ]
    assert "tiny/1" in answer
    # 3 of 4 landslide pixels and 1 of 6 others reach .5.
    assert "Precision 0.7500 Recall 0.7500 IoU 0.6000" in page.sections["threshold"]
    assert f"{pixels().calibration_error():.4f}" in page.sections["calibration"]
    # Of `pixels`: three of four landslide pixels reach .5, and one of six others.
    assert page.tables["threshold"][0][1:] == [["landslide", "3", "1"], ["no landslide", "1", "5"]]
    # The patch with two wrong pixels first: 2 x 3 / (2 x 3 + 1 + 1).
    assert page.tables["worst"][0][1:] == [["image_0", "3", "1", "1", "0.7500"], ["image_1", "2", "0", "0", "1.0000"]]
    assert "on 7 train patches (the dataset's own split): 1 configuration" in page.sections["methods"]
    assert "1 configuration (1 complete) tried with Optuna (tpe sampler)" in page.sections["methods"]


def test_a_study_in_folds_by_region_has_a_table_of_them() -> None:
    """The lowest F1 first, with its interval, and named; one region alone tells nothing."""
    patches = [PatchScore("1", 0.04, 2, 2, 0, None, "hills"), PatchScore("2", 0.02, 2, 0, 0, None, "coast")]
    regions = RegionScore.of_patches(patches)
    data = ONE.data._replace(split_protocol="leave one region out, 2 regions, 1 repeat")
    page = Page(study_page(replace(ONE, data=data, best=replace(BEST, regions=regions))))
    # 4 / 6, 2 / 4 and 2 / 2, 2 / 4; one patch tells nothing of others.
    assert page.tables["regions"][0][1:] == [
        ["hills", "1", "4.00%", *(f"{v} (0.0000 to 1.0000)" for v in ("0.6667", "0.5000", "1.0000", "0.5000"))],
        ["coast", "1", "2.00%", *["1.0000 (0.0000 to 1.0000)"] * 4],
    ]
    assert page.sections["regions"].startswith("Leave one region out Of leave one region out, 2 regions, 1 repeat, by")
    assert "The worst is hills, F1 0.6667 (0.0000 to 1.0000) over 1 patch." in page.sections["regions"]
    one = Page(study_page(replace(ONE, best=replace(BEST, regions=regions[:1]))))
    assert "regions" not in one.sections


def test_the_configuration_lists_what_differs_and_what_was_searched() -> None:
    """model.depth by default, in the base and in the best, the row shaded; the seed is not among the fields."""
    page = Page(study_page(ONE))
    (table,) = page.tables["configuration"]
    assert table == [["field", "default", "base", "best"], ["model.depth", str(TrainConfig().model.depth), "3", "4"]]
    assert "1 fields in which it differs" in page.sections["configuration"]


def test_a_study_with_nothing_complete_says_so() -> None:
    """Before a trial has completed there is no score, but what was asked, the time and the data are there."""
    begun = replace(ONE, trials=[trial(0, None, state="running")], best=None, best_run_id=None, registered=None)
    page = Page(study_page(begun))
    assert list(page.sections) == ["answer", "asked", "importance", "test", "time", "data", "again"]
    assert "No trial has completed" in page.sections["answer"]


def test_a_run_of_an_older_lsml_has_a_score_without_an_interval() -> None:
    """Without tables the F1 of the run stands alone, and no curve is drawn."""
    page = Page(study_page(replace(ONE, best=replace(BEST, counts=None, pixels=None))))
    assert "F1 0.7500" in page.sections["answer"]
    assert "interval" in page.sections["answer"]
    assert "runs of an older lsml" in page.sections["threshold"]
    assert "calibration" not in page.sections


def test_test_scores_are_labelled_with_interval_and_count() -> None:
    """One row a run that was scored on the test split, and one an opening, with who and when."""
    counts = PatchCounts(tuple(f"image_{n:02}" for n in range(12)), np.ones((12, 3), int))
    score = EvaluatedRun("demo-001", "r1", counts, {"F1": (0.5, 0.4, 0.6), "IoU": (1 / 3, None, None)}, 0.25)
    opening = {"when": "2026-01-02T03:04:05+00:00", "who": "me@here", "model": "demo/1", "data_fingerprint": "f" * 64}
    page = Page(study_page(replace(ONE, tests=[score], openings=[opening, opening])))
    assert "This study opened it 2 times" in page.sections["test"]
    scores, openings = page.tables["test"]
    assert scores == [
        ["", "demo-001"],
        ["patches", "12"],
        ["F1", "0.5000 (0.4000 to 0.6000)"],
        ["IoU", "0.3333"],
        ["F1 of the pixel baseline", "0.2500"],
        ["run", "r1"],
    ]
    assert openings[1][:3] == ["2026-01-02T03:04:05+00:00", "me@here", "demo/1"]
    assert len(openings) == 3


def test_an_ensemble_is_set_against_the_registered_run() -> None:
    """On the same test patches, which are resampled in pairs; a run scored on others is not."""
    best = PatchCounts(("a", "b"), np.array([(3, 1, 1), (2, 0, 0)]))
    mean = PatchCounts(("a", "b"), np.array([(4, 1, 0), (2, 0, 0)]))
    other = PatchCounts(("a", "c"), np.array([(4, 1, 0), (2, 0, 0)]))
    tests = [
        EvaluatedRun(name, f"run of {name}", found, {}, None)
        for name, found in zip("xyz", (best, mean, other), strict=True)
    ]
    page = Page(study_page(replace(ONE, tests=tests, best_run_id="run of x")))
    (table,) = page.tables["test"]
    # F1 12/13 less 10/12 is .0897. Drawn twice, patch a alone gives 8/9 less 6/8, .1389, and b alone 0, each in a
    # quarter of the draws; they are .0897 and .0492 off, times 9.168 for two patches.
    assert table[-2] == ["F1 above the registered one's", "", "+0.0897 (-0.7330 to +0.5403)", ""]


def test_a_study_of_many_trials_has_every_part() -> None:
    """Six trials of which one failed and one was pruned, two objectives, standings, curves and pictures."""
    trials = [trial(slot, 0.5 + slot / 20, cost=1000.0 * (slot + 1)) for slot in range(4)]
    trials += [trial(4, None, state="failed"), trial(5, 0.3, state="pruned")]
    standing = Standing(what="trial 3", f1=0.7, run_id="c3", reason="")
    lost = Standing(what="broken", f1=None, run_id=None, reason="loss is nan")
    best = FrontTrial(trial=3, f1=0.65, cost=4000.0, run_id="r3", registered=True)
    top = TopTrial("trial 3", 0.65, "epoch", {"val_f1": ((1, 2, 3), (0.1, 0.2, 0.65))}, {})
    facts = replace(
        ONE,
        trials=trials,
        importance={"model.depth": 1.0},
        cost_unit="parameters",
        limit=5000.0,
        front=[best],
        standings=[standing, lost],
        top_trials=[top],
    )
    page = Page(study_page(facts))
    wanted = {"history", "coordinates", "front", "standings", "curves"}
    assert set(page.sections) == {*ALWAYS, *wanted}
    assert "Trial 4 failed: broken" in page.sections["history"]
    assert [row[0] for row in page.tables["history"][0][1:]] == ["3", "2", "1", "0", "5"]
    assert "Pruned: 1 of 6 trials (17%)" in page.sections["time"]
    assert page.tables["front"][0][1] == ["trial 3", "0.6500", "4,000", "registered", "r3"]
    assert page.tables["standings"][0][2] == ["broken", "failed", "loss is nan", ""]
    assert all(alt for _, alt in page.pictures)


@pytest.mark.parametrize("f1", [0.5, 0.0])
def test_trials_of_equal_f1_can_be_drawn(f1: float) -> None:
    """Two trials with the same F1, also with 0, and one value of the field: no axis has an extent."""
    trials = [replace_slot(trial(0, f1), slot) for slot in range(2)]
    page = Page(study_page(replace(ONE, trials=trials)))
    assert {"history", "coordinates"} <= page.sections.keys()


def replace_slot(facts: TrialFacts, slot: int) -> TrialFacts:
    """The same trial in another slot."""
    return facts._replace(slot=slot)
