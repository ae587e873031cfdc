"""Other processes that take on parts of a long piece of work; they end with the one that started them."""

import contextlib
import itertools
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

from lsml.errors import DataError

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_AHEAD = 2
"""Items that each process has under way or waiting."""

_START = """
import sys
from multiprocessing.connection import Connection
with Connection(int(sys.argv[1])) as starter:
    sys.path[:] = starter.recv()
    from lsml.data.packing.processes import _serve
    _serve(starter)
"""


def in_order(
    call: Callable[[_Item], _Answer], items: Iterable[_Item], *, processes: int, descriptors: Sequence[int]
) -> Generator[_Answer]:
    """`call(item)` of each item in order, computed in so many processes, which have the open files `descriptors` too.

    They import what `call` needs and no more: neither a script that runs here, as `multiprocessing` does, nor Keras.
    They are killed when the iterator is closed or one of the calls raises, and end by themselves where this process is
    killed.

    Args:
        call: can be pickled, as its items and answers can.

    Raises:
        DataError: a process cannot be started, or died.
        Exception: what the first of `items` for which `call` raises does.
    """
    with contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(_Process(descriptors)) for _ in range(processes)]
        for helper in helpers:
            helper.send(sys.path)
            helper.send(call)
        waiting: deque[_Process] = deque()
        for item, helper in zip(items, itertools.cycle(helpers), strict=False):
            helper.send(item)
            waiting.append(helper)
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().answer()
        while waiting:
            yield waiting.popleft().answer()


class _Process(contextlib.AbstractContextManager["_Process"]):
    """One of the processes, killed when it is left."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-c", _START, str(theirs.fileno())]
            inherited = (theirs.fileno(), *descriptors)
            try:
                # In a group of its own: a terminal interrupts this process alone, which kills the other.
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=inherited, process_group=0)
            except OSError as error:
                fix = "end other processes, or raise the limit on them (ulimit -u)"
                raise DataError("packing", f"no process can be started: {error.strerror}", fix) from None

    def send(self, value: object) -> None:
        with self._alive():
            self._pipe.send(value)

    def answer(self) -> Any:
        """Of the first item that was sent and not yet answered."""
        with self._alive():
            answer, error = self._pipe.recv()
        if error is not None:
            raise error
        return answer

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError):
            status = self._process.wait()
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise DataError("packing", f"one of its processes {how}", "run the same command again") from None

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()


def _serve(starter: Connection) -> None:
    """Runs in the other process until the first one closes its end, which it does however it ends."""
    with contextlib.suppress(EOFError, ConnectionError):
        call = starter.recv()
        while True:
            item = starter.recv()
            try:
                answered = call(item), None
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                starter.send((None, error))
            else:
                starter.send(answered)
