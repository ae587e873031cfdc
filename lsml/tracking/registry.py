"""The registry: which version holds a run's model, and which version has the alias `champion`."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from lsml.errors import ModelError, StorageError
from lsml.names import Alias, Tag
from lsml.tracking.models import RunModel
from lsml.tracking.store import Client, refusals, storage_errors


def registered(client: Client, reference: str) -> ModelVersion | None:
    """The version behind `NAME@ALIAS` or `NAME/VERSION`, with or without MLflow's `models:/` in front.

    None where it is neither: no run has `@` or `/` in its name.

    Raises:
        ModelError: its files are not those of the model that its run has.
        StorageError: there is no such model, alias or version.
    """
    if "@" not in reference and "/" not in reference:
        return None
    plain = reference.removeprefix("models:/")
    name, at, alias = plain.rpartition("@")
    fix = "lsml ui lists what is registered; lsml promote RUN registers the model of a run"
    with refusals(f"model {reference}", fix):
        if at:
            version = client.get_model_version_by_alias(name, alias)
        else:
            name, _, number = plain.rpartition("/")
            version = client.get_model_version(name, number)
    _check_files(client, version)
    return version


def _check_files(client: Client, version: ModelVersion) -> None:
    """Raises ModelError where who loads a version by its name gets other files than lsml reads for its run."""
    if not _holds_model(client, version):
        raise ModelError(
            f"model {version.name}/{version.version}",
            f"its files are not those of run {version.run_id or 'that it names'}, which is all that lsml checks",
            "give the run instead; delete that version, for instance in lsml ui",
        )


def _holds_model(client: Client, version: ModelVersion) -> bool:
    """Whether a version's files are those of its run's model; what a version says of its run is not checked by MLflow.

    Raises:
        ModelError: the run has no model.
        StorageError: there is no such run, or MLflow cannot be asked.
    """
    run_id = str(version.run_id)
    with storage_errors(f"model {version.name}/{version.version}"):
        place = str(client.get_model_version_download_uri(version.name, version.version))
    model_id, location = RunModel(client, run_id).location()
    return place.rstrip("/") in (location.rstrip("/"), f"models:/{model_id}")


class _Entry(NamedTuple):
    """A line of the history of champions: a tag of the registered model, numbered in order, and the version."""

    key: str
    version: str


class RegisteredModel:
    """A registered model of that name: its versions, and which of them is champion."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self._name = client, name

    def register(self, run_id: str, *, aliases: Sequence[str], tags: Mapping[str, str]) -> str:
        """The version that holds a run's model; made once per run id.

        The aliases then point to it, and to no other version.

        Raises:
            ModelError: the run has no model.
            StorageError: MLflow refuses.
        """
        with storage_errors(f"registered model {self._name}"):
            try:
                self._client.create_registered_model(self._name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            versions = self._client.search_model_versions(f"name='{self._name}' and run_id='{run_id}'")
            known = [int(version.version) for version in versions if _holds_model(self._client, version)]
            number = str(min(known)) if known else self._create(run_id, tags)
            for alias in aliases:
                self._set_alias(alias, number)
        return number

    def _create(self, run_id: str, tags: Mapping[str, str]) -> str:
        model_id, source = RunModel(self._client, run_id).location()
        created = self._client.create_model_version(
            self._name, source, run_id=run_id, tags=dict(tags), model_id=model_id
        )
        return str(created.version)

    def _set_alias(self, alias: str, number: str) -> None:
        """Every alias is given here, to a version whose files are those that lsml reads for its run, and to no other.

        Raises:
            ModelError: the version has other files.
        """
        _check_files(self._client, self._client.get_model_version(self._name, number))
        self._client.set_registered_model_alias(self._name, alias, number)

    @staticmethod
    def holding(client: Client, run_id: str, preferred: str) -> tuple[str, str] | None:
        """Name and number of the first version that holds a run's model, of the preferred name where there is one.

        None where there is no such version.

        Raises:
            ModelError: the run has no model.
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model of run {run_id}"):
            found = client.search_model_versions(f"run_id='{run_id}'")
        ordered = sorted(found, key=lambda entry: (entry.name != preferred, entry.name, int(entry.version)))
        return next(((str(v.name), str(v.version)) for v in ordered if _holds_model(client, v)), None)

    def champion(self) -> str | None:
        """The version that has the alias; None where none has.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model {self._name}"):
            version = self._client.get_registered_model(self._name).aliases.get(Alias.CHAMPION)
        return None if version is None else str(version)

    def version(self, number: str) -> ModelVersion:
        """The version of that number, with its run's id and its tags.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model {self._name}"):
            return self._client.get_model_version(self._name, number)

    def set_champion(self, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version its tags, then the alias `champion`; killed at any moment and called again, it ends the same.

        Raises:
            StorageError: MLflow refuses.
        """
        self.tag_version(version, tags=tags)
        with storage_errors(f"registered model {self._name}"):
            history = self._history()
            before = [entry for entry in _until(history, self.champion()) if entry.version != version]
            wanted = [*before, _next(before, version)]
            for entry in history:
                if entry not in wanted:
                    self._client.delete_registered_model_tag(self._name, entry.key)
            for entry in wanted:
                if entry not in history:
                    self._client.set_registered_model_tag(self._name, entry.key, entry.version)
            self._set_alias(Alias.CHAMPION, version)

    def tag_version(self, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version tags, in the place of those of the same keys.

        Raises:
            StorageError: MLflow refuses.
        """
        with storage_errors(f"registered model {self._name}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(self._name, version, key, value)

    def restore_champion(self, *, tag: str, record: Mapping[str, str]) -> tuple[str, str]:
        """Moves the alias back to the previous champion; gives the versions that lost and that got it.

        Args:
            tag: of the version that loses the alias, which gets `record` and the other version as JSON.

        Raises:
            StorageError: there is no such model, no champion or none before it, or MLflow refuses.
        """
        with refusals(f"registered model {self._name}", "lsml ui lists them"):
            self._client.get_registered_model(self._name)
        with storage_errors(f"registered model {self._name}"):
            now, written = self.champion(), self._history()
            history = _until(written, now)
            if now is None or len(history) < 2:
                what = "no version is champion" if now is None else f"no version was champion before version {now}"
                raise StorageError(f"registered model {self._name}", what, "lsml promote RUN makes one")
            before, last = history[-2:]
            self._client.set_model_version_tag(self._name, now, tag, json.dumps({**record, "to": before.version}))
            # First: killed after it, the alias is at a version that the history lacks, and the next call moves it back.
            if last in written:
                self._client.delete_registered_model_tag(self._name, last.key)
            self._set_alias(Alias.CHAMPION, before.version)
        return now, before.version

    def _history(self) -> list[_Entry]:
        tags = self._client.get_registered_model(self._name).tags
        return [_Entry(key, str(tags[key])) for key in sorted(tags) if key.startswith(Tag.CHAMPION)]


def _until(history: list[_Entry], champion: str | None) -> list[_Entry]:
    """The history up to the present champion, which is added where somebody moved the alias by hand."""
    if champion is None:
        return []
    for last in reversed(range(len(history))):
        if history[last].version == champion:
            return history[: last + 1]
    return [*history, _next(history, champion)]


def _next(history: list[_Entry], version: str) -> _Entry:
    number = int(history[-1].key.removeprefix(Tag.CHAMPION)) + 1 if history else 1
    return _Entry(f"{Tag.CHAMPION}{number:06d}", version)
