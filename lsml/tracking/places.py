"""Where a database file says that the files of its runs are: it names those beside it, where it was moved or copied."""

import contextlib
import os
import sqlite3
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy import text as sql

from lsml.errors import StorageError
from lsml.names import Tag
from lsml.workspace import database_file, keep_private

# Every column of MLflow's database that says where files are.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def local_folder(location: str) -> Path | None:
    """The folder on this machine at a location of artifacts; None where it is elsewhere."""
    address = urlsplit(location)
    if address.scheme not in ("", "file"):
        return None
    return Path(url2pathname(address.path) if address.scheme else location)


def follow_moved_folder(uri: str) -> StorageError | None:
    """Has a database file name the files beside it, where it was moved, renamed or copied with them.

    MLflow stores absolute paths: it would read from, and write into, whatever stands at the old place by now. Where a
    database was opened last is a tag of its first experiment; where it is now, its files are wherever it says.

    Returns:
        What to say to whoever is to write, where it came without its files; None where it may be written to.
    """
    database = database_file(uri)
    if database is None or not all(os.access(path, os.W_OK) for path in (database, database.parent)):
        return None
    with create_engine(uri, poolclass=NullPool).begin() as connection:
        home = _home(connection)
        if home == database:
            return None
        here, left = database.with_name("mlruns"), list[Path]()
        for root, runs in _roots(connection).items():
            # Where MLflow puts them for a database that is not in the current folder.
            if root == here or (home is None and root == Path("mlruns").resolve()):
                continue
            if _has_come_along(root, here, runs, home):
                _name_files_in(connection, root, here)
            elif home or not root.exists() or root.with_name(database.name).exists():
                left.append(root)
        if left:
            why = f"it was copied or moved without the files of its runs, which are in {left[0]}"
            fix = f"copy that folder to {here}, or say where files are from now on: lsml relocate [--files DIR]"
            return StorageError(f"MLflow store {database}", why, fix)
        _set_home(connection, database)
    return None


class Relocation(NamedTuple):
    """What became of the places in a database.

    Attributes:
        backup: the database as it was before.
        before: the folders that it named.
        now: the one that it names.
        missing: how many of its runs have files there no longer, and not here.
    """

    backup: Path
    before: tuple[Path, ...]
    now: Path
    missing: int


def relocate(database: Path, uri: str, files: Path | None) -> Relocation | None:
    """Has a database file name one folder of files in one transaction, after a copy of it was made.

    Args:
        files: that folder, instead of the one beside the database.

    Returns:
        What was changed; None where it names no other folder.
    """
    with create_engine(uri, poolclass=NullPool).begin() as connection:
        here = files.resolve() if files else database.with_name("mlruns")
        roots = {root: runs for root, runs in _roots(connection).items() if root != here}
        if not roots:
            _set_home(connection, database)
            return None
        backup = _backed_up(database)
        missing = sum(len(_with_files(root, runs) - _with_files(here, runs)) for root, runs in roots.items())
        for root in roots:
            _name_files_in(connection, root, here)
        _set_home(connection, database)
    return Relocation(backup, tuple(roots), here, missing)


def _backed_up(database: Path) -> Path:
    """Copies a database, as of its last transaction, beside it; gives the copy."""
    names = (database.with_name(f"{database.name}.backup{number or ''}") for number in range(1_000_000))
    backup = next(name for name in names if not name.exists())
    keep_private(backup)
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    return backup


_Runs = frozenset[tuple[str, str]]
"""Ids of experiments, each with that of one of its runs."""


def _roots(connection: Connection) -> dict[Path, _Runs]:
    """The folders of this machine that hold those of experiments, each with the runs of these."""
    roots = defaultdict[Path, set[tuple[str, str]]](set)
    for number, location in connection.execute(sql("select experiment_id, artifact_location from experiments")):
        if (folder := local_folder(location)) and folder.is_absolute():
            runs = connection.execute(sql("select run_uuid from runs where experiment_id = :id"), {"id": number})
            roots[folder.parent] |= {(str(number), run) for (run,) in runs}
    return {root: frozenset(runs) for root, runs in roots.items()}


def _with_files(root: Path, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the runs that have files below a folder."""
    known = {(path.parent.name, path.name) for path in root.glob("*/*")}
    return known.intersection(runs)


def _has_come_along(root: Path, here: Path, runs: _Runs, home: Path | None) -> bool:
    """Whether the files that were in `root` are in `here` too, all of them."""
    there, found = _with_files(root, runs), _with_files(here, runs)
    if found:
        return there <= found
    # Where no run has a file yet, there is nothing to leave behind.
    return not there and home is not None and root == home.with_name("mlruns")


def _name_files_in(connection: Connection, old: Path, new: Path) -> None:
    """Names `new` wherever a database names `old`; patches that have come along are named where they are too."""
    for table, column in _PLACES:
        _replace_start(connection, table, column, str(old), str(new))
        _replace_start(connection, table, column, old.as_uri(), str(new))
    data = connection.execute(sql("select distinct value from tags where key = :key"), {"key": Tag.DATA_ROOT})
    for root in [Path(value) for (value,) in data]:
        if root.is_relative_to(old.parent) and (moved := new.parent / root.relative_to(old.parent)).is_dir():
            _replace_start(connection, "tags", "value", str(root), str(moved))


def _replace_start(connection: Connection, table: str, column: str, old: str, new: str) -> None:
    """Replaces the start of the paths in a column that are `old` or below it."""
    change = f"update {table} set {column} = :new || substr({column}, :length + 1)"
    condition = f"{column} = :old or substr({column}, 1, :length + 1) = :old || '/'"
    connection.execute(sql(f"{change} where {condition}"), {"old": old, "new": new, "length": len(old)})


def _home(connection: Connection) -> Path | None:
    """Where the database was when it was opened last; None where an lsml opened it that wrote down nothing."""
    found = connection.execute(sql("select value from experiment_tags where key = :key"), {"key": Tag.DATABASE})
    home = found.scalar()
    return None if home is None else Path(home)


def _set_home(connection: Connection, database: Path) -> None:
    connection.execute(sql("delete from experiment_tags where key = :key"), {"key": Tag.DATABASE})
    change = "insert into experiment_tags (key, value, experiment_id) select :key, :value, min(experiment_id)"
    values = {"key": Tag.DATABASE, "value": str(database)}
    connection.execute(sql(f"{change} from experiments having count(*) > 0"), values)
