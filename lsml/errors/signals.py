"""Signals that ask a command to stop: where they interrupt what is under way, and how the process then leaves.

The first signal raises `Interrupted` at once, but for `deferred` blocks, in which something would stay half done: there
it waits for the end of the block or for the next `stop_if_asked`, and in most of them no longer than 5 s. Where Python
drops what a signal raises, as in `__del__`, it is raised again. A second signal ends the process and its children.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from lsml.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_Opened = TypeVar("_Opened")

# Windows has no SIGHUP.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_REMINDER_SECONDS = 0.5
_HELD_SECONDS = 5.0
"""For which a `deferred` block holds back a signal: whatever it waits for may never come."""
_SAME_SECONDS = 1.0
"""Signals that come so soon after the first are the same wish: `timeout` and closing terminals send theirs twice."""


@dataclass
class _Request:
    """What has been asked of this process.

    Attributes:
        number: the first signal; 0 where none has come.
        since: when it came, by `time.monotonic`.
        blocks: in how many `deferred` blocks the main thread is.
        longest: seconds for which these hold back a signal.
        heard: the signals that are listened to; empty outside `leaving_by_signals`.
    """

    number: int = 0
    since: float = 0.0
    blocks: int = 0
    longest: float = 0.0
    heard: tuple[int, ...] = ()


_REQUEST = _Request()


@contextlib.contextmanager
def leaving_by_signals() -> Iterator[None]:
    """Listens to signals in this block; one that interrupts it ends the process with a line and 128 + its number.

    Within another such block it does nothing.
    """
    if _REQUEST.heard:
        yield
        return
    # What `nohup`, or a shell that puts it into the background, has it ignore stays ignored, also by its children.
    _REQUEST.heard = tuple(number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN)
    for number in _REQUEST.heard:
        signal.signal(number, _ask)
    sys.unraisablehook = _drop
    try:
        yield
    except Interrupted as interruption:
        # What the signal came in the middle of comes first.
        with contextlib.suppress(OSError):
            if sys.stderr:
                sys.stderr.flush()
        _say(f"interrupted by {interruption.name}: stopped cleanly; the same command resumes")
        sys.exit(interruption.exit_code)
    finally:
        answered()
        # All is done: what is left is Python's own end.
        for number in _REQUEST.heard:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def deferred(longest: float = _HELD_SECONDS) -> Iterator[None]:
    """Holds back what a signal raises until the end of this block; other threads hear of none.

    Args:
        longest: seconds after which it is raised all the same; more than the default only where what would stay half
            done cannot be mended.

    Raises:
        Interrupted: at its end, where a signal has come meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer = _REQUEST.longest
    _REQUEST.blocks, _REQUEST.longest = _REQUEST.blocks + 1, max(outer, longest)
    try:
        yield
    finally:
        _REQUEST.blocks, _REQUEST.longest = _REQUEST.blocks - 1, outer
    if not _REQUEST.blocks:
        stop_if_asked()


@contextlib.contextmanager
def opened(
    make: Callable[[], _Opened], closing: Callable[[_Opened], contextlib.AbstractContextManager[object]]
) -> Iterator[_Opened]:
    """What `make` opens, within its `closing`: a signal comes between neither of them."""
    with contextlib.ExitStack() as stack:
        with deferred():
            made = make()
            stack.enter_context(closing(made))
        yield made


@contextlib.contextmanager
def without_hangups() -> Iterator[None]:
    """Processes that are started in this block never hear of SIGHUP; this one does at its end."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_if_asked() -> None:
    """A place in a `deferred` block at which nothing is half done.

    Raises:
        Interrupted: a signal has asked for it, and what it raised is not what is being cleaned up after right now.
    """
    if _REQUEST.number and not _unwinding():
        raise Interrupted(_REQUEST.number)


def answered() -> None:
    """Whoever catches `Interrupted`, and goes on, says so: it is not raised again."""
    _REQUEST.number = 0
    _remind_every(0.0)


def _ask(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _REQUEST.number:
        _REQUEST.number, _REQUEST.since = number, now
        _remind_every(_REMINDER_SECONDS)
        if not _REQUEST.blocks:
            stop_if_asked()
    elif now - _REQUEST.since > _SAME_SECONDS:
        _leave(number)


def _remind_every(seconds: float) -> None:
    # Windows has no such timer; there a signal that Python has dropped waits for the next safe point.
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _remind)
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def _remind(number: int, frame: FrameType | None) -> None:
    if not _REQUEST.blocks or time.monotonic() - _REQUEST.since > _REQUEST.longest:
        stop_if_asked()


def _unwinding() -> bool:
    """Whether an `Interrupted` is being handled: in an `except`, `finally` or `with` that it has come to."""
    error = sys.exception()
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


def _drop(dropped: "UnraisableHookArgs") -> None:
    """Python's own hook, but for interruptions: these are raised again by `_remind`."""
    if not isinstance(dropped.exc_value, Interrupted):
        sys.__unraisablehook__(dropped)


def _leave(number: int) -> None:
    """Ends the children and this process as they are; what is on disk is whole at any moment."""
    import psutil

    again = Interrupted(number)
    _say(f"interrupted again, by {again.name}: left at once; the same command resumes")
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(again.exit_code)


def _say(message: str) -> None:
    # Past `sys.stderr`, which the signal may have come in the middle of; where the terminal is gone nobody reads it.
    with contextlib.suppress(OSError):
        os.write(2, f"lsml: {message}\n".encode())
