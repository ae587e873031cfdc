"""Every error that a user can cause, with the exit code that the command line gives it.

    LsmlError
    ├── ConfigError        2   usage, configuration, experiment or search space
    ├── DataError          3   files, patches, splits
    ├── StorageError       4   study database, MLflow, local stores
    ├── ModelError         5   model files and runs without one
    └── StudyError         6   the study itself failed
        └── OutOfMemory    6   a training does not fit into memory

An interruption is no error of anybody's: `Interrupted` carries the signal and leaves with 128 + its number.
"""

import signal


class LsmlError(Exception):
    """One line for the user: what happened, why, and what to do.

    Args:
        what: the thing that failed, in a few words (`patch image_7.h5`).
        why: the reason, with the figures that show it.
        fix: what the user can do about it, as an instruction.
    """

    exit_code = 1

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

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
    return str(error) if isinstance(error, LsmlError) else " ".join(f"{type(error).__name__}: {error}".split())


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
