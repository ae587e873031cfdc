"""Runs lsml as its users do: as processes in a folder of their own."""

import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests import warm

ROOT = Path(__file__).parents[1]

PATIENCE = 300.0
"""Seconds after which what a test waits for is not coming: it may share its cores with ten other processes."""

WITHOUT_LSML = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lsml":
            raise ImportError("lsml is not installed here")
sys.meta_path.insert(0, Blocker())
"""
"""The start of a script for a process in which lsml cannot be imported."""


def environment(*paths: Path, **changes: str) -> dict[str, str]:
    """This process's environment for a process that imports lsml, and from `paths`, in any folder."""
    stripped = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return stripped | {"PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))} | changes


def wait_until(holds: Callable[[], object]) -> None:
    """Returns once that is true."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "what the test waits for does not come"
        time.sleep(0.02)


def living(pids: Iterable[int]) -> set[int]:
    """Those of the processes that have not ended."""
    found = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.add(pid)
    return found


def children() -> set[int]:
    """The processes that live which this one has started, also by others."""
    return living(child.pid for child in psutil.Process().children(recursive=True))


def free_port() -> int:
    """A port of loopback that nobody has, below those that systems give out: no other program gets it meanwhile."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("of a hundred ports none is free")


def lsml(
    folder: Path,
    *arguments: str,
    python: str | None = None,
    env: dict[str, str] | None = None,
    timeout: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """`python -m lsml ARGUMENTS` in `folder`.

    Run by a fork of a process that has imported Keras and MLflow already, which saves most of a command's time;
    by an interpreter of its own where `python` names one.
    """
    env = env or environment()
    if python is None:
        return warm.run_module("lsml", *arguments, folder=folder, env=env, timeout=timeout)
    return subprocess.run(
        [python, "-m", "lsml", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def without_lsml(
    folder: Path, script: str, *arguments: str, python: str = sys.executable, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`script` with these arguments in `folder`, run by `python` where lsml cannot be imported."""
    return subprocess.run(
        [python, "-c", WITHOUT_LSML + script, *arguments],
        cwd=folder,
        env=(env or environment()) | {"PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Running:
    """`lsml ARGUMENTS` under way, its lines on standard error read as they come; killed at the end of the `with` block.

    Args:
        ignoring: signals that it is started to ignore.
    """

    def __init__(
        self, folder: Path, *arguments: str, env: dict[str, str] | None = None, ignoring: tuple[int, ...] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lsml", *arguments],
            cwd=folder,
            env=env or environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignoring],
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)

    def wait_for(self, text: str) -> None:
        """Waits until a line with `text` comes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self._seen.append(self._lines.get(timeout=0.5))
            except queue.Empty:
                if self.process.poll() is not None:
                    break
                continue
            if text in self._seen[-1]:
                return
        raise AssertionError(f"no line with {text!r} in: {''.join(self._seen)}")

    def said(self) -> str:
        """Its lines so far."""
        while not self._lines.empty():
            self._seen.append(self._lines.get())
        return "".join(self._seen)

    def worker_pids(self) -> list[int]:
        """The processes that train."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]

    def kill_workers(self) -> None:
        """Kills every worker with SIGKILL."""
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kills the coordinator with SIGKILL; its workers must follow by themselves."""
        self.process.kill()
        self.process.wait()

    def signal_group(self, number: int) -> None:
        """Sends the signal to the whole process group, as a terminal does, and waits until the process has left."""
        os.killpg(self.process.pid, number)
        self.process.wait(PATIENCE)
