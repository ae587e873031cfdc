"""Patches of several regions from the command line: folds that leave one out, and scores of each by itself."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas
import pytest

from tests.end_to_end.conftest import client
from tests.pages import Page
from tests.processes import lsml

EXPERIMENT = """
name: places
data: {path: pictures, folds: 5, repeats: 1}
base:
  model: {filters: 4, depth: 1}
  training: {epochs: 4, batch_size: 2, learning_rate: 2e-2}
space:
  loss.jaccard: {low: 0.0, high: 1.0}
study: {trials: 1, pruner: none}
"""


def _write(folder: Path, region: str, number: int, brown: int) -> None:
    """Green noise of 32 x 32 pixels, and a square of the region's brown, which the mask has in white."""
    random = np.random.default_rng([number, brown])
    picture = random.integers(40, 90, (32, 32, 3)).astype(np.uint8)
    picture[..., 1] += 60
    mask = np.zeros((32, 32), np.uint8)
    square = np.s_[4:20, 2 + number : 18 + number]
    picture[square], mask[square] = (60, 100, brown), 255
    for kind, array in (("images", picture), ("masks", mask)):
        (folder / kind / region).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / kind / region / f"{number}.png"), array)


class Study(NamedTuple):
    """A finished study: its folder, what it printed, and the run whose model it registered."""

    folder: Path
    said: str
    best_run: str


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Study:
    """One trial on three regions of two patches each; two others are the test split, one of them hard to see."""
    folder = tmp_path_factory.mktemp("places")
    new_store(folder)
    for split, region, brown in (
        ("train", "hills", 200),
        ("train", "coast", 180),
        ("train", "valley", 160),
        ("test", "plain", 190),
        ("test", "forest", 70),
    ):
        for number in (1, 2):
            _write(folder / "pictures" / split, region, number, brown)
    (folder / "pictures" / "dataset.yaml").write_text("regions: folders\n")
    (folder / "places.yaml").write_text(EXPERIMENT)
    done = lsml(folder, "tune", "places.yaml")
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"best run: ([0-9a-f]{32})", done.stdout.splitlines()[-1])
    assert found
    return Study(folder, done.stderr + done.stdout, found[1])


def test_a_study_says_what_its_folds_are(study: Study) -> None:
    """Of three regions three folds, although five are asked for; the test split's regions are not looked at."""
    assert "6 patches of train/images/* in folds; " in study.said
    assert "; 3 regions; 3 folds, not 5, as there are no more regions; " in study.said


def test_a_study_tells_f1_by_the_region_left_out(study: Study) -> None:
    """In the terminal, in JSON, in the report and as a figure: the same numbers, of patches that no fold had seen."""
    shown = lsml(study.folder, "study", "show", "places")
    assert shown.returncode == 0, shown.stderr
    assert "by region: leave one region out, 3 regions, 1 repeat" in shown.stdout
    rows = dict(re.findall(r"^(hills|coast|valley) +2 +25\.00% +(\d\.\d{4}) \(", shown.stdout, re.MULTILINE))
    assert set(rows) == {"hills", "coast", "valley"}
    record = json.loads(lsml(study.folder, "study", "show", "places", "--json").stdout)
    assert {region["region"]: f"{region['f1']:.4f}" for region in record["regions"]} == rows
    store = client(study.folder)
    page = Page(Path(store.download_artifacts(record["study_run_id"], "report.html", str(study.folder))).read_text())
    assert {row[0]: row[3].partition(" ")[0] for row in page.tables["regions"][0][1:]} == rows
    assert any(alt.startswith("F1 by region. Of leave one region out") for _, alt in page.pictures)
    # Pictures of the same patches, whose names have a slash.
    assert {"hills", "coast", "valley"} >= {head.partition("/")[0] for head in page.tables["panels"][0][0][1:]} != set()
    assert "study/regions.png" in [entry.path for entry in store.list_artifacts(record["study_run_id"], "study")]


def test_a_split_is_evaluated_by_region(study: Study) -> None:
    """A table, the worst region in a line, and in MLflow the table, metrics, a figure and the region of each patch."""
    done = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--by", "region")
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^(forest|plain) +2 +25\.00% +(\d\.\d{4}) \(\d\.\d{4} to \d\.\d{4}\)", done.stdout, re.M))
    assert set(rows) == {"plain", "forest"}
    worst = min(rows, key=lambda region: float(rows[region]))
    assert f"worst region: {worst}, F1 {rows[worst]} (" in done.stdout
    store = client(study.folder)
    metrics = store.get_run(study.best_run).data.metrics
    for region, f1 in rows.items():
        assert f"{metrics[f'test_region_{region}_f1']:.4f}" == f1
        assert metrics[f"test_region_{region}_f1_low"] <= metrics[f"test_region_{region}_f1_high"]
    table = store.download_artifacts(study.best_run, "test_regions.json", str(study.folder))
    assert pandas.read_json(table, orient="split")["region"].tolist() == ["forest", "plain"]
    patches = pandas.read_csv(store.download_artifacts(study.best_run, "test_patches.csv", str(study.folder)))
    assert dict(zip(patches["id"], patches["region"], strict=True)) == {
        "forest/1": "forest",
        "forest/2": "forest",
        "plain/1": "plain",
        "plain/2": "plain",
    }
    assert "test/regions.png" in [entry.path for entry in store.list_artifacts(study.best_run, "test")]


def test_one_region_is_not_called_the_worst(study: Study) -> None:
    """Patches of a single place: its row, and nothing to be worse than."""
    for number in (1, 2):
        _write(study.folder / "one" / "test", "moor", number, 190)
    (study.folder / "one" / "dataset.yaml").write_text("regions: folders\n")
    done = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--data", "one", "--by", "region")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^moor +2 +25\.00% ", done.stdout, re.M)
    assert "worst region" not in done.stdout


def test_scores_by_region_are_those_of_its_patches(study: Study) -> None:
    """In JSON: F1 follows from the counts of the region's two patches, and all of them make up the pooled one."""
    done = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--by", "region", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    store = client(study.folder)
    patches = pandas.read_csv(store.download_artifacts(study.best_run, "test_patches.csv", str(study.folder)))
    for region in record["regions"]:
        counts = patches[patches["region"] == region["region"]][["hits", "misses", "false_alarms"]].sum()
        hits, misses, alarms = counts
        assert region["f1"] == pytest.approx(2 * hits / max(1, 2 * hits + misses + alarms))
        assert (region["patches"], region["landslide_share"]) == (2, 0.25)


def test_regions_that_are_not_known_open_nothing(study: Study) -> None:
    """One line says how to describe them, and the test split stays as it is."""
    before = lsml(study.folder, "study", "show", "places", "--json").stdout
    (study.folder / "pictures" / "dataset.yaml").rename(study.folder / "away.yaml")
    # Without the description the folders of regions have no meaning; so the patches lie in one.
    flat = study.folder / "flat"
    for path in sorted((study.folder / "pictures").rglob("*.png")):
        split, kind, region, name = path.relative_to(study.folder / "pictures").parts
        (flat / split / kind).mkdir(parents=True, exist_ok=True)
        (flat / split / kind / f"{region}{name}").write_bytes(path.read_bytes())
    done = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--by", "region", "--data", str(flat))
    (study.folder / "away.yaml").rename(study.folder / "pictures" / "dataset.yaml")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "lsml: error: --by region: no regions of the patches are known; say in dataset.yaml regions: folders, or "
        "patches: FILE.csv"
    )
    assert lsml(study.folder, "study", "show", "places", "--json").stdout == before
