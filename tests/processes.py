"""Runs lsml as its users do: as processes in a folder of their own."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests import warm

ROOT = Path(__file__).parents[1]

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


def lsml(
    folder: Path,
    *arguments: str,
    python: str | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 300,
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
        timeout=200,
        check=False,
    )


class Running:
    """`lsml ARGUMENTS` under way, its lines on standard error read as they come.

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

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)

    def wait_for(self, text: str, *, timeout: float = 120) -> None:
        """Waits until a line with `text` comes."""
        end = time.monotonic() + timeout
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

    def signal_group(self, number: int) -> float:
        """Sends the signal to the whole process group, as a terminal does; seconds until the process has left."""
        started = time.monotonic()
        os.killpg(self.process.pid, number)
        self.process.wait(timeout=60)
        return time.monotonic() - started
