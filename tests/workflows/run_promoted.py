"""Runs `promote` or `rollback` once in peace, and again for many of its writes to MLflow, killed right after that one.

Usage: python run_promoted.py DATABASE promote RUN, or rollback NAME, and `each` or `ends`

Killed is after each of its writes, or after the first and the last of those of one kind that follow each other; not
after the very last, which is the end of it.

Each run works on a copy of DATABASE in a process of its own, a fork that has not opened a database before. One that
was killed is started again. Prints JSON: what the peaceful run left in the registry, and by write what the others did.
"""

import contextlib
import functools
import importlib
import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from lsml.data.pack import PackedSplit
from lsml.evaluation.reload import ReloadedScores
from lsml.scoring.comparison import PatchCounts
from lsml.tracking.store import open_client
from lsml.workflows.promote import promote, rollback
from tests.forking import exit_code

WRITES = (
    *("create_registered_model", "create_model_version", "set_model_version_tag", "set_registered_model_alias"),
    *("set_registered_model_tag", "delete_registered_model_tag"),
)
_KILLED = 9

# What the command imports where it needs it: here, once for all forks.
for _name in ("tracking.models", "tracking.registry", "tracking.runs", "tracking.study", "workflows.promote"):
    importlib.import_module(f"lsml.{_name}")


class Silent:
    """Looks on and says nothing; remembers the parts of longer work."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def step(self, *_: object) -> None: ...

    def show_step(self, *_: object) -> None: ...

    def stage_started(self, title: str) -> None:
        self.stages.append(title)


def unmoved(counts: np.ndarray, path: Path, split: PackedSplit, threshold: float) -> ReloadedScores:
    """What a fresh process would find of a model that really had these counts on the split."""
    return ReloadedScores(PatchCounts(tuple(sorted(split.ids)), counts), "tensorflow", "a processor")


def logged(path: Path, split: PackedSplit, threshold: float) -> ReloadedScores:
    """As the table of the run that is promoted has it, which the environment names."""
    return unmoved(np.array(json.loads(os.environ["LSML_TEST_COUNTS"])), path, split, threshold)


def state(client: MlflowClient, name: str) -> dict[str, Any]:
    """All that the registry has of a model, but for times."""
    model = client.get_registered_model(name)
    versions = sorted(client.search_model_versions(f"name='{name}'"), key=lambda found: int(found.version))
    return {
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "tags": dict(model.tags),
        "versions": [
            {
                "version": str(found.version),
                "run_id": found.run_id,
                "tags": {k: v for k, v in found.tags.items() if not k.endswith((".when", "rolled_back"))},
            }
            for found in versions
        ],
    }


def watch(log: Path, *, die: int | None) -> None:
    """Notes every write of this process, and makes it end at once after so many."""
    count = itertools.count(1)
    log.write_text("")
    for name in WRITES:
        original = getattr(MlflowClient, name)

        @functools.wraps(original)
        def wrapped(*args: Any, _original: Any = original, _name: str = name, **kwargs: Any) -> Any:
            result = _original(*args, **kwargs)
            with log.open("a") as file:
                file.write(f"{_name}\n")
            if next(count) == die:
                os._exit(_KILLED)
            return result

        setattr(MlflowClient, name, wrapped)


def forked(database: Path, command: str, target: str, *, die: int | None) -> int:
    """The exit code of one run in a process of its own; its end leaves the registry's state beside the database."""

    def work() -> None:
        with contextlib.redirect_stdout(sys.stderr):
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
            watch(database.with_suffix(".writes"), die=die)
            if command == "promote":
                name = promote(target, repeats=0, data=None, listener=Silent(), check=logged).model
            else:
                rollback(name := target)
            database.with_suffix(".json").write_text(json.dumps(state(open_client(), name)))

    return exit_code(work)


def main(database: Path, command: str, target: str, kills: str) -> dict[str, Any]:
    """What the peaceful run wrote and left, and what was left by those that were killed, each with its last write."""

    def run(number: int) -> Path:
        copy = database.with_name(f"{command}-{number}.db")
        shutil.copy(database, copy)
        if number and forked(copy, command, target, die=number) != _KILLED:
            raise SystemExit(f"not killed after {number} writes")
        if forked(copy, command, target, die=None) != 0:
            raise SystemExit(f"failed after {number} writes")
        return copy.with_suffix(".json")

    peaceful = run(0)
    writes = peaceful.with_suffix(".writes").read_text().split()
    chosen = [
        number
        for number in range(1, len(writes))
        if kills == "each" or writes[number - 1] != writes[number] or writes[number - 1] not in writes[: number - 1]
    ]
    killed = [[writes[number - 1], json.loads(run(number).read_text())] for number in chosen]
    return {"writes": writes, "peaceful": json.loads(peaceful.read_text()), "killed": killed}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))  # noqa: T201
