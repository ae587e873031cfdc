"""`lsml study`: list studies and look into one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lsml.cli import options

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_studies(storage: options.Storage = None, json: options.Json = False) -> None:
    """List the studies of a database."""
    from lsml.workflows.studies import list_studies as job

    rows = job(storage)
    if json:
        _print_json(rows)
        return
    from lsml.cli.output import print_table
    from lsml.config.fields import in_words

    if not rows:
        typer.echo("no studies yet; lsml tune starts one")
        return
    columns = ["study", "complete", "pruned", "failed", "running", "best val_f1", "best run"]
    print_table(columns, [[in_words(row[column]) for column in columns] for row in rows])


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="the study's name")],
    storage: options.Storage = None,
    json: options.Json = False,
) -> None:
    """Show every attempt of a study, its run ids and what mattered."""
    from lsml.workflows.studies import show_study

    found = show_study(name, storage)
    if json:
        _print_json(found)
        return
    from lsml.cli.output import print_baselines, print_champions, print_front, print_standings, print_table
    from lsml.config.fields import in_words

    cost = [found["cost"]] if found["cost"] else []
    columns = ["slot", "attempt", "state", "val_f1", *cost, "epochs", "run_id", *found["searched"]]
    rows = [[in_words(row[column]) for column in columns] for row in found["attempts"]]
    print_table(columns, rows, title=f"study {name}")
    for row in found["attempts"]:
        if row["reason"]:
            typer.echo(f"slot {row['slot']}, attempt {row['attempt']}: {row['state']}: {row['reason']}")
    if found["importance"]:
        shares = ", ".join(f"{field} {share:.2f}" for field, share in found["importance"].items())
        typer.echo(f"importance: {shares}")
    if found["front"]:
        print_front(found["front"], found["cost"])
    if found["standings"]:
        print_standings(found["standings"])
    elif found["baselines"]:
        print_baselines(found["label"], found["best_f1"], found["best_run_id"], found["baselines"])
    if len(found["champions"]) > 1:
        print_champions(found["champions"])
    _print_openings(found)
    if found["best_run_id"]:
        typer.echo(f"best run: {found['best_run_id']}")


def _print_openings(found: dict[str, Any]) -> None:
    openings = found["test_openings"]
    if openings is None:
        typer.echo(f"test split: how often it was opened is unknown: {found['test_openings_unknown']}")
        return
    if not openings:
        typer.echo("test split never opened")
        return
    typer.echo(f"test split opened {len(openings)} {'time' if len(openings) == 1 else 'times'}:")
    for opening in openings:
        fingerprint = opening["data_fingerprint"]
        data = f"data {fingerprint[:12]}" if fingerprint else "data unknown: cut off before its end"
        code = f", code {opening['code_commit'][:12]}" if opening["code_commit"] else ""
        typer.echo(f"  {opening['when']} by {opening['who']}, {opening['model']}, {data}{code}")


@app.command("report")
def report(
    name: Annotated[str, typer.Argument(help="the study's name")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="HTML file to write  [default: NAME-report.html]", metavar="FILE", show_default=False
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="show it in a browser, where there is a display")] = False,
    storage: options.Storage = None,
) -> None:
    """Write a study's report, one HTML file that needs no network, anew from what MLflow and the database hold."""
    from lsml.workflows.studies import report_study

    written = report_study(name, storage, output=output)
    typer.echo(f"report: {written}")
    if not open_it:
        return
    from lsml.cli.doctor import can_open

    if can_open():
        import webbrowser

        webbrowser.open(written.as_uri())
    else:
        typer.echo("no display here: open that file in a browser")


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))
