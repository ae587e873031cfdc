"""Readers stand what was found once and some hundred new inputs; and what finds them finds what it should."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsml.errors import ConfigError, DataError
from tests import warm
from tests.fuzz.mutators import of_bytes
from tests.fuzz.running import LIMITS, Limits, Target, complaint, fuzz
from tests.fuzz.targets import TARGETS
from tests.processes import PATIENCE

FOUND = Path(__file__).parent / "found"
"""Inputs that a reader did not stand, by the target and what they are."""


PATIENT = LIMITS._replace(seconds=PATIENCE / 5)
"""A machine under load may take so long for an input of a second; one without end takes longer."""


def _smoke(name: str, most: int, keep: Path) -> None:
    """Leaves in `keep` what is wrong with reading former findings and new inputs."""
    for path in FOUND.glob(f"{name}-*"):
        if why := complaint(TARGETS[name], path.read_bytes(), PATIENT):
            (keep / path.name).write_text(why)
    tally = fuzz(TARGETS[name], seed=0, seconds=PATIENCE, most=most, keep=keep, limits=PATIENT)
    assert tally.inputs == most


HEAVY = {"network": 6, "spool": 200, "mlmodel": 200}
"""Targets that import Keras or MLflow, and how many inputs they get."""


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in HEAVY])
def test_a_reader_accepts_an_input_or_refuses_it_in_one_line(name: str, tmp_path: Path) -> None:
    """Nothing else is raised, within seconds and a gigabyte."""
    _smoke(name, 120, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.glob("*")} == {}


@pytest.mark.parametrize("name", HEAVY)
def test_models_and_records_are_accepted_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """In a fork of the process that has Keras and MLflow already."""
    process = warm.start_function(_smoke, name, HEAVY[name], tmp_path)
    process.join()
    assert process.exitcode == 0
    assert {path.name: path.read_text() for path in tmp_path.glob("*")} == {}


def test_each_former_finding_is_read_by_a_target() -> None:
    assert {path.name.partition("-")[0] for path in FOUND.iterdir()} <= TARGETS.keys()


def _raise(error: BaseException) -> None:
    raise error


SMALL = Limits(seconds=PATIENCE / 5, memory=50_000_000, apart=0)


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda: True, ""),
        (lambda: None, ""),
        (lambda: _raise(DataError("file", "is none", "give one")), ""),
        (lambda: _raise(KeyError("a")), "KeyError: 'a'"),
        (lambda: sys.exit(0), "SystemExit: 0"),
        (lambda: _raise(MemoryError()), "MemoryError"),
        (lambda: _raise(ConfigError("", "", "")), ""),
        (lambda: time.sleep(PATIENCE), "taken too long"),
        (lambda: np.ones(10**7), "bytes"),
        (lambda: np.ones(10**8).sum(), "MemoryError"),
        (os.abort, "been killed by SIGABRT"),
    ],
    ids=["accepts", "refuses", "refuses in a line", "raises", "leaves", "no memory", "empty line", "hangs", "grows",
         "leaps", "dies"],
)  # fmt: skip
def test_what_is_a_finding(read: Callable[[], object], says: str) -> None:
    """Ten million float64 are 80 MB, above the 50 MB given here; a hundred million are above eight times as much."""
    target = Target("toy", lambda folder: [b"a"], of_bytes, "input", lambda folder: read())
    limits = SMALL._replace(seconds=0.5) if says == "taken too long" else SMALL
    said = complaint(target, b"a", limits)
    assert (says in said) if says else (said == "")


def test_it_goes_on_after_a_death_and_says_the_same_again(tmp_path: Path) -> None:
    """Of one seed the same inputs die, one of each kind is kept, and it is the one that died."""

    def read(folder: Path) -> bool:
        content = (folder / "input").read_bytes()
        if len(content) % 5 == 0:
            os.abort()
        return len(content) % 2 == 0

    target = Target("toy", lambda folder: [b"abcdefgh" * 9], of_bytes, "input", read)
    first, again = (
        fuzz(target, seed=3, seconds=PATIENCE, most=60, keep=tmp_path / name, limits=PATIENT) for name in "ab"
    )
    assert first == again
    assert first.inputs == 60 == first.accepted + first.refused + first.findings
    assert min(first.accepted, first.refused, first.findings) > 3
    (kept,) = [path for path in (tmp_path / "a").iterdir() if path.suffix != ".txt"]
    assert len(kept.read_bytes()) % 5 == 0
    assert complaint(target, kept.read_bytes()) == "been killed by SIGABRT"
