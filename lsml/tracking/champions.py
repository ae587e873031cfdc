"""The alias `champion` of a registered model, and the versions that had it before, in tags of the model.

The alias alone says which version is champion. Each version that gets it is written down before, in a tag of its own
with a rising number, so the tags up to the alias's version are those that had it in turn; what stands above belongs to
a process that was killed before it moved the alias, and counts for nothing. A version stands there once, where it was
last.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from lsml.errors import StorageError
from lsml.tracking.store import storage_errors

CHAMPION = "champion"
_PLACE = "lsml.champion."


class _Place(NamedTuple):
    key: str
    version: str


def champion_of(client: MlflowClient, name: str) -> str | None:
    """The version that has the alias; None where none has.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors(f"registered model {name}"):
        version = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if version is None else str(version)


def crown(client: MlflowClient, name: str, version: str, *, tags: Mapping[str, str]) -> None:
    """Gives a version its tags, and then the alias; killed at any moment and called again, it ends the same.

    Raises:
        StorageError: MLflow refuses.
    """
    tag_version(client, name, version, tags=tags)
    with storage_errors(f"registered model {name}"):
        places = _places(client, name)
        stay = [place for place in _in_turn(places, champion_of(client, name)) if place.version != version]
        wanted = [*stay, _next(stay, version)]
        for place in places:
            if place not in wanted:
                client.delete_registered_model_tag(name, place.key)
        for place in wanted:
            if place not in places:
                client.set_registered_model_tag(name, place.key, place.version)
        client.set_registered_model_alias(name, CHAMPION, version)


def tag_version(client: MlflowClient, name: str, version: str, *, tags: Mapping[str, str]) -> None:
    """Gives a version tags, in the place of those of the same keys.

    Raises:
        StorageError: MLflow refuses.
    """
    with storage_errors(f"registered model {name}"):
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)


def uncrown(client: MlflowClient, name: str, *, tag: str, record: Mapping[str, str]) -> tuple[str, str]:
    """Moves the alias back to the version that had it before; gives the version that had it, and the one that has.

    Args:
        tag: of the version that loses the alias, which gets `record` and the other version as JSON.

    Raises:
        StorageError: there is no such model, no champion or none before it, or MLflow refuses.
    """
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        raise StorageError(
            f"registered model {name}", error.message.splitlines()[0], "lsml ui shows which there are"
        ) from None
    with storage_errors(f"registered model {name}"):
        now, written = champion_of(client, name), _places(client, name)
        places = _in_turn(written, now)
        if now is None or len(places) < 2:
            what = "no version is champion" if now is None else f"no version was champion before version {now}"
            raise StorageError(f"registered model {name}", what, "lsml promote RUN makes one")
        before, last = places[-2:]
        client.set_model_version_tag(name, now, tag, json.dumps({**record, "to": before.version}))
        # First: killed after it, the alias is at a version that is not written down, and goes to the last one that is.
        if last in written:
            client.delete_registered_model_tag(name, last.key)
        client.set_registered_model_alias(name, CHAMPION, before.version)
    return now, before.version


def _places(client: MlflowClient, name: str) -> list[_Place]:
    tags = client.get_registered_model(name).tags
    return [_Place(key, str(tags[key])) for key in sorted(tags) if key.startswith(_PLACE)]


def _in_turn(places: list[_Place], champion: str | None) -> list[_Place]:
    """Those that had the alias in turn, the last of which has it; one that somebody moved it to by hand among them."""
    if champion is None:
        return []
    for last in reversed(range(len(places))):
        if places[last].version == champion:
            return places[: last + 1]
    return [*places, _next(places, champion)]


def _next(places: list[_Place], version: str) -> _Place:
    number = int(places[-1].key.removeprefix(_PLACE)) + 1 if places else 1
    return _Place(f"{_PLACE}{number:06d}", version)
