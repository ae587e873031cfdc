"""Other processes that take on parts of the work, or what a library may die of; they end with the one they work for."""

import contextlib
import itertools
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lsml.errors import DataError, without_passwords

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

AHEAD = 2
"""Items that each process has under way or waiting."""

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGXCPU)
"""What a library does to its process, and nobody else; the last one, where it does not come to an end."""

_START = """
import sys
from multiprocessing.connection import Connection
with Connection(int(sys.argv[1])) as starter:
    sys.path[:] = starter.recv()
    from lsml.data.formats.processes import _serve
    _serve(starter)
"""


def in_order(
    call: Callable[[_Item], _Answer],
    items: Iterable[_Item],
    *,
    processes: int,
    descriptors: Sequence[int],
    doing: str,
    crashed: Callable[[_Item], object],
) -> Generator[_Answer]:
    """`call(item)` of each item in order, computed in so many processes, which have the open files `descriptors` too.

    They have no passwords, and import what `call` needs and no more: neither a script that runs here, as
    `multiprocessing` does, nor Keras. They are killed when the iterator is closed or one of the calls raises, and end
    by themselves where this process is killed.

    Args:
        call: can be pickled, as its items and answers can.
        doing: what this is for, for people.
        crashed: is given the item of which a process crashed, to raise what is known of it.

    Raises:
        DataError: a process cannot be started, or died.
        Exception: what the first of `items` for which `call` raises does.
    """
    with contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(_Process(doing, descriptors)) for _ in range(processes)]
        for helper in helpers:
            helper.send(call)
        waiting: deque[tuple[_Process, _Item]] = deque()
        for item, helper in zip(items, itertools.cycle(helpers), strict=False):
            helper.send(item)
            waiting.append((helper, item))
            if len(waiting) > AHEAD * processes:
                yield _answered(*waiting.popleft(), doing, crashed)
        while waiting:
            yield _answered(*waiting.popleft(), doing, crashed)


def _answered(helper: "_Process", item: _Item, doing: str, crashed: Callable[[_Item], object]) -> Any:
    try:
        answer, error = helper.receive()
    except _Died as death:
        if death.crashed:
            crashed(item)
        raise DataError(doing, f"one of its processes {death}", "run the same command again") from None
    if error is not None:
        raise error
    return answer


class _Died(Exception):
    """How a process ended that was to go on."""

    def __init__(self, status: int) -> None:
        how = "took too much processor time" if -status == signal.SIGXCPU else f"was killed by signal {-status}"
        super().__init__(how if status < 0 else f"ended with status {status}")
        self.crashed = -status in _CRASHES


class _Process(contextlib.AbstractContextManager["_Process"]):
    """One of the processes, killed when it is left.

    Raises:
        DataError: it cannot be started.
    """

    def __init__(self, doing: str, descriptors: Sequence[int] = ()) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-c", _START, str(theirs.fileno())]
            inherited = (theirs.fileno(), *descriptors)
            try:
                # In a group of its own: a terminal interrupts this process alone, which kills the other.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=inherited,
                    process_group=0,
                    env=without_passwords(os.environ),
                )
            except OSError as error:
                fix = "end other processes, or raise the limit on them (ulimit -u)"
                raise DataError(doing, f"no process can be started: {error.strerror}", fix) from None
        self.send(sys.path)

    def send(self, value: object) -> None:
        """A process that has died says so where its answer is waited for."""
        with contextlib.suppress(ConnectionError):
            self._pipe.send(value)

    def receive(self) -> tuple[Any, Exception | None]:
        """What the call gave for the first item that was sent and not yet answered, or what it raised."""
        try:
            answer, error = _receive(self._pipe)
        except (EOFError, ConnectionError):
            raise _Died(self._process.wait()) from None
        return answer, error

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()


