"""`lsml doctor` and `lsml ui`: what a study needs here, and MLflow's UI opened where its trials are compared."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lsml.cli import options
from lsml.errors import Interrupted

if TYPE_CHECKING:
    from lsml.workflows.studies import Ui


def doctor(
    storage: options.Storage = None,
    require_gpu: options.RequireGpu = False,
    json: options.Json = False,
) -> None:
    """Examine versions, device, stores and disk by using them."""
    from dataclasses import asdict

    from lsml.workflows.doctor import examine

    findings = examine(storage=storage, require_gpu=require_gpu)
    if json:
        import json as encoder

        typer.echo(encoder.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{finding.state:8}{finding.what}: {finding.detail}")
            if finding.fix:
                typer.echo(f"{'':8}{finding.fix}")
    if any(finding.state == "error" for finding in findings):
        raise typer.Exit(4)


_DEFAULT_PORT = 5000


def ui(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            help="port on this machine  [default: 5000, or the next free one]",
            min=1,
            max=65535,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="study to open at, instead of the last one", parser=options.text, metavar="NAME"),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="print the addresses and open no browser")] = False,
) -> None:
    """Show MLflow's UI on this machine, at the page that compares a study's trials, until Ctrl-C."""
    from lsml.workflows.studies import open_ui

    try:
        with open_ui(study, port=port) as shown:
            _print_pages(shown, asked=port)
            if not no_open and can_open():
                import webbrowser

                webbrowser.open(_first_page(shown))
            if shown.wait:
                typer.echo("Ctrl-C ends it")
                shown.wait()
    except Interrupted:
        # The way to end it, not a fault; the server has stopped by now.
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
        typer.echo(f"its best trials side by side: {shown.address}/{shown.pages.best}")


def _first_page(shown: "Ui") -> str:
    return f"{shown.address}/{shown.pages.trials}" if shown.pages else shown.address


def can_open() -> bool:
    """Whether a person sits at this terminal and a browser has a screen to open on."""
    if not sys.stdout.isatty():
        return False
    # Without a screen Python falls back on browsers of the terminal, which would take it over.
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
