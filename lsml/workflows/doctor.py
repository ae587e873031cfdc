"""Checks what a study needs on this machine: versions, device, stores, free disk space.

What is checked is imported in its check, so that a library that is missing or broken is one line of the result.
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from lsml.errors import LsmlError, redact
from lsml.names import VERSION
from lsml.training.device import Arithmetic, load_keras
from lsml.workspace import missing_database, storage_url

_GIGABYTE = 1e9
_ROOM = 5.0
"""Gigabytes: the packed benchmark takes 1.9, and forty trials' models and pictures about as much again."""


@dataclass(frozen=True)
class _CheckResult:
    """The result of one check; `fix` says what to do where it is not ok."""

    what: str
    state: Literal["ok", "warning", "error"]
    detail: str
    fix: str = ""


def examine(*, storage: str | None, require_gpu: bool) -> Iterator[_CheckResult]:
    """Checks everything that a study needs by using it, one after the other as its result is asked for.

    A failure is a result, not an exception.
    """
    checks: list[tuple[str, Callable[[], _CheckResult]]] = [
        ("versions", _versions),
        ("device", lambda: _device(require_gpu=require_gpu)),
        ("study database", lambda: _database(storage_url(storage))),
        ("MLflow store", _mlflow),
        ("waiting for MLflow", _waiting),
        ("disk", _disk),
    ]
    for what, check in checks:
        yield _guarded(what, check)


def _guarded(what: str, check: Callable[[], _CheckResult]) -> _CheckResult:
    try:
        return check()
    except LsmlError as error:
        return _CheckResult(what, "error", f"{error.what}: {error.why}", error.fix)
    except ImportError as error:
        return _CheckResult(what, "error", str(error).splitlines()[0], "make .venv, or install lsml's requirements")


def _versions() -> _CheckResult:
    names = ("keras", "tensorflow", "jax", "torch", "optuna", "mlflow", "distributed")
    versions = [f"lsml {VERSION}", f"python {platform.python_version()}"]
    for name in names:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return _CheckResult("versions", "ok", ", ".join(versions))


def _device(*, require_gpu: bool) -> _CheckResult:
    load_keras()
    from lsml.config.schema import TrainingConfig

    facts = Arithmetic.choose(TrainingConfig()).describe()
    detail = f"{facts['device']}: {facts['device_name']}, {facts['backend']}, {facts['precision']}, XLA {facts['xla']}"
    if "devices" in facts:
        detail += f", {facts['devices']} of them train together"
    if require_gpu and facts["device"] != "gpu":
        return _CheckResult("device", "error", detail, "install requirements-gpu.lock and check nvidia-smi")
    return _CheckResult("device", "ok", detail)


def _database(storage: str) -> _CheckResult:
    from lsml.study.database import load_studies

    return _CheckResult("study database", "ok", f"{redact(storage)}, {len(load_studies(storage))} studies")


def _mlflow() -> _CheckResult:
    from lsml.tracking import signing_key, tracking_uri
    from lsml.tracking.store import open_client

    signed = ", models are signed" if signing_key() else ""
    if file := missing_database(tracking_uri()):
        return _CheckResult("MLflow store", "ok", f"{file} is not there yet: the first run makes it")
    experiments = open_client().search_experiments()
    return _CheckResult("MLflow store", "ok", f"{redact(tracking_uri())}, {len(experiments)} experiments{signed}")


def _waiting() -> _CheckResult:
    from lsml.tracking.spool import waiting_files

    what, files = "waiting for MLflow", waiting_files()
    if not files:
        return _CheckResult(what, "ok", "nothing")
    size = sum(path.stat().st_size for path in files)
    return _CheckResult(what, "warning", f"{size:,} bytes in {', '.join(map(str, files))}", "send them: lsml sync")


def _disk() -> _CheckResult:
    if not os.access(Path.cwd(), os.W_OK):
        return _CheckResult("disk", "error", f"{Path.cwd()} cannot be written to", "work in a folder that can")
    free = shutil.disk_usage(Path.cwd()).free / _GIGABYTE
    detail = f"{free:.0f} GB free in {Path.cwd()}"
    if free < _ROOM:
        return _CheckResult("disk", "warning", detail, f"a study of the benchmark needs about {_ROOM:.0f} GB")
    return _CheckResult("disk", "ok", detail)
