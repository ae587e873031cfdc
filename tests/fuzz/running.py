"""Feeds a reader changed inputs in a process of its own, under limits, and keeps those that it does not stand.

Input number `n` of a target depends on the seed, the target's name and `n` alone. A finding is an input of which the
reader raises anything but lsml's own errors, takes too long or too much memory, or kills its process. One that ends its
process is read once more as lsml reads files: where that costs a process apart and gives a line, it is no finding.
"""

import contextlib
import faulthandler
import hashlib
import mmap
import os
import resource
import signal
import struct
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from lsml.data.formats.processes import _READER
from lsml.errors import LsmlError
from tests.fuzz.mutators import Mutator


class Target(NamedTuple):
    """A reader.

    Attributes:
        prepare: imports what it needs, puts into a folder what is to lie beside the input, and gives sound inputs.
        mutate: makes others of these.
        file: under which name the input is put into the folder.
        read: reads it there; a falsy answer is a refusal, as an error of lsml's is.
    """

    name: str
    prepare: Callable[[Path], Sequence[bytes]]
    mutate: Mutator
    file: str
    read: Callable[[Path], object]


class Limits(NamedTuple):
    """Of a single input: seconds, and bytes that it may make the process grow by.

    Attributes:
        apart: seconds more where another process reads: it is started, and ended when it has had its processor time.
    """

    seconds: float = 5.0
    memory: int = 1 << 30
    apart: float = 25.0


LIMITS = Limits()


@dataclass
class Tally:
    """What became of the inputs of a target."""

    target: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    findings: int = 0


_STATE = struct.Struct("<qqqq")
"""In memory that the process shares: the number of its input, how many were accepted, refused, and its findings."""


def fuzz(target: Target, *, seed: int, seconds: float, most: int, keep: Path, limits: Limits = LIMITS) -> Tally:
    """Reads so many inputs, or for so many seconds; findings become files below `keep`, one of each kind.

    Raises:
        RuntimeError: the process ends by itself, or before it has read anything.
    """
    tally, end = Tally(target.name), time.monotonic() + seconds
    while tally.inputs < most and time.monotonic() < end:
        with mmap.mmap(-1, _STATE.size) as state:
            _STATE.pack_into(state, 0, tally.inputs - 1, 0, 0, 0)
            numbers = range(tally.inputs, most)
            status = _in_child(_work, target, seed, numbers, end, keep, limits, state)
            last, accepted, refused, findings = _STATE.unpack_from(state)
        if status > 0 or last < tally.inputs:
            raise RuntimeError(f"{target.name}: its process has {_how(status)}")
        why = ""
        if status:
            with _prepared(target) as (_, corpus):
                content = _numbered(target, corpus, seed, last)
            if why := complaint(target, content, limits):
                _keep(keep, target, content, why)
        tally.inputs, tally.findings = last + 1, tally.findings + findings + (why != "")
        tally.accepted, tally.refused = tally.accepted + accepted, tally.refused + refused + (status != 0 and not why)
    return tally


def complaint(target: Target, content: bytes, limits: Limits = LIMITS) -> str:
    """What is wrong with how an input is read; empty where it is accepted, or refused in lsml's own words.

    It is read as lsml does so: what a library dies of or hangs at, in a process apart, under its limit.
    """
    with tempfile.TemporaryDirectory() as keep:
        status = _in_child(_read_one, target, content, Path(keep), limits)
        said = [path.read_text() for path in Path(keep).glob("*.txt")]
    return said[0] if said else _how(status) if status else ""


def _in_child(work: Callable[..., object], *arguments: object) -> int:
    """The exit code of a fork that does it, -N where signal N killed it."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            work(*arguments)
        except BaseException:  # noqa: BLE001 (a forked child must never return into the parent's code)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _how(status: int) -> str:
    if status == -signal.SIGALRM:
        return "taken too long"
    return f"been killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


@contextlib.contextmanager
def _prepared(target: Target) -> Iterator[tuple[Path, Sequence[bytes]]]:
    """A folder of the target's own, in memory where there is some, and the sound inputs."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="lsml-fuzz-") as folder:
        yield Path(folder), target.prepare(Path(folder))


def _numbered(target: Target, corpus: Sequence[bytes], seed: int, number: int) -> bytes:
    """The first ones are the sound ones."""
    if number < len(corpus):
        return corpus[number]
    return target.mutate(Random(f"{seed}/{target.name}/{number}"), corpus)


def _work(target: Target, seed: int, numbers: range, end: float, keep: Path, limits: Limits, state: mmap.mmap) -> None:
    """Reads inputs, and keeps in `state` how far it is."""
    # Thousands are read in this process; one at which a library dies kills it, and is then read as lsml does so.
    _READER.here = True
    with _prepared(target) as (folder, corpus):
        # The first one may import or compile what all need.
        for content in corpus:
            _read(target, folder, content, limits._replace(seconds=600.0))
        _limit(limits)
        counts = {"accepted": 0, "refused": 0, "finding": 0}
        for number in numbers:
            content = _numbered(target, corpus, seed, number)
            _STATE.pack_into(state, 0, number, *counts.values())
            verdict, why = _read(target, folder, content, limits)
            if verdict == "finding":
                _keep(keep, target, content, why)
            counts[verdict] += 1
            _STATE.pack_into(state, 0, number, *counts.values())
            if time.monotonic() > end:
                return


def _read_one(target: Target, content: bytes, keep: Path, limits: Limits) -> None:
    with _prepared(target) as (folder, _):
        _limit(limits)
        verdict, why = _read(target, folder, content, limits._replace(seconds=limits.seconds + limits.apart))
        if verdict == "finding":
            _keep(keep, target, content, why)


def _limit(limits: Limits) -> None:
    """A leap of memory ends in an error, and a process that grows without end is ended."""
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 8 * limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _read(target: Target, folder: Path, content: bytes, limits: Limits) -> tuple[str, str]:
    """Whether it is accepted, refused or a finding, and why."""
    # The peak of memory is as of now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    verdict, why = _answer(target, folder, content, limits)
    grown = _peak() - before
    return ("finding", f"taken {grown:,} bytes") if grown > limits.memory else (verdict, why)


def _answer(target: Target, folder: Path, content: bytes, limits: Limits) -> tuple[str, str]:
    (folder / target.file).write_bytes(content)
    # By default an alarm ends the process, also in a call of C's that does not end.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    try:
        return "accepted" if target.read(folder) else "refused", ""
    except LsmlError as error:
        one_line = error.exit_code > 1 and len(str(error).splitlines()) == 1
        return ("refused", "") if one_line else ("finding", f"said {str(error)!r}")
    except BaseException:  # noqa: BLE001 (whatever it is, it is a finding)
        return "finding", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _peak() -> int:
    """The most memory that this process has had since that was set back, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _keep(keep: Path, target: Target, content: bytes, why: str) -> None:
    """Writes an input, the first of its kind, and why: of an exception the places that it went through."""
    places = [line for line in why.splitlines() if line.lstrip().startswith("File ")]
    kind = hashlib.sha256("".join(places or why.split("(")[:1]).encode()).hexdigest()[:8]
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{target.name}-{kind}"
    if not path.exists():
        path.write_bytes(content)
        path.with_suffix(".txt").write_text(f"{why.rstrip()}\n")
