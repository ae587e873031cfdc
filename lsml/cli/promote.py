"""`lsml promote` and `lsml rollback`: which version of a registered model is champion."""

from typing import TYPE_CHECKING, Annotated

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.bootstrap import Difference
    from lsml.jobs.promote import Promotion

_REFUSED = 6


def promote(
    reference: Annotated[
        str, typer.Argument(help="a trial's, study's or training's run, or NAME/VERSION or NAME@ALIAS", metavar="RUN")
    ],
    repeats: Annotated[
        int,
        typer.Option("--repeats", help="train again with so many fresh seeds, and judge their mean too", min=0, max=20),
    ] = 0,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Make a model champion of its name unless it is worse than the one that is; exit 6 where it is worse."""
    from lsml.cli.output import Reporter
    from lsml.jobs.promote import promote as job

    with Reporter() as reporter:
        found = job(reference, repeats=repeats, data=data, watcher=reporter)
    if json:
        import json as encoder

        differences = {"ahead": found.ahead, "repeats": found.repeats}
        record = vars(found) | {name: ahead and ahead._asdict() for name, ahead in differences.items()}
        typer.echo(encoder.dumps(record))
    else:
        _print(found)
    if found.verdict == "refused":
        raise typer.Exit(_REFUSED)


def rollback(name: Annotated[str, typer.Argument(help="the registered model's name", metavar="NAME")]) -> None:
    """Make that version champion again which was before the one that is."""
    from lsml.jobs.promote import rollback as job

    had, has = job(name)
    typer.echo(f"{name} version {has} is champion again, in the place of version {had}")


def _print(found: "Promotion") -> None:
    from lsml.bootstrap import LEAST_PATCHES

    this = f"{found.model} version {found.version}"
    if found.verdict == "already":
        typer.echo(f"{this} is champion already: nothing to do")
        return
    typer.echo(f"in a fresh process the registered file {found.reload}")
    if found.judged_run_id != found.run_id:
        typer.echo(f"it has no validation score of its own: compared is run {found.judged_run_id} of its configuration")
    if found.ahead:
        typer.echo(f"validation F1 above the champion's, version {found.champion_before}: {_in_words(found.ahead)}")
        if found.repeats:
            typer.echo(f"mean F1 over fresh seeds above it: {_in_words(found.repeats)}")
        if found.patches < LEAST_PATCHES:
            typer.echo(f"intervals are unreliable: fewer than {LEAST_PATCHES} patches")
    typer.echo(f"{found.verdict}: {this}: {found.why}")
    if found.verdict == "promoted":
        back = f"; lsml rollback {found.model} takes it back" if found.champion_before else ""
        typer.echo(f"{found.model}@champion is version {found.version}{back}")


def _in_words(ahead: "Difference") -> str:
    low, high = ahead.interval
    return f"{ahead.value:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