def _send(pipe: Connection, value: object) -> None:
    """Arrays go as they lie in memory: pickled, they would lie there twice."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    pipe.send([len(array) for array in arrays])
    pipe.send_bytes(pickled)
    for array in arrays:
        while array:
            array = array[os.write(pipe.fileno(), array) :]


def _receive(pipe: Connection) -> Any:
    sizes, pickled = pipe.recv(), pipe.recv_bytes()
    arrays = [np.empty(size, np.uint8) for size in sizes]
    for array in arrays:
        _fill(array.data, pipe.fileno())
    return pickle.loads(pickled, buffers=arrays)


def _fill(place: memoryview, descriptor: int) -> None:
    """Reads straight to where an array is to lie; `Connection` would take it to two other places first."""
    while place:
        if not (read := os.readv(descriptor, [place])):
            raise EOFError
        place = place[read:]


def _serve(starter: Connection) -> None:
    """Runs in the other process until the first one closes its end, which it does however it ends."""
    _READER.here = True
    with contextlib.suppress(EOFError, ConnectionError):
        call = starter.recv()
        while True:
            item = starter.recv()
            try:
                answered = call(item), None
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                _send(starter, (None, error))
            else:
                _send(starter, answered)


_MEMORY = Path("/proc/self/statm")
"""What Linux says of the memory that this process has, first of all its addresses in pages."""


class _Reader:
    """Who reads files for this process: another one, which is started by the first file and kept.

    Attributes:
        here: whether this process itself reads, as it does so for another one.
    """

    def __init__(self) -> None:
        self.here = False
        self._turn = threading.Lock()
        self._process: _Process | None = None
        self._owner = 0

    def answer(self, work: "_Work") -> Any:
        """What the work gives in the other process, or raises there."""
        with self._turn:
            process = self._process if self._owner == os.getpid() else None
            # It is kept once it has answered: what it still has to say would be taken for the next answer.
            self._process, self._owner = None, os.getpid()
            if process is None:
                process = _Process("reading files")
                process.send(_done)
            try:
                process.send(work)
                answer, error = process.receive()
            except BaseException:
                process.__exit__()
                raise
            self._process = process
        if error is not None:
            raise error
        return answer


_READER = _Reader()


_OTHERWISE = "replace it by an intact copy, or leave the patch out"

_Limits = tuple[int, int]
"""What reading one file may take: seconds of processor time, and bytes of memory, which are counted on Linux alone."""


class _Work(NamedTuple):
    """A call, its limits, and the working folder that its relative paths are below; None without such."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    limits: _Limits
    folder: Path | None


def _done(work: _Work) -> Any:
    if work.folder:
        os.chdir(work.folder)
    with _limited(work.limits):
        try:
            return work.call(*work.arguments)
        except MemoryError:
            why = f"takes more memory to read than there is, or than {work.limits[1]:,} bytes"
            raise DataError(f"file {work.arguments[0]}", why, _OTHERWISE) from None


@contextlib.contextmanager
def _limited(limits: _Limits) -> Iterator[None]:
    """The system ends this process where the block takes more time, and gives it no more memory than that.

    It counts whole seconds: the limit is met up to one early. A slow disk or a busy machine takes none of it.
    """
    seconds, memory = limits
    most = {resource.RLIMIT_CPU: math.floor(time.process_time()) + seconds}
    if _MEMORY.exists():
        pages = int(_MEMORY.read_text().split()[0])
        most[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory
    before = {kind: resource.getrlimit(kind) for kind in most}
    try:
        for kind, (soft, hard) in before.items():
            own = most[kind] if soft == resource.RLIM_INFINITY else min(most[kind], soft)
            resource.setrlimit(kind, (own, hard))
        yield
    finally:
        for kind, limit in before.items():
            resource.setrlimit(kind, limit)


def apart(call: Callable[..., _Answer], path: Path, *arguments: object, limits: _Limits) -> _Answer:
    """`call(path, *arguments)`, in another process: where a library dies of the file or hangs, this process lives.

    It is called right here, under the same limits, where this process reads for another one.

    Args:
        call: can be pickled, as all that it takes and gives can.

    Raises:
        DataError: the other process cannot be started, died, or has not the memory.
    """
    work = _Work(call, (path, *arguments), limits, None if path.is_absolute() else Path.cwd())
    if _READER.here:
        return _done(work._replace(folder=None))
    try:
        answer: _Answer = _READER.answer(work)
    except _Died as death:
        fix = _OTHERWISE if death.crashed else "run the same command again"
        raise DataError(f"file {path}", f"the process that read it {death}", fix) from None
    return answer
