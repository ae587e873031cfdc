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
from typing import Any, NamedTuple, Self

from mlflow.exceptions import MlflowException

from lsml.names import Tag
from lsml.tracking.store import Client, Run, git_commit, storage_errors, study_of

_READ = ".read"


class _Opening(NamedTuple):
    """One opening of a test split.

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
    """Where openings of a test split are recorded: with the registered model too, which may outlive the study.

    Attributes:
        run_id: the study's run, or that of a training outside a study.
        models: names of the registered models that the study or the training has made.
    """

    client: Client
    run_id: str
    models: tuple[str, ...]

    @classmethod
    def of_run(cls, client: Client, run: Run) -> Self:
        """The ledger that a run's model belongs to; a study's openings are counted over all of its trials.

        Each opening for any of them informs the choice among them.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors("record of test openings"):
            # A retraining, on more patches or with another seed, belongs to the run whose configuration it has.
            holder = client.get_run(run.data.tags[Tag.OF_RUN]) if Tag.OF_RUN in run.data.tags else run
            holder = study_of(client, holder) or holder
            versions = [*_versions(client, run.info.run_id), holder.data.tags.get(Tag.REGISTERED, "")]
            names = {version.rpartition("/")[0] for version in versions if version}
            # A model that somebody has deleted since must not keep the rest of the study from being evaluated.
            existing = [name for name in sorted(names) if _is_registered(client, name)]
        return cls(client, holder.info.run_id, tuple(existing))

    def record(self, run: Run, *, model_sha256: str, data: str) -> _Opening:
        """Records that the test split below `data` is about to be opened for the model of `run`.

        Raises:
            StorageError: MLflow cannot store it: then the split must stay closed.
        """
        now = datetime.now(UTC)
        with storage_errors("record of test openings"):
            opening = _Opening(
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
        self._write(f"{Tag.TEST_OPENING}{opening.id}", json.dumps(entry))
        return opening

    def complete(self, opening: _Opening, fingerprint: str) -> None:
        """Adds the fingerprint of the patches that an opening read.

        Raises:
            StorageError: MLflow cannot store it.
        """
        self._write(f"{Tag.TEST_OPENING}{opening.id}{_READ}", fingerprint)

    def openings(self) -> list[_Opening]:
        """All openings, the oldest first.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors("record of test openings"):
            tags = dict(self.client.get_run(self.run_id).data.tags)
            for name in self.models:
                tags |= self.client.get_registered_model(name).tags
        return _openings(tags)

    def count_openings(self, fingerprint: str) -> int:
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


def _is_registered(client: Client, name: str) -> bool:
    """Whether there is a model of that name, in which a quotation mark would end that of a filter."""
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _versions(client: Client, run_id: str) -> list[str]:
    """`NAME/VERSION` of what is registered of a run."""
    return [f"{found.name}/{found.version}" for found in client.search_model_versions(f"run_id='{run_id}'")]


def _openings(tags: Mapping[str, Any]) -> list[_Opening]:
    entries = {key: value for key, value in tags.items() if key.startswith(Tag.TEST_OPENING)}
    return [
        _Opening(
            id=key.removeprefix(Tag.TEST_OPENING),
            data_fingerprint=entries.get(f"{key}{_READ}"),
            **json.loads(entries[key]),
        )
        for key in sorted(entries)
        if not key.endswith(_READ)
    ]
