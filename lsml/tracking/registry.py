"""The registry: what a run's model is called there, which version holds it, and which version has which alias."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import NamedTuple, Self

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from lsml.errors import ConfigError, ModelError, StorageError
from lsml.names import Alias, Metric, Role, Tag
from lsml.tracking import signing_key
from lsml.tracking.models import RunModel
from lsml.tracking.store import Client, Run, refusals, storage_errors, study_of


def registered(client: Client, reference: str) -> ModelVersion | None:
    """The version behind `NAME@ALIAS` or `NAME/VERSION`, with or without MLflow's `models:/` in front.

    None where it is neither: no run has `@` or `/` in its name.

    Raises:
        ModelError: its files are not those of the model that its run has, or it is not signed that it has the alias and
            has to be.
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
    if at and not _is_signed(version, alias):
        why = f"that version {version.version} has this alias is not signed, and LSML_SIGNING_KEY_FILE is set"
        fix = f"name {name}/{version.version} if that is what you want, or give it the alias with lsml promote"
        raise ModelError(f"model {name}@{alias}", why, fix)
    _check_files(client, version)
    return version


def _alias_signature(key: bytes, version: ModelVersion, alias: str) -> str:
    """HMAC-SHA256 (RFC 2104) of who has which alias, a line each fact: 64 hex digits.

    The run is in it, for versions that are deleted and made anew may have the number of another.
    """
    facts = (version.name, alias, version.version, version.run_id)
    return hmac.new(key, "\n".join(("alias", *map(str, facts))).encode(errors="replace"), hashlib.sha256).hexdigest()


def _is_signed(version: ModelVersion, alias: str) -> bool:
    """Whether that the version has the alias is signed with the key that is configured, or none is."""
    key, signed = signing_key(), version.tags.get(f"{Tag.ALIAS_SIGNATURE}{alias}", "")
    right = _alias_signature(key, version, alias) if key else ""
    return key is None or hmac.compare_digest(right.encode(), signed.encode(errors="replace"))


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


_NOTE = """\
Finds landslides: stored band values, float32 `(patches, height, width, bands)`, in, probabilities out; scaling and
spectral indices are layers of the model. The version to use is `champion`, an alias that `lsml promote` gives to a
model that is not worse than the one that has it; `candidate` is what a study registered."""


def _describe(run: Run) -> str:
    """What a version is, in Markdown."""
    tags, metrics = run.data.tags, run.data.metrics
    study = f" of study `{tags[Tag.STUDY]}`" if Tag.STUDY in tags else ""
    scored = f"validation F1 {metrics[Metric.BEST_F1]:.4f}" if Metric.BEST_F1 in metrics else "no score of its own"
    threshold = (
        f", landslide from probability {float(tags[Tag.MODEL_THRESHOLD]):.4g}" if Tag.MODEL_THRESHOLD in tags else ""
    )
    return f"Run `{run.info.run_name}`{study}: {scored}{threshold}."


class _Entry(NamedTuple):
    """A line of the history of champions: a tag of the registered model, numbered in order, and the version."""

    key: str
    version: str


