"""What MLflow could not take yet: kept on disk in order, with a checksum a record, and sent once MLflow answers."""

import contextlib
import hashlib
import json
import os
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Self

from lsml.errors import StorageError, redact
from lsml.tracking import tracking_uri
from lsml.tracking.client import PATIENCE_SECONDS, is_outage
from lsml.tracking.store import Client, storage_errors
from lsml.tracking.writes import Write, send, send_again
from lsml.workspace import STATE_FOLDER, exclusively, sync_file

SUFFIX = ".spool"
STUDY_FILE = f"tracking{SUFFIX}"
"""In the folder of a study, what waits of it."""

_MAGIC = b"lsml write 2\n"
_SIZE_BYTES, _DIGEST_BYTES = 8, 32
_HEAD_BYTES = len(_MAGIC) + _SIZE_BYTES + 2 * _DIGEST_BYTES
"""Of a record: its content's size and digest, then the digest of both."""
_LOGIN = re.compile(r"//[^/@]*@")
_STORE, _SENT = "store", "sent"
"""Kinds of records that are not written to MLflow: of which store the file is, and how many others it has got."""

_FIRST_WAIT_SECONDS = 2.5
"""How long a training waits for one write; half as long after each outage, so 5 seconds in all."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_AGAIN_SECONDS, _LEAVE_SECONDS = 2.0, 4.0
"""How long each call for what waits is repeated, before it is put off; how long an outbox waits for that at its end."""


def spools() -> Path:
    """The folder of what waits of single trainings; that of a study waits in the study's folder."""
    return (STATE_FOLDER / "spool").resolve()


def waiting_files() -> list[Path]:
    """The files of the working folder in which something waits."""
    return sorted(STATE_FOLDER.resolve().glob(f"**/*{SUFFIX}"))


class _Place(NamedTuple):
    """Where the content of a record is in the file."""

    start: int
    size: int


