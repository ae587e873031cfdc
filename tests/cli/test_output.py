"""How tables are shown: whole in a pipe, within the width of a terminal, and there never broken inside a word."""

import re
import sys

import pytest

from lsml.cli import output
from lsml.cli.output import Reporter, print_table, print_wrapped
from lsml.config.schema import TrainConfig
from lsml.data.splits import Steps
from lsml.names import Role
from lsml.report.facts import TrialFacts
from lsml.report.summary import Table, studies_table
from lsml.training.outcome import Attempt

RUN = "e518715c5f324c6b97694d04689082a9"
STUDIES = studies_table(
    [{"study": "small", "complete": 3, "pruned": 0, "failed": 0, "running": 0, "best val_f1": 0.2334, "best run": RUN}]
)
VALUES = {"loss.jaccard": 0.5, "model.architecture": "resnet_unet", "training.learning_rate": 0.002441}
TRIALS = Table.of_trials(
    [TrialFacts(slot, 1, "complete", 0.1985, None, VALUES, RUN, "", 2) for slot in range(2)],
    list(VALUES),
    title="study small",
)


def shown(
    table: Table, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, list[str]]:
    """The table in a terminal of that width, and the lines of it."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(table)
    text = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= width
    return text, text.splitlines()


@pytest.mark.parametrize("table", [STUDIES, TRIALS], ids=["studies", "trials"])
def test_a_pipe_gets_whole_tables(
    table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However narrow the terminal behind it is: ids in full, a line a row."""
    monkeypatch.setenv("COLUMNS", "40")
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert [RUN in line for line in lines[-len(table.rows) :]] == [True] * len(table.rows)
    assert all(column in lines[-len(table.rows) - 1] for column in table.columns)


def test_a_wide_terminal_shows_whole_ids(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is room, nothing is cut."""
    text, _ = shown(STUDIES, 120, monkeypatch, capsys)
    assert RUN in text
    assert "best val_f1" in text


def test_at_80_columns_heads_break_between_words_and_ids_are_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first eight digits of an id, which every command takes, so that no head is broken inside a word."""
    text, _ = shown(STUDIES, 80, monkeypatch, capsys)
    assert all(word in text for word in ("study", "complete", "pruned", "failed", "running", "best", "val_f1", "small"))
    assert "│ e518715c │" in text


def test_what_is_too_wide_is_a_block_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that names the trial, then its columns; a name and its value stay together."""
    _, lines = shown(TRIALS, 80, monkeypatch, capsys)
    assert lines[:5] == [
        "study small",
        "trial 0",
        "    attempt 1  state complete  F1 0.1985  epochs 2  loss.jaccard 0.5",
        "    model.architecture resnet_unet  training.learning_rate 0.002441",
        "    run e518715c",
    ]
    assert lines[5] == "trial 1"


def test_a_block_breaks_long_texts_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason that has no room in one line goes on in the next; a head that is no number stands by itself."""
    table = Table("", ["baseline", "F1", ""], [["NDVI and slope", "0.5", "ahead by +0.3 (95 % interval +0.2 to +0.4)"]])
    _, lines = shown(table, 40, monkeypatch, capsys)
    assert lines == [
        "baseline:",
        "NDVI and slope",
        "    F1 0.5  ahead by +0.3 (95 % interval",
        "    +0.2 to +0.4)",
    ]


def test_lines_are_broken_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between words, and indented as their first line says."""
    text = "ok      versions: lsml 0.1.0, keras 3.15.1"
    print_wrapped(text, indent=8)
    assert capsys.readouterr().out == text + "\n"
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_wrapped(text, indent=8)
    assert capsys.readouterr().out == "ok      versions: lsml 0.1.0,\n        keras 3.15.1\n"


def attempt(slot: int) -> Attempt:
    """A first try at a slot of the search, which chose a depth."""
    depth = {"model.depth": 3}
    return Attempt(slot, slot, 1, Role.TRIAL, str(slot), TrainConfig(), depth, depth)


def test_a_log_is_told_of_a_study_in_few_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three trials, one of which had ended with .4: an epoch every 10 s, and after each trial what is left.

    An epoch takes 6 s here: of five the first, third and last are told, 12 s apart; a trial of 30 s leaves one of 30 s.
    """
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with Reporter() as reporter:
        reporter.study_started(study="s", trials=3, ended=1, best=0.4, workers=1, source="folder", engine="")
        for slot, f1 in ((1, 0.5), (2, None)):
            trial = attempt(slot)
            reporter.trial_started(trial, Steps("epoch", 5))
            for epoch in range(1, 6):
                now += 6
                reporter.trial_step(trial, epoch, {"loss": 0.9, "val_f1": epoch / 10})
            reporter.trial_ended(trial, "complete" if f1 else "pruned", f1, "")
    assert capsys.readouterr().err.splitlines() == [
        "data: folder",
        "study s: 3 trials, 1 of them ended before, 1 at a time",
        "trial 1: model.depth=3",
        "trial 1  epoch 1/5  loss 0.900  val_f1 0.100",
        "trial 1  epoch 3/5  loss 0.900  val_f1 0.300",
        "trial 1  epoch 5/5  loss 0.900  val_f1 0.500",
        "trial 1: complete  val_f1 0.5000  best so far",
        "2 of 3 trials, best val_f1 0.5000, about 30 s left",
        "trial 2: model.depth=3",
        "trial 2  epoch 1/5  loss 0.900  val_f1 0.100",
        "trial 2  epoch 3/5  loss 0.900  val_f1 0.300",
        "trial 2  epoch 5/5  loss 0.900  val_f1 0.500",
        "trial 2: pruned",
        "3 of 3 trials, best val_f1 0.5000",
    ]
