"""Who runs a study: one process at a time, on whatever machine, as the study's database says."""

import contextlib
import json
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil
import sqlalchemy
from optuna.storages._rdb.models import BaseModel, StudyUserAttributeModel
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lsml.errors import StorageError
from lsml.names import Attribute
from lsml.study.database import CountedStudy

_RENEWAL_SECONDS = 5.0
_SILENT_SECONDS = 20.0
"""An owner on another machine that gives no sign of life for so long, by this machine's clock, is gone."""
_LOOK_SECONDS = 0.5
_CLOCK_SECONDS = 2.0
"""By which a process's start may seem to differ: the system tells its own start in whole seconds of the clock."""

_HELD: set[str] = set()
"""Tokens of the studies that this process runs. Where a database was away at the end, a record stays of one it ran."""

_TABLE = BaseModel.metadata.tables[StudyUserAttributeModel.__tablename__]


@dataclass(frozen=True)
class _Owner:
    """A process that runs a study.

    Attributes:
        machine: where its process id means the same.
        started: when the process did, in seconds since the machine did: ids are given again.
        seen: when it last said that it lives, by its own clock.
    """

    token: str
    host: str
    machine: str
    process: int
    started: float
    seen: str

    @classmethod
    def this(cls) -> Self:
        """This process."""
        own, host = psutil.Process(), platform.node()
        return cls(uuid.uuid4().hex, host, f"{host} {_kernel()}", own.pid, _started(own), _now())

    @classmethod
    def of(cls, text: str) -> Self:
        """From what `text` gave."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """As the database has it."""
        return json.dumps(asdict(self))

    def is_gone(self, silent: float) -> bool:
        """Whether it has ended; of another machine's, whether it was silent for so many seconds that it must have."""
        if self.machine != _Owner.this().machine:
            return silent > _SILENT_SECONDS
        try:
            if abs(_started(psutil.Process(self.process)) - self.started) > _CLOCK_SECONDS:
                return True
            return self.process == os.getpid() and self.token not in _HELD
        except psutil.NoSuchProcess:
            return True


def _started(process: psutil.Process) -> float:
    # The difference stays when the clock is set: psutil takes the time of the start for the clock's.
    return float(process.create_time()) - float(psutil.boot_time())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _kernel() -> str:
    """The running kernel, and the processes that are seen here, which are others in a container; as far as it tells."""
    boot, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return f"{boot.read_text().strip()} {processes.readlink()}" if boot.exists() and processes.is_symlink() else ""


class _Record:
    """The owner of one study in its database; each change is made only where the record is what it was."""

    def __init__(self, study: CountedStudy) -> None:
        self._engine, self._study = study.gate.engine, study._study_id
        self._row = (_TABLE.c.study_id == self._study) & (_TABLE.c.key == Attribute.OWNER)

    def read(self) -> str | None:
        """None where there is no owner."""
        with self._engine.connect() as connection:
            text: str | None = connection.execute(sqlalchemy.select(_TABLE.c.value_json).where(self._row)).scalar()
        return text

    def exchange(self, before: str | None, after: str) -> bool:
        """Puts a text in the place of another, or of none; False where something else stands there."""
        if before is None:
            values = {"study_id": self._study, "key": Attribute.OWNER, "value_json": after}
            change: sqlalchemy.UpdateBase = sqlalchemy.insert(_TABLE).values(values)
        else:
            change = sqlalchemy.update(_TABLE).where(self._is(before)).values(value_json=after)
        try:
            with self._engine.begin() as connection:
                # Of what is inserted, not every driver says how many rows.
                return connection.execute(change).rowcount == 1 or before is None
        except IntegrityError:
            return False

    def remove(self, text: str) -> None:
        """Where it still stands there."""
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.delete(_TABLE).where(self._is(text)))

    def _is(self, text: str) -> sqlalchemy.ColumnElement[bool]:
        return sqlalchemy.and_(self._row, _TABLE.c.value_json == text)


@contextlib.contextmanager
def owned(study: CountedStudy, *, fix: str) -> Iterator[None]:
    """Has this process alone run the study.

    It says every few seconds that it lives. One that could not for so long that another has taken the study over, as on
    a machine that slept, ends at once, as if it had been killed: what it wrote would be into the other's study.

    Raises:
        StorageError: a living process runs the study, or the database cannot be used; `fix` says what to do.
    """
    what, record, owner = f"study '{study.study_name}'", _Record(study), _Owner.this()
    study.gate.repeat(_claim, record, owner, what, fix)
    _HELD.add(owner.token)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(record, owner, what, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        _HELD.discard(owner.token)
        # Where the database is away, the next process finds that this one is gone.
        with contextlib.suppress(StorageError, SQLAlchemyError):
            if text := _own(record, owner):
                record.remove(text)


def _claim(record: _Record, owner: _Owner, what: str, fix: str) -> None:
    found, since = record.read(), time.monotonic()
    while not (_is_vacant(found, time.monotonic() - since) and record.exchange(found, owner.text())):
        last, found = found, record.read()
        if found and (found != last or not _Owner.of(found).is_gone(math.inf)):
            living = _Owner.of(found)
            raise StorageError(what, f"process {living.process} on {living.host} runs it, alive at {living.seen}", fix)
        time.sleep(_LOOK_SECONDS)


def _is_vacant(found: str | None, silent: float) -> bool:
    return found is None or _Owner.of(found).is_gone(silent)


def _own(record: _Record, owner: _Owner) -> str | None:
    """The record, where it is still that of this owner."""
    text = record.read()
    return text if text and _Owner.of(text).token == owner.token else None


def _renew(record: _Record, owner: _Owner, what: str, ended: threading.Event) -> None:
    while not ended.wait(_RENEWAL_SECONDS):
        # A database that is away is so for others too: nobody takes the study over meanwhile.
        with contextlib.suppress(StorageError, SQLAlchemyError):
            text = _own(record, owner)
            if text is None or not record.exchange(text, replace(owner, seen=_now()).text()):
                error = StorageError(what, "another process has taken it over", "this one has ended; it goes on there")
                os.write(2, f"lsml: error: {error}\n".encode())
                os._exit(StorageError.exit_code)