class _Spool:
    """A file of writes that wait, which is there only while some do.

    A process killed at any moment leaves all records that it had appended; one that is cut off at its end is left out.

    Args:
        path: of the file.

    Raises:
        StorageError: it is damaged, of another MLflow store, or in use by another process.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._held = path, contextlib.ExitStack()
        self._waiting: deque[_Place] = deque()
        self._guard = threading.Lock()
        if path.exists():
            self._lock()
            self._read()

    def __len__(self) -> int:
        return len(self._waiting)

    def _lock(self) -> None:
        lock = self.path.with_name(f"{self.path.name}.lock")
        self._held.enter_context(exclusively(lock, f"what waits in {self.path}", fix="its process sends it"))

    def _read(self) -> None:
        """Finds the records that wait, and cuts off one that is not whole."""
        with self._storing("cannot be read", "make it readable"), self.path.open("r+b") as file:
            end = os.fstat(file.fileno()).st_size
            while (place := self._next(file, end)) is not None:
                try:
                    self._take_in(_content(file, place), place)
                except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
                    raise self._damaged(place.start - _HEAD_BYTES, "is none of lsml's") from None
            file.truncate()
        self._forget_if_empty()

    def _take_in(self, content: bytes, place: _Place) -> None:
        """What a record says, of that content."""
        facts = json.loads(_header(content))
        if facts["kind"] == _STORE:
            self._check_store(facts["uri"])
        elif facts["kind"] == _SENT:
            self._waiting = deque(islice(self._waiting, facts["count"], None))
        else:
            _write(content)
            self._waiting.append(place)

    def _next(self, file: BinaryIO, end: int) -> _Place | None:
        """The place of the record that the file is at, which it is then behind; None where it is not whole."""
        start = file.tell()
        head = file.read(_HEAD_BYTES)
        said, digest = head[:-_DIGEST_BYTES], head[-_DIGEST_BYTES:]
        whole = len(head) == _HEAD_BYTES
        # A size that is not what was written would have what follows taken for a record that was cut off.
        if whole and not (said.startswith(_MAGIC) and hashlib.sha256(said).digest() == digest):
            raise self._damaged(start)
        place = _Place(start + _HEAD_BYTES, int.from_bytes(said[len(_MAGIC) :][:_SIZE_BYTES]))
        if not whole or place.start + place.size > end:
            file.seek(start)
            return None
        if said[-_DIGEST_BYTES:] != hashlib.sha256(file.read(place.size)).digest():
            raise self._damaged(start)
        return place

    def _damaged(self, start: int, how: str = "is damaged") -> StorageError:
        why = f"the record at byte {start:,} {how}"
        return StorageError(f"file {self.path}", why, "move it away: what waits in it from there on is lost")

    def _check_store(self, uri: str) -> None:
        if uri != _store():
            why = f"what waits in it is of MLflow store {uri}, and MLFLOW_TRACKING_URI names {_store()}"
            raise StorageError(f"file {self.path}", why, f"MLFLOW_TRACKING_URI={uri} lsml sync")

    def append(self, write: Write) -> None:
        """Keeps a write; it is on the disk when this returns.

        Raises:
            StorageError: it cannot be written; what was kept before stays.
        """
        with self._guard:
            if not self._waiting:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._lock()
                self._add(_record({"kind": _STORE, "uri": _store()}))
            facts = {"kind": write.kind, "run": write.run, "facts": write.facts}
            record = _record(facts, write.files)
            start = self._add(record) + _HEAD_BYTES
            self._waiting.append(_Place(start, len(record) - _HEAD_BYTES))

    def _add(self, record: bytes) -> int:
        """Where the record begins."""
        why = f"MLflow does not answer, and what waits for it cannot be kept: {len(record):,} bytes"
        with self._storing(why, "free space there; the same command resumes"), self.path.open("ab") as file:
            start = file.tell()
            try:
                file.write(record)
                sync_file(file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, start)
                raise
        return start

    @contextlib.contextmanager
    def _storing(self, why: str, fix: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"file {self.path}", f"{why} ({error.strerror or error})", fix) from None

    def first(self) -> Write | None:
        """The write that waits longest; None where none does."""
        with self._guard:
            if not self._waiting:
                return None
            with self.path.open("rb") as file:
                return _write(_content(file, self._waiting[0]))

    def remove_first(self) -> None:
        """It has been sent; with the last one the file goes."""
        with self._guard:
            self._waiting.popleft()
            self._forget_if_empty()

    def note_sent(self, count: int) -> None:
        """Writes down that so many have been sent, for a process that comes after."""
        with self._guard:
            if count and self._waiting:
                self._add(_record({"kind": _SENT, "count": count}))

    def close(self) -> None:
        """Lets another process use the file."""
        self._held.close()

    def _forget_if_empty(self) -> None:
        if not self._waiting:
            self.path.unlink(missing_ok=True)
            self._held.close()


def _store() -> str:
    """The store, without user and password, nor how it is connected to, which may hold one too."""
    return redact(_LOGIN.sub("//", tracking_uri().partition("?")[0]))


def _record(facts: Mapping[str, object], files: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
    header = json.dumps({**facts, "files": {path: len(content) for path, content in files.items()}}).encode()
    return _framed(b"".join([len(header).to_bytes(_SIZE_BYTES), header, *files.values()]))


def _framed(content: bytes) -> bytes:
    head = _MAGIC + len(content).to_bytes(_SIZE_BYTES) + hashlib.sha256(content).digest()
    return b"".join([head, hashlib.sha256(head).digest(), content])


def _content(file: BinaryIO, place: _Place) -> bytes:
    here = file.tell()
    file.seek(place.start)
    content = file.read(place.size)
    file.seek(max(here, place.start + place.size))
    return content


def _header(content: bytes) -> bytes:
    return content[_SIZE_BYTES : _SIZE_BYTES + int.from_bytes(content[:_SIZE_BYTES])]


def _write(content: bytes) -> Write:
    """The write in a record.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: there is none in it.
    """
    header = _header(content)
    facts, rest, files = json.loads(header), content[_SIZE_BYTES + len(header) :], {}
    for path, size in facts["files"].items():
        files[path], rest = rest[:size], rest[size:]
    write = Write(facts["kind"], facts["run"], facts["facts"], files)
    if rest or not (write.what and isinstance(write.run, str) and isinstance(write.facts, dict)):
        raise ValueError("no write")
    return write


class Outbox:
    """Sends writes to MLflow in their order; those that it does not take in time wait in a file until it does.

    Sending has a thread of its own, so that nobody waits for a store that has accepted a connection and says nothing.

    Args:
        path: of the file; what a process before this one has left in it is sent first.

    Attributes:
        kept: how many writes have waited in the file.

    Raises:
        StorageError: as of `_Spool`.
    """

    def __init__(self, client: Client, path: Path) -> None:
        self.client = client
        self._once, self._again = client.with_patience(0), client.with_patience(_AGAIN_SECONDS)
        self._spool = _Spool(path)
        self.kept = len(self._spool)
        self._wait, self._why = _FIRST_WAIT_SECONDS, "does not answer"
        self._ids: dict[str, str] = {}
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._sender.start()
        if self._spool:
            self._tasks.put(self._send_waiting)

    def put(self, write: Write) -> str:
        """Sends a write or keeps it, and gives the id of its run; of one that MLflow has not made yet, its identity.

        Raises:
            StorageError: MLflow says no, to this one or one that waited, or it can be neither sent nor kept.
        """
        if self._failure:
            raise self._failure
        if not self._spool and (run_id := self._sent_at_once(write)):
            return run_id
        self._spool.append(write)
        self.kept += 1
        self._tasks.put(self._send_waiting)
        return self._ids.get(write.run, write.run)

    def _sent_at_once(self, write: Write) -> str | None:
        done: Future[str] = Future()
        self._tasks.put(lambda: _conclude(done, lambda: self._deliver(send, self._once, write)))
        try:
            return done.result(self._wait)
        except TimeoutError:
            self._wait /= 2
        except StorageError as error:
            if not is_outage(error):
                raise
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Sends no more, and lets another outbox, of this process or another one, have what waits."""
        self._closed.set()
        self._tasks.put(lambda: None)
        # What it is sending right now, another one would send beside it.
        self._sender.join(_LEAVE_SECONDS)
        self._spool.close()

    def _work(self) -> None:
        while not self._closed.is_set():
            self._tasks.get()()

    def _deliver(self, how: Callable[[Client, str, Write], str], client: Client, write: Write) -> str:
        run_id = how(client, write.run if write.kind == "run" else self._id_of(write.run), write)
        self._ids[write.run] = run_id
        return run_id

    def _id_of(self, run: str) -> str:
        if "/" not in run:
            return run
        if run not in self._ids:
            with storage_errors(f"MLflow run {run}"):
                made = self._again.run_of(run)
            if made is None:
                raise StorageError(f"MLflow run {run}", "MLflow does not have it", "run the same command again")
            self._ids[run] = str(made.info.run_id)
        return self._ids[run]

    def _send_waiting(self) -> None:
        pause, sent = _FIRST_PAUSE, 0
        while not (self._closed.is_set() or self._failure) and (write := self._spool.first()):
            try:
                self._deliver(send_again, self._again, write)
            except StorageError as error:
                if not is_outage(error):
                    self._failure = error
                    return
                self._why = error.why
                self._spool.note_sent(sent)
                self._closed.wait(pause)
                pause, sent = min(2 * pause, _LONGEST_PAUSE), 0
            except Exception as error:  # noqa: BLE001 (raised where the next one waits: this thread has nobody to tell)
                self._failure = error
            else:
                if self._closed.is_set():
                    # Another one may have the file by now, and sends this again, which changes nothing.
                    return
                self._spool.remove_first()
                pause, sent = _FIRST_PAUSE, sent + 1

    def flush(self, patience: float = PATIENCE_SECONDS) -> None:
        """Waits until nothing waits any more, as long as something is sent within so many seconds.

        Raises:
            StorageError: MLflow does not answer, or says no.
        """
        left, end = len(self._spool), time.monotonic() + patience
        while waiting := len(self._spool):
            if self._failure:
                raise self._failure
            if waiting < left:
                left, end = waiting, time.monotonic() + patience
            if time.monotonic() > end:
                why = f"{self._why}; {waiting} writes wait in {self._spool.path}"
                raise StorageError("MLflow store", why, "once it answers: lsml sync, then the same command")
            time.sleep(0.05)
        if self._failure:
            raise self._failure

    def run_id(self, run: str) -> str:
        """The id of the run with that identity, once all that waits has been sent.

        Raises:
            StorageError: as of `flush`.
        """
        self.flush()
        return self._id_of(run)


def _conclude(done: Future[str], work: Callable[[], str]) -> None:
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 (whoever waits for it raises it)
        done.set_exception(error)
