"""`lsml study`, `lsml ui` and what repairs stores: list studies, look into one, compare its trials in MLflow's UI."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsml.cli import options
from lsml.errors import Interrupted, redact
from lsml.errors.signals import answered
from lsml.workspace import storage_url

if TYPE_CHECKING:
    from lsml.workflows.studies import Ui

_NAMED = "The study's name, or that of a run or model of it."

app = options.Commands("List, show and repair studies.", no_args_is_help=True)


@app.command("list")
def _list(storage: options.Storage = None, json: options.Json = False) -> None:
    """List the studies of a database."""
    from lsml.workflows.studies import list_studies

    rows = list_studies(storage)
    if json:
        options.print_json(rows, indent=2)
        return
    from lsml.cli.output import print_table
    from lsml.report.summary import studies_table

    if not rows:
        typer.echo(f"no study in {redact(storage_url(storage))}; lsml tune starts one")
        return
    print_table(studies_table(rows))


@app.command("show")
def _show(
    name: Annotated[str, typer.Argument(help=_NAMED, metavar="NAME")],
    storage: options.Storage = None,
    json: options.Json = False,
) -> None:
    """Show the trials of a study, their runs and the importance of each hyperparameter."""
    from lsml.workflows.studies import show_study

    shown = show_study(name, storage)
    if json:
        options.print_json(shown.record(), indent=2)
        return
    from lsml.cli.output import print_table
    from lsml.report.facts import importance_caveat
    from lsml.report.summary import Table, result_tables

    print_table(Table.of_trials(shown.trials, shown.searched, title=f"study {name}", cost_unit=shown.cost_unit))
    for trial in shown.trials:
        if trial.reason:
            typer.echo(f"trial {trial.slot}, attempt {trial.ordinal}: {trial.state}: {trial.reason}")
    if shown.importance:
        shares = ", ".join(f"{field} {share:.2f}" for field, share in shown.importance.items())
        typer.echo(f"importance{importance_caveat(shown.complete)}: {shares}")
    for table in result_tables(shown.result) if shown.result else ():
        print_table(table)
    if shown.result and shown.result.against_base:
        typer.echo(shown.result.against_base)
    if shown.regions:
        print_table(Table.of_regions(shown.regions, f"by region: {shown.folds}"))
    if shown.openings is None:
        typer.echo(f"test split: how often it was opened is unknown: {shown.openings_unknown}")
    elif shown.openings:
        count = len(shown.openings)
        typer.echo(f"test split opened {count} {'time' if count == 1 else 'times'}:")
        print_table(Table.of_openings(shown.openings))
    else:
        typer.echo("test split never opened")
    if shown.best_run_id:
        typer.echo(f"best run: {shown.best_run_id}")


@app.command("repair")
def _repair(name: Annotated[str, typer.Argument(help=_NAMED, metavar="NAME")], storage: options.Storage = None) -> None:
    """Close what a study has left open in its database and in MLflow, where its processes are gone."""
    from lsml.workflows.repair import repair_study

    done = repair_study(name, storage)
    for line in done or ["nothing is open"]:
        typer.echo(line)


@app.command()
def report(
    name: Annotated[str, typer.Argument(help=_NAMED, metavar="NAME")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="HTML file to write.  [default: NAME-report.html]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    storage: options.Storage = None,
) -> None:
    """Write a study's report as one self-contained HTML file."""
    from lsml.workflows.report import report_study

    written = report_study(name, storage, output=out)
    typer.echo(f"report: {written}")
    if not open_it:
        return
    if _can_open():
        import webbrowser

        webbrowser.open(written.as_uri())
    else:
        typer.echo("no display here: open that file in a browser")


_DASHBOARD_PORT = 8080
"""Of optuna-dashboard's own command too."""


def sync() -> None:
    """Send MLflow what is kept in the working folder since it did not answer."""
    from lsml.workflows.sync import sync as job

    sent = job()
    for path, count in sent.items():
        typer.echo(f"sent: {count} writes of {path}")
    if not sent:
        typer.echo("nothing waits for MLflow")


def relocate(
    files: Annotated[
        Path | None,
        typer.Option(
            "--files",
            help="Folder of the files of runs.  [default: mlruns beside the database]",
            parser=options.path,
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Have MLflow's database name the files of runs beside it, after it was copied or moved without them."""
    from lsml.workflows.repair import relocate_files

    done = relocate_files(files)
    if done is None:
        typer.echo("nothing to change: the database names no other folder")
        return
    typer.echo(f"the database as it was: {done.backup}")
    typer.echo(f"files of runs: {done.now}, before {', '.join(map(str, done.before))}")
    if done.missing:
        typer.echo(f"{done.missing} runs have their files in {done.before[0]} alone: copy what is there to {done.now}")


def dashboard(
    port: Annotated[
        int, typer.Option("--port", help="Port on this machine.", min=1, max=65535, metavar="N")
    ] = _DASHBOARD_PORT,
    storage: options.Storage = None,
) -> None:
    """Serve optuna-dashboard, where it is installed, over the study database on this machine."""
    from lsml.workflows.studies import open_dashboard

    def ready() -> None:
        typer.echo(f"optuna-dashboard: http://127.0.0.1:{port}")
        typer.echo("Ctrl-C ends it")

    try:
        open_dashboard(storage, port=port, ready=ready)
    except Interrupted:
        answered()
    typer.echo("stopped")


_DEFAULT_PORT = 5000


def ui(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            help="Port on this machine.  [default: 5000, or the next free one]",
            min=1,
            max=65535,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="Study to show instead of the last one.", parser=options.text, metavar="NAME"),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the addresses without opening a browser.")] = False,
) -> None:
    """Serve MLflow's UI on this machine, opened at the page that compares a study's trials."""
    from lsml.workflows.studies import open_ui

    try:
        with open_ui(study, port=port) as shown:
            _print_pages(shown, asked=port)
            if not no_open and _can_open():
                import webbrowser

                webbrowser.open(_first_page(shown))
            if shown.wait:
                typer.echo("Ctrl-C ends it")
                shown.wait()
    except Interrupted:
        # The way to end it, not a fault; the server has stopped by now.
        answered()
        typer.echo("stopped")


def _print_pages(shown: "Ui", *, asked: int | None) -> None:
    if shown.wait and asked is None and not shown.address.endswith(f":{_DEFAULT_PORT}"):
        typer.echo(f"port {_DEFAULT_PORT} is in use; taking the next free one")
    typer.echo(f"MLflow's UI: {shown.address}")
    if shown.pages is None:
        typer.echo("no study yet; lsml tune starts one")
        return
    typer.echo(f"trials of study {shown.pages.study} compared: {shown.address}/{shown.pages.trials}")
    if shown.pages.best:
        typer.echo(f"its best trials compared: {shown.address}/{shown.pages.best}")


def _first_page(shown: "Ui") -> str:
    return f"{shown.address}/{shown.pages.trials}" if shown.pages else shown.address


def _can_open() -> bool:
    """Whether a person sits at this terminal and a browser has a screen to open on."""
    if not sys.stdout.isatty():
        return False
    # Without a screen Python falls back on browsers of the terminal, which would take it over.
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
