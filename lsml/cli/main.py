"""The command line: commands, errors as one line, exit codes."""

import gc
import inspect
import io
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from lsml.cli import config, data, evaluate, maps, models, scenes, study, train
from lsml.cli.options import Command, Commands, CommandWithFields
from lsml.errors import (
    ConfigError,
    DataWarning,
    LsmlError,
    StorageError,
    holds_password,
    in_one_line,
    redact,
)
from lsml.errors.signals import leaving_by_signals
from lsml.names import VERSION
from lsml.workspace import private_log

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

app = Commands(
    "Train, tune, evaluate and apply networks that segment landslides in satellite patches.",
    name="lsml",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show results and errors, but no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what libraries log.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    logging.getLogger("lsml").setLevel(logging.WARNING if quiet else logging.INFO)
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if version:
        typer.echo(f"lsml {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


_COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "init": config.init,
    "data": data.app,
    "train": train.train,
    "tune": train.tune,
    "study": study.app,
    "evaluate": evaluate.evaluate,
    "export": models.export,
    "ensemble": models.ensemble,
    "compare": models.compare,
    "leaderboard": models.leaderboard,
    "predict": evaluate.predict,
    "map": maps.app,
    "scene": scenes.app,
    "refit": train.refit,
    "promote": models.promote,
    "rollback": models.rollback,
    "reproduce": train.reproduce,
    "config": config.app,
    "report": study.report,
    "sync": study.sync,
    "relocate": study.relocate,
    "doctor": config.doctor,
    "clean": config.clean,
    "ui": study.ui,
    "dashboard": study.dashboard,
}
"""Every command and group of commands; a group's help is that of its `Typer`."""

for _name, _command in _COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        _searchable = "assignments" in inspect.signature(_command).parameters
        app.command(_name, cls=CommandWithFields if _searchable else Command)(_command)


_ANYWHERE = frozenset({"--quiet", "-q", "--verbose", "-v", "--debug"})


def _in_front(arguments: list[str]) -> list[str]:
    """What every command takes stands before its name, wherever it was given."""
    return sorted(arguments, key=lambda argument: argument not in _ANYWHERE)


def _by_its_name(argument: str) -> str:
    """`--out` where it was called `--output`, as it was before; help shows one name."""
    return re.sub(r"\A--output(?==|\Z)", "--out", argument)


_HOME = re.compile(r"\A((?:[\w.-]+=)*)(~[^/=]*)(?=/|\Z)")


def _at_home(argument: str) -> str:
    """`~` before a path, or after `NAME=`, as the home folder: MLflow quotes it, and few shells look behind `=`."""
    # That of a user who does not exist stays.
    return _HOME.sub(lambda found: found[1] + os.path.expanduser(found[2]), argument)  # noqa: PTH111


def main(arguments: list[str]) -> int:
    """Runs the command line and gives its exit code: 0, or one of `lsml.errors`."""
    warnings.simplefilter("always", DataWarning)
    warnings.showwarning = _warn
    try:
        arguments = [_by_its_name(_at_home(argument)) for argument in _in_front(arguments)]
        _refuse_passwords(arguments)
        return int(app(arguments, prog_name="lsml", standalone_mode=False) or 0)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as error:
        return _usage(error)
    except LsmlError as error:
        if "--debug" in arguments:
            sys.stderr.write(redact(traceback.format_exc()))
        _complain(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - what nobody has foreseen is one line too
        return _unforeseen(error, debug="--debug" in arguments)


def _refuse_passwords(arguments: list[str]) -> None:
    """Every user of a machine sees the arguments of its processes."""
    for argument in arguments:
        if ("@" in argument or "://" in argument) and holds_password(argument):
            raise ConfigError(
                f"argument {argument}",
                "it holds a password, and arguments are for every user of this machine to see",
                "give the URL by LSML_STORAGE or MLFLOW_TRACKING_URI, or without its password, which PostgreSQL finds "
                "in ~/.pgpass or PGPASSWORD and MLflow in MLFLOW_TRACKING_PASSWORD; change it where it was real",
            )


def _unforeseen(error: Exception, *, debug: bool) -> int:
    """Says in one line what nobody has foreseen, and writes where it came from into a private file."""
    trace = redact(traceback.format_exc())
    if debug:
        sys.stderr.write(trace)
    try:
        log = private_log("error", trace)
        where = f"report it with {log}, which holds no password that lsml knows of"
    except OSError:
        where = "report it with what --debug shows"
    _complain(f"lsml {VERSION} has met something unforeseen: {in_one_line(error)}; {where}")
    return LsmlError.exit_code


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "lsml"
    said = error.format_message().replace("Value error, ", "").rstrip(".")
    _complain(f"{said}; see {command} --help")
    return 2


def _complain(message: str) -> None:
    _tell(f"error: {message}")


def _warn(message: Warning | str, category: type[Warning], filename: str, *place: Any, **to: Any) -> None:
    """Shows what Python is warned of; of patches in one line."""
    if issubclass(category, DataWarning):
        _tell(f"warning: {message}")
    else:
        _SHOW_WARNING(message, category, filename, *place, **to)


def _tell(message: str) -> None:
    # What a file or a name holds must not give orders to the terminal that shows it.
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in redact(message))
    print(f"lsml: {shown}", file=sys.stderr)  # noqa: T201 (the command line's own voice)


_SHOW_WARNING = warnings.showwarning

_COLLECTED_AFTER = 20_000
"""Objects that are made, less those that go, before Python looks for garbage among them."""


class _Stream(io.FileIO):
    """A standard stream that keeps the error of writing to it: what a command says is worth less than what it does.

    Attributes:
        failure: the first error; None where there was none, or only that nobody reads on (`lsml … | head -1`).
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, content: "ReadableBuffer") -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            pass
        except OSError as error:
            self.failure = self.failure or error
        return memoryview(content).nbytes

    def as_text(self, like: TextIO | None, *, by_line: bool) -> io.TextIOWrapper:
        """What is to be `sys.stdout` or `sys.stderr` in the place of `like`, which is None where it was closed."""
        encoding, errors = (like.encoding, like.errors) if like else (None, "backslashreplace")
        return io.TextIOWrapper(io.BufferedWriter(self), encoding, errors, line_buffering=by_line)


def _open_streams() -> _Stream:
    """Replaces the standard streams by such that raise nothing; gives standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened, such as a database, would be where everybody writes messages to.
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    output, messages = _Stream(1), _Stream(2)
    sys.stdout = output.as_text(sys.stdout, by_line=output.isatty())
    sys.stderr = messages.as_text(sys.stderr, by_line=True)
    return output


# Also where it is called past `lsml.__main__`.
@leaving_by_signals()
def run() -> None:
    """Runs the command line of this process."""
    # Imports make half a million objects that stay; with Python's 700, a sixth of a command's start is spent on
    # looking through them for garbage.
    gc.set_threshold(_COLLECTED_AFTER)
    # Pictures are files. Notebooks hand their own backend to every command, and Matplotlib is not imported without it.
    os.environ["MPLBACKEND"] = "agg"
    output = _open_streams()
    code = main(sys.argv[1:])
    sys.stdout.flush()
    if output.failure and code == 0:
        why = f"cannot be written ({output.failure.strerror})"
        unsaid = StorageError("standard output", why, "what the command does is done; send its output elsewhere")
        _complain(str(unsaid))
        code = unsaid.exit_code
    sys.exit(code)
