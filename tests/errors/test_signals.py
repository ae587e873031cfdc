"""Signals that ask a command to stop, each in a process of its own."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsml.errors import Interrupted, signals
from lsml.errors.signals import deferred, leaving_by_signals, opened, stop_if_asked, without_hangups
from tests.forking import exit_code
from tests.processes import PATIENCE, environment, living, wait_until

STOPPED = "lsml: interrupted by SIGTERM: stopped cleanly; the same command resumes\n"
TERM = 128 + signal.SIGTERM


def _code(work: Callable[[], object]) -> int:
    """How a command that does this work leaves."""

    def command() -> None:
        with leaving_by_signals():
            work()

    return exit_code(command)


def _ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_with_its_number_and_one_line(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    """130, 143 and 129, by the shell's rule of 128 and the signal's number."""
    assert _code(lambda: (_ask(number), time.sleep(30))) == 128 + number
    assert capfd.readouterr().err == STOPPED.replace("SIGTERM", signal.Signals(number).name)


def test_the_line_is_the_last(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After what was written and not yet sent when the signal came."""

    def work() -> None:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.FileIO(2, "w", closefd=False)))
        sys.stderr.write("epoch 3\n")
        _ask()

    assert _code(work) == TERM
    assert capfd.readouterr().err == f"epoch 3\n{STOPPED}"


class _Deaf:
    """What a signal raises while it goes is dropped by Python."""

    def __del__(self) -> None:
        _ask()


def test_a_signal_in_a_finaliser_is_not_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Python prints `Exception ignored` and goes on, and nothing would end a process that waits for ever."""

    def work() -> None:
        _Deaf()
        time.sleep(30)
        (tmp_path / "too late").touch()

    assert _code(work) == TERM
    assert not (tmp_path / "too late").exists()
    assert capfd.readouterr().err == STOPPED


def test_what_is_deferred_is_done_to_its_end(tmp_path: Path) -> None:
    """A transaction is not cut in two; nor is what closes it, however often it defers itself."""
    done = tmp_path / "done"

    def work() -> None:
        try:
            with deferred():
                with deferred():
                    _ask()
                    time.sleep(0.7)
                done.write_text("written")
            done.write_text("too late")
        finally:
            with deferred():
                time.sleep(0.7)
            done.write_text(f"{done.read_text()} and closed")

    assert _code(work) == TERM
    assert done.read_text() == "written and closed"


def test_a_loop_stops_where_nothing_is_half_done(tmp_path: Path) -> None:
    """The signal comes in round 2 of a deferred loop, which ends that round and begins no other."""
    rounds = tmp_path / "rounds"

    def work() -> None:
        with deferred():
            for number in range(1, 10):
                if number == 2:
                    _ask()
                rounds.write_text(str(number))
                stop_if_asked()

    assert _code(work) == TERM
    assert rounds.read_text() == "2"


def test_what_is_opened_as_a_signal_comes_is_closed(tmp_path: Path) -> None:
    """A run that MLflow has made, and of which nobody knows yet, would stay open."""
    state = tmp_path / "state"

    def open_run() -> str:
        state.write_text("open")
        _ask()
        return "run"

    @contextlib.contextmanager
    def closing(run: str) -> Iterator[None]:
        try:
            yield
        except Interrupted:
            state.write_text(f"{run} closed")
            raise

    def work() -> None:
        with opened(open_run, closing):
            state.write_text("filled")

    assert _code(work) == TERM
    assert state.read_text() == "run closed"


def test_nothing_holds_a_signal_back_for_ever() -> None:
    """A deferred call that does not return is interrupted after a while."""

    def work() -> None:
        with deferred(0.2):
            _ask()
            time.sleep(30)

    assert _code(work) == TERM


def test_what_cannot_be_mended_is_held_longer(tmp_path: Path) -> None:
    """As a database that gets its tables, within a block that is held for less."""
    done = tmp_path / "done"

    def work() -> None:
        with deferred(0.1):
            with deferred(30):
                _ask()
                time.sleep(1.2)
                done.touch()
            time.sleep(30)

    assert _code(work) == TERM
    assert done.exists()


def test_whoever_goes_on_after_a_signal_is_not_interrupted_again() -> None:
    """As the command that serves MLflow's UI until Ctrl-C, and then says so."""

    def work() -> None:
        try:
            _ask(signal.SIGINT)
        except Interrupted:
            signals.answered()
        time.sleep(0.8)

    assert _code(work) == 0


def _closing_for_ever(again_after: float) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path("child").write_text(str(child.pid))
    try:
        _ask()
    finally:
        time.sleep(again_after)
        _ask()
        time.sleep(0.5)
        Path("closed").touch()


def test_a_second_signal_kills_the_children_and_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where closing takes too long for whoever waits: same exit code, and no process stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signals, "_SAME_SECONDS", 0.1)
    assert _code(lambda: _closing_for_ever(0.2)) == TERM
    assert not Path("closed").exists()
    child = int(Path("child").read_text())
    wait_until(lambda: not living([child]))
    assert capfd.readouterr().err == "lsml: interrupted again, by SIGTERM: left at once; the same command resumes\n"


def test_a_process_started_without_hangups_outlives_them() -> None:
    """A terminal that closes sends one to all of its processes; another, started as usual, dies of it."""
    with without_hangups():
        deaf = subprocess.Popen(["sleep", "600"])
    usual = subprocess.Popen(["sleep", "600"])
    for process in (deaf, usual):
        process.send_signal(signal.SIGHUP)
    assert usual.wait(PATIENCE) == -signal.SIGHUP
    assert deaf.poll() is None
    deaf.kill()
    assert deaf.wait(PATIENCE) == -signal.SIGKILL


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` sends its signal to the command and then to its whole group, so that it arrives twice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signals, "_SAME_SECONDS", PATIENCE)
    assert _code(lambda: _closing_for_ever(0.1)) == TERM
    assert Path("closed").exists()
    os.kill(int(Path("child").read_text()), signal.SIGKILL)


def test_a_signal_while_lsml_is_imported(tmp_path: Path) -> None:
    """In the first second of a command most of its time goes into imports: here one that does not end."""
    (tmp_path / "typer.py").write_text("import os, time; open('importing', 'w').close(); time.sleep(600)")
    env = environment(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "lsml", "--version"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    wait_until((tmp_path / "importing").exists)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (TERM, STOPPED)
