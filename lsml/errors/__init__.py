"""Every error that a user can cause, with the exit code that the command line gives it.

    LsmlError
    ├── ConfigError        2   usage, configuration, experiment or search space
    ├── DataError          3   files, patches, splits
    ├── StorageError       4   study database, MLflow, local stores
    ├── ModelError         5   model files and runs without one
    └── StudyError         6   the study itself failed
        └── OutOfMemory    6   a training does not fit into memory

An interruption is no error of anybody's: `Interrupted` carries the signal and leaves with 128 + its number.

What any of them says goes through `redact`, as everything else does that leaves the process as text.
"""

import os
import re
import signal
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

_NAMES = "[a-z_-]*(?:passw(?:or)?d|secret(?:[_-]?key)?|token|api[_-]?key|access[_-]?key|connection[_-]?string)"
"""Of options of addresses and of environment variables; `PWD` among these is the working folder."""
_HIDDEN = "***"
# A password may hold what should have been quoted, also `@`: it ends before the last one.
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@?#'\"]*:)([^\s'\"]+)(?=@)", re.IGNORECASE)
_WITHOUT_SCHEME = re.compile(r"((?<![\w/])[\w.+-]+:)([^\s/:'\"]+)(?=@[\w.-]+(?:[/:]|\Z))")
_IN_QUERY = re.compile(rf"(\b(?:{_NAMES}|pwd)(?:=|%3D))([^\s&;,'\"]+?)(?=[:.)]*(?:[\s&;,'\"]|\Z))", re.IGNORECASE)
_IN_HEADER = re.compile(
    r"(\bauthorization['\"]?\s*[:=]\s*(?:b?['\"])?|\bbearer\s+)((?:basic\s+|bearer\s+)?[^\s'\",}]+)", re.IGNORECASE
)
_PLACES = (_IN_ADDRESS, _WITHOUT_SCHEME, _IN_QUERY, _IN_HEADER)
_SHORTEST_ECHO = 6
"""Letters; a shorter password is hidden where passwords stand, and may be any word elsewhere."""


def holds_password(text: str) -> bool:
    """Whether a text has a password or token where addresses, their queries and headers have them."""
    return any(pattern.search(text) for pattern in _PLACES)


def redact(text: str) -> str:
    """A text without passwords and tokens: of addresses, their queries and headers, by where they stand in them.

    Those of this process's environment are left out wherever they are a word of their own, as a server may echo them.
    """
    for pattern in _PLACES:
        text = pattern.sub(rf"\g<1>{_HIDDEN}", text)
    for secret in _secrets():
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return text


def _secrets() -> frozenset[str]:
    """The passwords in the environment, which few texts find changed since the last one."""
    return _secrets_in(tuple(os.environ.items()))


@lru_cache(maxsize=1)
def _secrets_in(environment: tuple[tuple[str, str], ...]) -> frozenset[str]:
    found = {secret for name, value in environment for secret in _passwords(name, value)}
    found |= {unquote(secret) for secret in found}
    return frozenset(secret for secret in found if len(secret) >= _SHORTEST_ECHO)


def _passwords(name: str, value: str) -> set[str]:
    """Those that a variable holds: all of it where it is named for one, else what stands where addresses have them."""
    if re.fullmatch(_NAMES, name, re.IGNORECASE):
        return {value}
    places = _PLACES if name.endswith(("_URI", "_URL", "_STORAGE")) else (_IN_ADDRESS,)
    return {match[2] for pattern in places for match in pattern.finditer(value)}


def without_passwords(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold no password or token, for a process that talks to no server."""
    return {name: value for name, value in environment.items() if not _passwords(name, value)}


class LsmlError(Exception):
    """One line for the user: what happened, why, and what to do.

    Args:
        what: the thing that failed, in a few words (`patch image_7.h5`).
        why: the reason, with the figures that show it.
        fix: what the user can do about it, as an instruction.
    """

    exit_code = 1

    def __init__(self, what: str, why: str, fix: str) -> None:
        self.what, self.why, self.fix = redact(what), redact(why), redact(fix)
        super().__init__(self.what, self.why, self.fix)

    def __str__(self) -> str:
        return " ".join(f"{self.what}: {self.why}; {self.fix}".split())


class ConfigError(LsmlError):
    """A command, configuration, experiment or search space that cannot be run."""

    exit_code = 2


class DataError(LsmlError):
    """Patches, masks or splits that cannot be used."""

    exit_code = 3


class StorageError(LsmlError):
    """A study database or an MLflow store that cannot be reached, or says no."""

    exit_code = 4


class ModelError(LsmlError):
    """A run without a model, or a model file that is refused."""

    exit_code = 5


class StudyError(LsmlError):
    """A study that ended without a usable trial."""

    exit_code = 6


class OutOfMemory(StudyError):
    """A training that does not fit into memory, of the processor or the GPU."""


def in_one_line(error: BaseException) -> str:
    """Why something failed: what an `LsmlError` says, else the error's type and text."""
    return str(error) if isinstance(error, LsmlError) else redact(" ".join(f"{type(error).__name__}: {error}".split()))


def first_line(error: Exception) -> str:
    """The first line of what a library says, at most 300 letters; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


class DataWarning(UserWarning):
    """What is unusual about patches that are used all the same; the command line shows it in one line."""


class Interrupted(BaseException):
    """A signal asked the process to stop; everything under way is closed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        return 128 + self.number

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name
