"""The report of a real study: as an artifact of its run, and made anew by the command."""

import json
import re
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Study, client, runs
from tests.pages import Page
from tests.processes import lsml


def logged(folder: Path) -> str:
    """The report that stands in the study's run."""
    (parent,) = runs(folder, "tags.`lsml.role` = 'study'")
    return Path(client(folder).download_artifacts(parent.info.run_id, "report.html", str(folder))).read_text()


def test_the_studys_run_holds_its_report(study: Study) -> None:
    """One file below 3 MB that loads nothing, with the scores of the registered run and all parts."""
    text = logged(study.folder)
    page = Page(text)
    assert len(text) < 3_000_000
    assert page.loaded == []
    assert all(source.startswith("data:image/") and alt for source, alt in page.pictures)
    wanted = ["answer", "asked", "configuration", "importance", "history", "threshold", "calibration"]
    wanted += ["panels", "curves", "test", "time", "data", "again"]
    assert set(wanted) <= page.sections.keys()
    assert {"front", "standings"}.isdisjoint(page.sections)
    best = client(study.folder).get_run(study.best_run)
    # Validation's, moved by the temperature that the model's logits are divided by.
    chosen, temperature = best.data.metrics["best_val_raw_threshold"], best.data.metrics["best_val_temperature"]
    threshold = 1 / (1 + ((1 - chosen) / chosen) ** (1 / temperature))
    stated = re.search(r"F1 (0\.\d{4}), 95 % interval (0\.\d{4}) to (0\.\d{4})", page.sections["answer"])
    assert stated
    f1, low, high = map(float, stated.groups())
    assert low <= f1 <= high
    # Of the exported float32 network; the search may have been under bfloat16.
    assert f1 == pytest.approx(best.data.metrics["best_val_f1"], abs=2e-3)
    assert (
        f"3 patches (the own split of synthetic patches), by trial {best.data.tags['lsml.slot']}"
        in (page.sections["answer"])
    )
    assert f"at threshold {threshold:.4g}" in page.sections["answer"]
    assert "Registered first/1" in page.sections["answer"]
    drawn = dict(re.findall(r"(Average precision|calibration error) (0\.\d{4})", " ".join(page.sections.values())))
    for words, name in (("Average precision", "average_precision"), ("calibration error", "scaled_calibration_error")):
        assert float(drawn[words]) == pytest.approx(best.data.metrics[f"best_val_{name}"], abs=2e-3)
    assert f"lsml reproduce {study.best_run}" in page.sections["again"]
    assert "A study that ends in seconds." in text


def test_the_reports_tables_hold_what_the_study_came_to(study: Study) -> None:
    """Every trial with its F1 and its run, the searched fields, both splits with their fingerprints."""
    page = Page(logged(study.folder))
    shown = json.loads(lsml(study.folder, "study", "show", "first", "--json").stdout)
    (history,) = page.tables["history"]
    assert {(row[0], row[3], row[-1]) for row in history[1:]} == {
        (str(entry["slot"]), f"{entry['val_f1']:.4f}", entry["run_id"]) for entry in shown["attempts"]
    }
    (space,) = page.tables["asked"]
    assert space[1:] == [["model.dropout", "0 to 0.3"], ["loss.jaccard", "0 to 1"]]
    tags = client(study.folder).get_run(study.best_run).data.tags
    (card,) = page.tables["data"]
    assert [(row[0], row[1], row[-1]) for row in card[1:]] == [
        ("train", "6", tags["lsml.data.train"]),
        ("validation", "3", tags["lsml.data.validation"]),
    ]
    assert all(re.fullmatch(r"\d+\.\d\d%", row[3]) for row in card[1:])


def test_the_command_makes_the_same_report_anew(study: Study) -> None:
    """But for scores of the test split, which may have come since; without a display it says where the file is."""
    done = lsml(study.folder, "study", "report", "first", "--output", "new/report.html", "--open")
    assert done.returncode == 0, done.stderr
    file = study.folder / "new" / "report.html"
    assert done.stdout.splitlines() == [f"report: {file}", "no display here: open that file in a browser"]
    before, now = Page(logged(study.folder)), Page(file.read_text())
    for sections in (before.sections, now.sections):
        sections["answer"] = sections["answer"].split(" This score is optimistically biased")[0]
        del sections["test"]
    assert now.sections == before.sections
    assert now.pictures == before.pictures
