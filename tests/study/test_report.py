"""The report of studies whose trials only sleep: one trial, one that is under way, one of an unfriendly name."""

import re
from pathlib import Path

import pytest

from lsml.config.experiment import load_experiment
from lsml.errors import StudyError
from lsml.names import Attribute
from lsml.study.database import load_study
from lsml.tracking.ledger import Ledger
from lsml.tracking.store import open_client
from lsml.workflows.report import renew_report, report_study
from lsml.workflows.tune import tune
from tests.pages import Page

from .conftest import EXPERIMENT, client
from .sleeping import FUNCTIONS
from .test_objectives import ended
from .test_tune import STORAGE, Listener

SCRIPT = "<script>document.title = 1</script>"


def test_one_trial_of_a_study_that_describes_itself_in_html(folder: Path, patches: Path) -> None:
    """The script in its description is text; what needs several trials is left out; before its end it reads on."""
    Path("experiment.yaml").write_text(EXPERIMENT + f"description: A <b>bold</b> study. {SCRIPT}\n")
    experiment = load_experiment(Path("experiment.yaml")).with_settings(trials=1)
    result = tune(experiment, study="s", data=patches, storage=STORAGE, listener=Listener(), functions=FUNCTIONS)
    logged = client().download_artifacts(result.study_run_id, "report.html", str(folder))
    text = Path(logged).read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "A &lt;b&gt;bold&lt;/b&gt; study. &lt;script&gt;" in text
    assert page.loaded == []
    assert f"F1 {result.best_value:.4f}" in page.sections["answer"]
    assert {"history", "coordinates", "standings", "front"}.isdisjoint(page.sections)
    assert "two complete trials" in page.sections["importance"]
    # As it is found before the study's result is noted: the best trial so far.
    load_study(STORAGE, "s").note(Attribute.RESULT, {})
    written = report_study("s", STORAGE, output=None)
    assert written == folder / "s-report.html"
    before = Page(written.read_text()).sections
    # What choosing added is known at the end alone.
    corrected = re.search(r"F1 after correction for 1 trial [\d.]+ \([\d.]+ to [\d.]+\)\s*", page.sections["answer"])
    assert corrected
    assert before.pop("answer").split() == page.sections["answer"].replace(corrected[0], "").split()
    assert before == {name: text for name, text in page.sections.items() if name != "answer"}


def test_a_report_is_renewed_where_the_studys_database_is_at_hand(
    folder: Path, patches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an opening of the test split the stored one tells of it; without the database a line says why not."""
    experiment = load_experiment(Path("experiment.yaml")).with_settings(trials=1)
    result = tune(experiment, study="s", data=patches, storage=STORAGE, listener=Listener(), functions=FUNCTIONS)
    run = client().get_run(result.best_run_id)

    def stored() -> str:
        return Path(client().download_artifacts(result.study_run_id, "report.html", str(folder))).read_text()

    assert "had not been opened" in stored()
    Ledger.of_run(open_client(), run).record(run, model_sha256="0" * 64, data="patches")
    client().set_model_version_tag("s", "1", "lsml.promotion.verdict", "promoted")
    monkeypatch.setenv("LSML_STORAGE", "sqlite:///other.db")
    said = renew_report(open_client(), run)
    assert said.startswith("report.html of study s does not show this yet: study 's': no database ")
    assert "had not been opened" in stored()
    monkeypatch.delenv("LSML_STORAGE")
    assert renew_report(open_client(), run) == ""
    page = Page(stored())
    assert "This study opened it once" in page.sections["test"]
    assert "Promotion promoted" in page.sections["answer"]


def test_a_study_without_a_run_has_no_report(folder: Path) -> None:
    """A study in the database of which nothing is in MLflow: one line says so."""
    ended((0.5, 1000.0))
    with pytest.raises(StudyError, match="study 'table': no trial has begun"):
        report_study("table", STORAGE, output=None)
