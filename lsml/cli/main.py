"""The entry point of the command line: commands, errors as one line, signals, exit codes."""

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from lsml import __version__
from lsml.cli import config, data, doctor, evaluate, study, train, tune
from lsml.cli import doctor as ui
from lsml.cli import evaluate as predict
from lsml.cli import models as compare
from lsml.cli import models as ensemble
from lsml.cli import models as promote
from lsml.cli import train as refit
from lsml.cli import train as reproduce
from lsml.cli.options import CommandWithFields
from lsml.errors import Interrupted, LsmlError

app = typer.Typer(
    name="lsml",
    help="Tune, track, judge and apply networks that find landslides in satellite patches.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    if version:
        typer.echo(f"lsml {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.add_typer(data.app, name="data", help="Get, make, check, pack and look at patches.")
app.command("train", cls=CommandWithFields)(train.train)
app.command("tune", cls=CommandWithFields)(tune.tune)
app.add_typer(study.app, name="study", help="List studies and look into one.")
app.command("evaluate")(evaluate.evaluate)
app.command("ensemble")(ensemble.ensemble)
app.command("compare")(compare.compare)
app.command("leaderboard")(compare.leaderboard)
app.command("predict")(predict.predict)
app.command("refit")(refit.refit)
app.command("promote")(promote.promote)
app.command("rollback")(promote.rollback)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(config.app, name="config", help="Look up hyperparameters and settings, check an experiment file.")
app.command("doctor")(doctor.doctor)
app.command("ui")(ui.ui)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Once is enough: what is under way is being closed, and a second signal must not cut that short.
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def main(arguments: list[str]) -> int:
    """Runs the command line and gives its exit code: 0, or one of `lsml.errors`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return int(app(arguments, prog_name="lsml", standalone_mode=False) or 0)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as error:
        return _usage(error)
    except LsmlError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _complain(str(error))
        return error.exit_code
    except Interrupted as interruption:
        _complain(f"interrupted by {interruption.name}: stopped in good order; the same command goes on")
        return interruption.exit_code
    except BrokenPipeError:
        return 0


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "lsml"
    _complain(f"{error.format_message().rstrip('.')}; see {command} --help")
    return 2


def _complain(message: str) -> None:
    print(f"lsml: error: {message}", file=sys.stderr)  # noqa: T201 (the command line's own voice)


def run() -> None:
    """Runs the command line of this process."""
    sys.exit(main(sys.argv[1:]))
