"""Processes that need not import Keras and MLflow again: forks of one that has them, which each pytest process starts.

That process is the fork server of Python's `multiprocessing`. It has imported what `tests.preloaded` names, and has
computed nothing, opened nothing and started no thread of its own. A fork of it is as fresh as a new interpreter but
for `sys.modules`, and takes a tenth of a second where that takes six. Where lsml itself starts a new interpreter that
loads Keras, to check a model's file or pretrained weights, a process of these starts a fork as well.
"""

import json
import multiprocessing
import os
import runpy
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext, ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

import dask
import distributed  # noqa: F401 (dask has its settings only then)

from tests import opened

ROOT = Path(__file__).parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_SERVER = forkserver._forkserver  # type: ignore[attr-defined]
# What a fork is given, or not given, by its own environment.
_SETTINGS = ("CUDA_", "KERAS_", "LSML_", "MLFLOW_", "OMP_", "TF_", "XLA_")


class _Environment(dict):
    """This process's environment at the time when dask asks for it."""

    def items(self) -> object:  # type: ignore[override]
        return os.environ.items()


class _InPlaceOfSpawn(ForkServerContext):
    """Processes that have the environment of the one that starts them, as new interpreters do."""

    def Process(  # type: ignore[override]
        self, *, target: Callable[..., object], args: Sequence[object] = (), daemon: bool | None = None
    ) -> BaseProcess:
        return ForkServerContext.Process(target=_as_new, args=(dict(os.environ), target, args), daemon=daemon)


def _as_new(env: Mapping[str, str], target: Callable[..., object], args: Sequence[object]) -> None:
    _take(env)
    target(*args)


def _take(env: Mapping[str, str]) -> None:
    """Has this environment, and what an interpreter does that starts with it."""
    os.environ.clear()
    os.environ.update(env)
    opened.note()


_get_context = multiprocessing.get_context


def _context(method: str | None = None) -> BaseContext:
    return _InPlaceOfSpawn() if method == "spawn" else _get_context(method)


@contextmanager
def cold() -> Iterator[None]:
    """Within it, where `warm_workers` holds, new interpreters are new ones all the same, but for dask's."""
    with mock.patch.object(multiprocessing, "get_context", _get_context):
        yield


@contextmanager
def warm_workers() -> Iterator[None]:
    """Within it dask's workers, as `lsml tune` has them, and other new interpreters are forks of the warmed-up one."""
    _start()
    settings = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.nanny.environ": _Environment(),
    }
    with dask.config.set(settings), mock.patch.object(multiprocessing, "get_context", _context):
        yield


def run_module(
    module: str, *arguments: str, folder: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE ARGUMENTS` in `folder` with this environment, by a fork of the warmed-up process."""
    with tempfile.TemporaryDirectory() as held:
        streams = [Path(held) / name for name in ("stdout", "stderr")]
        process = start_module(module, *arguments, folder=folder, env=env, streams=streams)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([module, *arguments], timeout, *(path.read_bytes() for path in streams))
        said = [path.read_text(encoding="utf-8") if path.exists() else "" for path in streams]
        return subprocess.CompletedProcess([module, *arguments], process.exitcode, *said)


_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    connection.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    code, said, complaint = json.load(connection.makefile())
sys.stdout.write(said)
sys.stderr.write(complaint)
sys.exit(code)
"""


@contextmanager
def standing_for_python(timeout: float) -> Iterator[str]:
    """A folder for `PATH` in which `python -m MODULE ARGUMENTS` is `run_module`, for programs that start such."""

    class Asked(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (_, module, *arguments), folder, env = json.loads(self.rfile.readline())
            done = run_module(module, *arguments, folder=Path(folder), env=env, timeout=timeout)
            self.wfile.write(json.dumps([done.returncode, done.stdout, done.stderr]).encode())

    with tempfile.TemporaryDirectory() as folder:
        python, address = Path(folder) / "python", f"{folder}/socket"
        python.write_text(_CLIENT.format(python=sys.executable, address=address))
        python.chmod(0o755)
        with socketserver.UnixStreamServer(address, Asked) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield folder
            server.shutdown()


def start_module(
    module: str, *arguments: str, folder: Path, env: Mapping[str, str], streams: Sequence[Path]
) -> BaseProcess:
    """As `run_module`, without waiting for its end; what it prints goes to the files of both `streams`."""
    _start()
    work = (_SERVER._forkserver_address, module, arguments, folder, dict(env), streams)
    process = _CONTEXT.Process(target=_run_module, args=work)
    process.start()
    return process


def start_function(function: Callable[..., None], *arguments: object) -> BaseProcess:
    """Starts a process that calls a function of a module, a fork of the warmed-up process."""
    _start()
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def _start() -> None:
    """Starts the warmed-up process, with nothing in its environment that a fork might have to be without."""
    if _SERVER._forkserver_address:
        return
    kept = dict(os.environ)
    for name in [name for name in kept if name.startswith(_SETTINGS)]:
        del os.environ[name]
    # Packages that are installed may have a `tests` of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    try:
        multiprocessing.set_forkserver_preload(["tests.preloaded"])
        _SERVER.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _run_module(
    address: str, module: str, arguments: tuple[str, ...], folder: Path, env: dict[str, str], streams: Sequence[Path]
) -> None:
    for number, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    _take(env)
    # It has read that of the process that it is a fork of.
    dask.config.refresh()
    os.chdir(folder)
    sys.path[0:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [module, *arguments]
    # The workers of this process are forks of the same process; it has inherited all of the connection but the address.
    _SERVER._forkserver_address = address
    _SERVER.ensure_running = lambda: None
    with warm_workers():
        runpy.run_module(module, run_name="__main__", alter_sys=True)
