"""Fetches one file over HTTP so that an interruption costs nothing: what has arrived is kept, and gone on from.

`NAME.part` holds what has arrived of `NAME`, `NAME.part.json` what the server said about the file then. The next
request asks for the rest (RFC 9110, section 14: `Range`, guarded by `If-Range`); a server that knows no ranges, or has
another file by now, sends all of it and the part starts anew. `NAME` itself appears only when it is whole and its
checksum is the expected one.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from lsml import __version__
from lsml.errors import DataError

Arrived = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and those of the whole file, None where the server does not say."""

AGAIN = "run the same command again: it goes on where it was"
_AGENT = {"User-Agent": f"lsml/{__version__}", "Accept-Encoding": "identity"}
_TIMEOUT = (15.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""
_PAUSES = (1, 2, 4, 8, 15, 30)
"""Seconds before each new attempt; whenever something has arrived, they start anew."""
_LONGEST_PAUSE = 300
_BUSY = (429, 500, 502, 503, 504)
_PIECE = 1 << 14
"""Bytes at a time: what has arrived of a piece is lost when the connection breaks in it."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Expected(NamedTuple):
    """What is known of a file beforehand.

    Attributes:
        algorithm: `md5`, `sha256`, or `git` for the SHA-1 that git gives a file; None where nothing is published.
        digest: in hex.
        size: in bytes, None where it is not known.
        limit: more bytes than this are refused.
    """

    algorithm: str | None
    digest: str
    size: int | None
    limit: int


class NetworkError(DataError):
    """A server that cannot be reached, or does not send what it is asked for."""


class NoAnswerError(NetworkError):
    """A server that was reached, and answered something else than what was asked."""


class _Lost(Exception):
    """An attempt that is worth another one; `pause` in seconds where the server asked for one."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


def fetch(
    session: requests.Session,
    url: str,
    target: Path,
    expected: Expected,
    arrived: Arrived,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Brings `url` to `target`, going on from what an earlier attempt left beside it.

    Args:
        pause: waits for some seconds before another attempt; what it raises ends the attempts.

    Raises:
        NetworkError: no network, a connection that breaks again and again, or an answer that is no such file.
        DataError: a full disk, or a file whose size or checksum is not the expected one.
    """
    part = Path(f"{target}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _attempts(session, url, part, expected, arrived, pause)
        _check(url, part, expected)
        part.rename(target)
        _note_of(part).unlink(missing_ok=True)
    except OSError as error:
        size = "" if expected.size is None else f" ({expected.size:,} bytes)"
        raise DataError(
            f"file {target}{size}", f"cannot be written: {error.strerror or error}", "free space there"
        ) from None


def get_json(session: requests.Session, url: str) -> tuple[object, str | None]:
    """The JSON at `url`, and the address of the next page of it, if there is one.

    Raises:
        NoAnswerError: the server answers something else.
        NetworkError: no network.
    """
    try:
        with session.get(url, headers=_AGENT, timeout=_TIMEOUT) as answer:
            if answer.status_code != 200:
                raise NoAnswerError(f"address {url}", f"HTTP {answer.status_code}", "try again later")
            return answer.json(), answer.links.get("next", {}).get("url")
    except requests.exceptions.JSONDecodeError:
        raise NoAnswerError(f"address {url}", "the answer is no JSON", "try again later") from None
    except requests.RequestException as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: Exception) -> NetworkError:
    host = urlsplit(url).netloc
    return NetworkError(f"download from {host}", f"no network, or no way to that server ({_cause(error)})", AGAIN)


def file_digest(path: Path, algorithm: str) -> str:
    """The digest of a file in hex, by an algorithm of `Expected`."""
    if algorithm == "git":
        # git hashes a file as an object: with a header of its kind and size.
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _attempts(
    session: requests.Session,
    url: str,
    part: Path,
    expected: Expected,
    arrived: Arrived,
    pause: Callable[[float], object],
) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(session, url, part, expected, arrived)
            return
        except _Lost as lost:
            failures = 1 if _size(part) > before else failures + 1
            if failures > len(_PAUSES):
                have, whole = _size(part), expected.size
                of = f" of {whole:,}" if whole else ""
                raise NetworkError(f"download of {url}", f"{lost}, {have:,}{of} bytes have arrived", AGAIN) from None
            pause(_PAUSES[failures - 1] if lost.pause is None else lost.pause)


def _receive(session: requests.Session, url: str, part: Path, expected: Expected, arrived: Arrived) -> None:
    """One request for what is missing. Comes back when the file is whole; raises `_Lost` when it is not."""
    headers, have = dict(_AGENT), _size(part)
    note = _read_note(part, url) if have else {}
    if have and note.get("size") == have:
        return
    if note:
        headers["Range"] = f"bytes={have}-"
        guard = _guard(note)
        if guard:
            headers["If-Range"] = guard
    try:
        with session.get(url, headers=headers, timeout=_TIMEOUT, stream=True) as answer:
            _store(answer, url, part, note, expected, arrived)
    except requests.ConnectionError as error:
        if _size(part) == 0:
            raise _unreachable(url, error) from None
        raise _Lost(f"the connection broke ({_cause(error)})") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _Lost("the connection broke off") from None
    except requests.RequestException as error:
        raise _Lost(f"the connection broke ({_cause(error)})") from None


def _store(
    answer: requests.Response, url: str, part: Path, note: dict[str, object], expected: Expected, arrived: Arrived
) -> None:
    if answer.status_code in _BUSY:
        raise _Lost(f"the server is busy (HTTP {answer.status_code})", _asked_pause(answer))
    have = _size(part)
    going_on = answer.status_code == 206 and _fits(answer, note, have)
    if answer.status_code in (206, 416) and not going_on:
        part.unlink(missing_ok=True)
        raise _Lost("the file on the server has changed", 0.0)
    if answer.status_code not in (200, 206):
        raise NoAnswerError(f"download of {url}", f"HTTP {answer.status_code}", "look whether the file is still there")
    size = note.get("size") if going_on else _declared(answer)
    whole = size if isinstance(size, int) else expected.size
    if not going_on:
        part.unlink(missing_ok=True)
        _write_note(part, url, answer, whole)
        have = 0
    limit = expected.limit if whole is None else min(whole, expected.limit)
    if (expected.size is not None and whole != expected.size) or (whole or 0) > expected.limit:
        part.unlink(missing_ok=True)
        raise DataError(f"download of {url}", f"the server offers {whole:,} bytes, {_wanted(expected)}", _DISTRUST)
    with part.open("ab") as file:
        for piece in answer.iter_content(_PIECE):
            have += len(piece)
            if have > limit:
                raise DataError(f"download of {url}", f"more than {limit:,} bytes arrive", _DISTRUST)
            file.write(piece)
            arrived(have, whole)
    if whole is not None and have < whole:
        raise _Lost("the connection broke off")


_DISTRUST = "do not use that server"


def _wanted(expected: Expected) -> str:
    return f"limit {expected.limit:,}" if expected.size is None else f"expected {expected.size:,}"


def _check(url: str, part: Path, expected: Expected) -> None:
    """Refuses, and removes, a file whose checksum is another one: going on from it could never succeed."""
    if expected.algorithm is None:
        return
    found = file_digest(part, expected.algorithm)
    if found != expected.digest:
        part.unlink()
        _note_of(part).unlink(missing_ok=True)
        why = f"checksum differs: {expected.algorithm} {found}, expected {expected.digest}"
        raise DataError(f"download of {url}", why, "it was removed; run the same command again, or use another source")


def _guard(note: dict[str, object]) -> str | None:
    """What `If-Range` may carry: a strong entity tag, else the date of the last change."""
    etag, changed = note.get("etag"), note.get("last_modified")
    if isinstance(etag, str) and not etag.startswith("W/"):
        return etag
    return changed if isinstance(changed, str) else None


def _fits(answer: requests.Response, note: dict[str, object], have: int) -> bool:
    """Whether a partial answer goes on with this file at this place; size and validators have to agree."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have or int(match[2]) != note.get("size"):
        return False
    now = _validators(answer)
    return all(now[key] is None or note.get(key) is None or now[key] == note[key] for key in now)


def _validators(answer: requests.Response) -> dict[str, str | None]:
    return {"etag": answer.headers.get("ETag"), "last_modified": answer.headers.get("Last-Modified")}


def _declared(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _asked_pause(answer: requests.Response) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return float(min(int(seconds), _LONGEST_PAUSE)) if seconds.isdecimal() else None


def _note_of(part: Path) -> Path:
    return Path(f"{part}.json")


def _write_note(part: Path, url: str, answer: requests.Response, size: int | None) -> None:
    _note_of(part).write_text(json.dumps({"url": url, "size": size} | _validators(answer)), encoding="utf-8")


def _read_note(part: Path, url: str) -> dict[str, object]:
    """What the server said about the file that the part belongs to; nothing where that cannot be gone on from."""
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(note, dict) and note.get("url") == url and isinstance(note.get("size"), int)
    return note if known else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _cause(error: Exception) -> str:
    """The innermost reason of a chain of wrapped errors, in a few words."""
    reason: object = error
    while isinstance(reason, Exception):
        inner = getattr(reason, "reason", None) or (reason.args[0] if reason.args else None)
        if not isinstance(inner, Exception):
            break
        reason = inner
    text = getattr(reason, "strerror", None) or str(reason).rpartition(": ")[2] or type(reason).__name__
    return " ".join(str(text).split())[:120]
