"""Examines what a study will need on this machine: versions, device, stores, room on the disk."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from lsml import __version__
from lsml.errors import LsmlError
from lsml.training import backend
from lsml.workspace import DEFAULT_STORAGE

_GIGABYTE = 1e9
_ROOM = 5.0
"""Gigabytes: the packed benchmark takes 1.9, and forty trials' models and pictures about as much again."""


@dataclass(frozen=True)
class Finding:
    """One thing examined; `fix` says what to do where it is not ok."""

    what: str
    state: Literal["ok", "warning", "error"]
    detail: str
    fix: str = ""


def examine(*, storage: str | None, require_gpu: bool) -> list[Finding]:
    """Everything that a study needs, each examined by using it; nothing raises."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("versions", _versions),
        ("device", lambda: _device(require_gpu=require_gpu)),
        ("study database", lambda: _database(storage or DEFAULT_STORAGE)),
        ("MLflow store", _mlflow),
        ("disk", _disk),
    ]
    return [_guarded(what, check) for what, check in checks]


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except LsmlError as error:
        return Finding(what, "error", f"{error.what}: {error.why}", error.fix)
    except ImportError as error:
        return Finding(what, "error", str(error).splitlines()[0], "make .venv, or install lsml's requirements")


def _versions() -> Finding:
    names = ("keras", "tensorflow", "jax", "torch", "optuna", "mlflow", "distributed")
    found = [f"lsml {__version__}", f"python {platform.python_version()}"]
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return Finding("versions", "ok", ", ".join(found))


def _device(*, require_gpu: bool) -> Finding:
    backend.load_keras()
    from lsml.config.schema import TrainingConfig
    from lsml.training.device import choose_arithmetic

    found = choose_arithmetic(TrainingConfig()).in_words()
    detail = f"{found['device']}: {found['device_name']}, {found['backend']}, {found['precision']}, XLA {found['xla']}"
    if require_gpu and found["device"] != "gpu":
        return Finding("device", "error", detail, "install requirements-gpu.lock and check nvidia-smi")
    return Finding("device", "ok", detail)


def _database(storage: str) -> Finding:
    from lsml.study.database import load_studies, without_password

    return Finding("study database", "ok", f"{without_password(storage)}, {len(load_studies(storage))} studies")


def _mlflow() -> Finding:
    from lsml.tracking.store import open_client, tracking_uri

    experiments = open_client().search_experiments()
    return Finding("MLflow store", "ok", f"{tracking_uri()}, {len(experiments)} experiments")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / _GIGABYTE
    detail = f"{free:.0f} GB free in {Path.cwd()}"
    if free < _ROOM:
        return Finding("disk", "warning", detail, f"a study of the benchmark wants about {_ROOM:.0f} GB")
    return Finding("disk", "ok", detail)
