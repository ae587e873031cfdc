"""The record of every opening of a sealed test split, in tags of MLflow: of the study's run and the registered model.

An opening is written down before the first patch is read, and its data's fingerprint, which only reading tells, after
the last: an evaluation that was killed in between leaves an opening without fingerprint. Each opening is a tag of its
own, so two evaluations at once do not overwrite each other's, and nothing of lsml's own folders is needed to count.
"""

import getpass
import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.tracking.runs import OF_RUN, REGISTERED, study_of
from lsml.tracking.store import git_commit, storage_errors

_PREFIX = "lsml.test_opening."
_READ = ".read"


class Opening(NamedTuple):
    """One look at a test split.

    Attributes:
        id: tells it apart from all others; sorts by time.
        when: UTC, ISO 8601, to the second.
        who: user@host.
        model: `NAME/VERSION` of the registry, or `run ID` where the model is not registered.
        run_id: the run that the model came from.
        model_sha256: of the model's file.
        data: the folder of the patches.
        code_commit: of lsml, where it runs from a git checkout.
        data_fingerprint: SHA-256 of the patches; None where the evaluation was cut off before it had read all of them.
    """

    id: str
    when: str
    who: str
    model: str
    run_id: str
    model_sha256: str
    data: str
    code_commit: str | None
    data_fingerprint: str | None


@dataclass(frozen=True)
class Ledger:
    """Where the openings of a model are written down: with the registered model too, which may outlive the study.

    Attributes:
        run_id: the study's run, or that of a training outside a study.
        models: names of the registered models that the study or the training has made.
    """

    client: MlflowClient
    run_id: str
    models: tuple[str, ...]

    def record(self, run: Run, *, model_sha256: str, data: str) -> Opening:
        """Writes down that the test split below `data` is about to be opened for the model of `run`.

        Raises:
            StorageError: MLflow cannot store it: then the split must stay closed.
        """
        now = datetime.now(UTC)
        with storage_errors("record of test openings"):
            opening = Opening(
                id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
                when=now.isoformat(timespec="seconds"),
                who=f"{getpass.getuser()}@{socket.gethostname()}",
                model=", ".join(_versions(self.client, run.info.run_id)) or f"run {run.info.run_id}",
                run_id=run.info.run_id,
                model_sha256=model_sha256,
                data=data,
                code_commit=git_commit(),
                data_fingerprint=None,
            )
        entry = opening._asdict()
        del entry["id"], entry["data_fingerprint"]
        self._write(f"{_PREFIX}{opening.id}", json.dumps(entry))
        return opening

    def complete(self, opening: Opening, fingerprint: str) -> None:
        """Adds to an opening which patches it showed.

        Raises:
            StorageError: MLflow cannot store it.
        """
        self._write(f"{_PREFIX}{opening.id}{_READ}", fingerprint)

    def openings(self) -> list[Opening]:
        """All of them, the first one first.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors("record of test openings"):
            tags = dict(self.client.get_run(self.run_id).data.tags)
            for name in self.models:
                tags |= self.client.get_registered_model(name).tags
        return _openings(tags)

    def looks(self, fingerprint: str) -> int:
        """How often the split of that fingerprint was opened; openings that do not say which split count too.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        return sum(opening.data_fingerprint in (None, fingerprint) for opening in self.openings())

    def _write(self, key: str, value: str) -> None:
        with storage_errors("record of test openings"):
            self.client.set_tag(self.run_id, key, value)
            for name in self.models:
                self.client.set_registered_model_tag(name, key, value)


def ledger_of(client: MlflowClient, run: Run) -> Ledger:
    """The ledger that a run's model belongs to; a study's looks are counted over all of its trials.

    Each look at any of them informs the choice among them.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors("record of test openings"):
        # A training again, on more patches or with another seed, belongs to what it was made of.
        holder = client.get_run(run.data.tags[OF_RUN]) if OF_RUN in run.data.tags else run
        holder = study_of(client, holder) or holder
        known = [*_versions(client, run.info.run_id), holder.data.tags.get(REGISTERED, "")]
        names = {version.rpartition("/")[0] for version in known if version}
        # One that somebody has removed since must not keep the rest of the study from being judged.
        there = [name for name in sorted(names) if client.search_registered_models(f"name='{name}'")]
    return Ledger(client, holder.info.run_id, tuple(there))


def _versions(client: MlflowClient, run_id: str) -> list[str]:
    """`NAME/VERSION` of what is registered of a run."""
    return [f"{found.name}/{found.version}" for found in client.search_model_versions(f"run_id='{run_id}'")]


def _openings(tags: Mapping[str, Any]) -> list[Opening]:
    entries = {key: value for key, value in tags.items() if key.startswith(_PREFIX)}
    return [
        Opening(id=key.removeprefix(_PREFIX), data_fingerprint=entries.get(f"{key}{_READ}"), **json.loads(entries[key]))
        for key in sorted(entries)
        if not key.endswith(_READ)
    ]