class RegisteredModel:
    """A registered model: its versions, and which of them has which alias.

    Attributes:
        name: in the registry.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name

    @classmethod
    def of_run(cls, client: Client, run: Run) -> Self:
        """The registered model that a run's model belongs to: its study's, or a single training's own.

        Raises:
            ConfigError: the run does not say of which study or experiment it is.
            StorageError: MLflow cannot be asked.
        """
        name = _model_name(client, run)
        if not name:
            raise ConfigError(
                f"run {run.info.run_id}",
                "it says neither study nor experiment, so under which name to register its model is unknown",
                "give a run of lsml tune, or of lsml train by this version",
            )
        return cls(client, name)

    @classmethod
    def named(cls, client: Client, name: str) -> Self | None:
        """That of this name; None where there is none.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model {name}"):
            try:
                client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                return None
        return cls(client, name)

    @staticmethod
    def promotion(client: Client, registered: str) -> str:
        """What `lsml promote` said of the version `NAME/VERSION`, and when; empty where it was never asked.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        name, _, version = registered.rpartition("/")
        with storage_errors(f"registered model {name}"):
            # Somebody may have deleted it since.
            found = client.search_model_versions(f"name='{name}' and version_number='{version}'")
        tags = found[0].tags if found else {}
        said = [tags.get(f"{Tag.PROMOTION}{part}", "") for part in ("verdict", "when", "why")]
        return f"{said[0]} ({said[1]}): {said[2]}" if said[0] else ""

    def register(self, run_id: str, *, tags: Mapping[str, str]) -> str:
        """The version that holds a run's model; made once per run id.

        Raises:
            ModelError: the run has no model.
            StorageError: MLflow refuses.
        """
        # Of a run without a model no empty entry is left.
        held = RunModel(self._client, run_id).location()
        with storage_errors(f"registered model {self.name}"):
            try:
                self._client.create_registered_model(self.name, description=_NOTE)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            versions = self._client.search_model_versions(f"name='{self.name}' and run_id='{run_id}'")
            known = [int(version.version) for version in versions if _holds_model(self._client, version)]
            return str(min(known)) if known else self._create(run_id, held, tags)

    def _create(self, run_id: str, held: tuple[str, str], tags: Mapping[str, str]) -> str:
        model_id, source = held
        run = self._client.get_run(run_id)
        created = self._client.create_model_version(
            self.name, source, run_id=run_id, tags=dict(tags), model_id=model_id, description=_describe(run)
        )
        return str(created.version)

    def _set_alias(self, alias: str, number: str) -> None:
        """Every alias is given here, to a version whose files are those that lsml reads for its run, and to no other.

        Where a key is configured, it is signed that this version has it, first: killed in between, the version that has
        it is signed too. No other version's signature is left, for with it the alias could be moved there.

        Raises:
            ModelError: the version has other files.
        """
        version, tag = self._client.get_model_version(self.name, number), f"{Tag.ALIAS_SIGNATURE}{alias}"
        _check_files(self._client, version)
        if key := signing_key():
            self._client.set_model_version_tag(self.name, number, tag, _alias_signature(key, version, alias))
        self._client.set_registered_model_alias(self.name, alias, number)
        for other in self._client.search_model_versions(f"name='{self.name}'"):
            if tag in other.tags and str(other.version) != number:
                self._client.delete_model_version_tag(self.name, other.version, tag)

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

    def holder(self, alias: str) -> str | None:
        """The version that has the alias; None where none has, or where it has to be signed and is not.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        number = self._named(alias)
        return number if number and _is_signed(self.version(number), alias) else None

    def _named(self, alias: str) -> str | None:
        """The version that MLflow says has the alias, whoever gave it."""
        with storage_errors(f"registered model {self.name}"):
            version = self._client.get_registered_model(self.name).aliases.get(alias)
        return None if version is None else str(version)

    def give_alias(self, alias: str, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version tags that say why, then the alias, which no other version has from then on.

        Raises:
            ModelError: the version has other files than lsml reads for its run.
            StorageError: MLflow refuses.
        """
        self.tag_version(version, tags=tags)
        with storage_errors(f"registered model {self.name}"):
            self._set_alias(alias, version)

    def version(self, number: str) -> ModelVersion:
        """The version of that number, with its run's id and its tags.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model {self.name}"):
            return self._client.get_model_version(self.name, number)

    def set_champion(self, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version its tags, then the alias `champion`; killed at any moment and called again, it ends the same.

        Raises:
            StorageError: MLflow refuses.
        """
        self.tag_version(version, tags=tags)
        with storage_errors(f"registered model {self.name}"):
            history = self._history()
            before = [entry for entry in _until(history, self._named(Alias.CHAMPION)) if entry.version != version]
            wanted = [*before, _next(before, version)]
            for entry in history:
                if entry not in wanted:
                    self._client.delete_registered_model_tag(self.name, entry.key)
            for entry in wanted:
                if entry not in history:
                    self._client.set_registered_model_tag(self.name, entry.key, entry.version)
            self._set_alias(Alias.CHAMPION, version)

    def tag_version(self, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version tags, in the place of those of the same keys.

        Raises:
            StorageError: MLflow refuses.
        """
        with storage_errors(f"registered model {self.name}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, version, key, value)

    def restore_champion(self, *, tag: str, record: Mapping[str, str]) -> tuple[str, str]:
        """Moves the alias back to the previous champion; gives the versions that lost and that got it.

        Args:
            tag: of the version that loses the alias, which gets `record` and the other version as JSON.

        Raises:
            StorageError: there is no such model, no champion or none before it, or MLflow refuses.
        """
        with refusals(f"registered model {self.name}", "lsml ui lists them"):
            self._client.get_registered_model(self.name)
        with storage_errors(f"registered model {self.name}"):
            now, written = self._named(Alias.CHAMPION), self._history()
            history = _until(written, now)
            if now is None or len(history) < 2:
                what = "no version is champion" if now is None else f"no version was champion before version {now}"
                raise StorageError(f"registered model {self.name}", what, "lsml promote RUN makes one")
            before, last = history[-2:]
            self._client.set_model_version_tag(self.name, now, tag, json.dumps({**record, "to": before.version}))
            # First: killed after it, the alias is at a version that the history lacks, and the next call moves it back.
            if last in written:
                self._client.delete_registered_model_tag(self.name, last.key)
            self._set_alias(Alias.CHAMPION, before.version)
        return now, before.version

    def _history(self) -> list[_Entry]:
        tags = self._client.get_registered_model(self.name).tags
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


class Registered(NamedTuple):
    """A version of a registered model."""

    name: str
    version: str


def register_run(client: Client, run: Run, name: str | None = None) -> Registered:
    """The version that holds the model of a run, made where there is none: of its study's model, or its own.

    One under that name comes before those that somebody registered under others.

    Args:
        name: of the registered model that the version has to be of.

    Raises:
        ConfigError: the run does not say of which study or experiment it is.
        ModelError: the run has no model.
        StorageError: MLflow cannot be used.
    """
    if not name and (known := RegisteredModel.holding(client, run.info.run_id, _model_name(client, run))):
        return Registered(*known)
    model = RegisteredModel(client, name) if name else RegisteredModel.of_run(client, run)
    study = study_of(client, run)
    tags: dict[str, str] = {
        key: run.data.tags[key] for key in (Tag.STUDY, Tag.OF_RUN, Tag.TRAINED_ON) if key in run.data.tags
    }
    if study:
        tags |= {Tag.STUDY_RUN: study.info.run_id}
    tags |= {
        label: f"{run.data.metrics[label]:.6f}"
        for label in (Metric.BEST_F1, Metric.EARNED_F1)
        if label in run.data.metrics
    }
    return Registered(model.name, model.register(run.info.run_id, tags=tags))


def _model_name(client: Client, run: Run) -> str:
    """What the model of a run is called in the registry; empty where the run does not say."""
    study = run if run.data.tags.get(Tag.ROLE) == Role.STUDY else study_of(client, run)
    if study is None:
        # Trainings of an earlier lsml called their models after their experiment, as its studies did.
        return str(run.data.tags.get(Tag.MODEL_NAME) or run.data.tags.get(Tag.EXPERIMENT, ""))
    name = study.data.tags.get(Tag.MODEL_NAME) or study.data.params.get("study.experiment")
    return str(name or study.data.tags.get(Tag.STUDY, ""))
