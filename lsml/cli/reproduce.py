"""`lsml reproduce`: the same training again, compared with what the run recorded."""

from typing import TYPE_CHECKING, Annotated

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.jobs.reproduce import Reproduction

_DIFFERS = 6


def reproduce(
    run_id: Annotated[str, typer.Argument(help="a trial's or a training's run", metavar="RUN")],
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train a run's configuration again and say whether the same comes out; exit 6 where it does not."""
    from lsml.cli.output import Reporter
    from lsml.jobs.reproduce import reproduce as job

    with Reporter() as reporter:
        found = job(run_id, data=data, watcher=reporter)
    if json:
        import json as encoder

        record = {"run_id": found.run_id, "recorded": found.recorded, "again": found.again, "changed": found.changed}
        typer.echo(encoder.dumps(record))
    else:
        _print(found)
    if found.differing:
        raise typer.Exit(_DIFFERS)


def _print(found: "Reproduction") -> None:
    from lsml.cli.output import print_table

    rows = [
        [
            name.removeprefix("best_"),
            f"{value:.6g}",
            f"{found.again[name]:.6g}",
            f"{found.differing.get(name, 0.0):+.2g}",
        ]
        for name, value in found.recorded.items()
    ]
    print_table(["score", "recorded", "again", "difference"], rows, title=f"run {found.run_id}")
    for name, (then, now) in found.changed.items():
        typer.echo(f"{name.replace('_', ' ')}: {then or 'unknown'} then, {now or 'unknown'} now")
    if found.differing:
        typer.echo(f"{len(found.differing)} of {len(found.recorded)} scores differ")
    else:
        typer.echo(f"all {len(found.recorded)} scores are equal to the last digit")
