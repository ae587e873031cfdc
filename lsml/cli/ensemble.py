"""`lsml ensemble`: the models of a study whose mean is best on validation, as one model."""

from typing import TYPE_CHECKING, Annotated

import typer

from lsml.cli import options

if TYPE_CHECKING:
    from lsml.jobs.ensemble import Ensemble


def ensemble(
    study: Annotated[str, typer.Argument(help="name of a study that has ended", metavar="STUDY")],
    members: Annotated[
        int, typer.Option("--members", help="members at most; a model may be taken several times", min=2, max=100)
    ] = 8,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="registered model, instead of the study's own", parser=options.text, metavar="MODEL"
        ),
    ] = None,
    data: options.Data = None,
    storage: options.Storage = None,
    json: options.Json = False,
) -> None:
    """Register the mean of a study's best models as one model, without training."""
    from lsml.cli.output import Reporter
    from lsml.jobs.ensemble import ensemble as job

    with Reporter() as reporter:
        found = job(study, most=members, name=name, storage=storage, data=data, progress=reporter.step)
    if json:
        import json as encoder
        from dataclasses import asdict

        record = asdict(found) | {"members": [member._asdict() for member in found.members]}
        typer.echo(encoder.dumps(record | {"held_out": found.held_out and found.held_out._asdict()}))
    else:
        _print(found)


def _print(found: "Ensemble") -> None:
    from lsml.cli.output import print_table

    rows = [[f"trial {m.trial}", str(m.weight), f"{m.f1:.4f}", m.run_id] for m in found.members]
    title = f"ensemble of {len(rows)} of {found.candidates} models of study {found.study}"
    print_table(["member", "counts", "its own validation F1", "run"], rows, title=title)
    typer.echo(
        f"validation F1 {found.f1:.4f} at threshold {found.threshold:.4f}; best trial alone {found.best_f1:.4f} "
        f"({found.patches} patches)"
    )
    typer.echo("too good to be true: members and threshold were chosen on these very patches")
    if found.held_out:
        typer.echo(
            "chosen on one half of them and judged on the other, both ways: such an ensemble has F1 "
            f"{found.held_out.ensemble:.4f}, the best trial {found.held_out.single:.4f}"
        )
    typer.echo(f"{found.parameters:,} parameters, {found.latency_ms:.1f} ms per patch here")
    typer.echo(f"registered: {found.model} version {found.version} (alias ensemble)")
    typer.echo("next, what it gains on patches that nothing was chosen on:")
    for run_id in (found.run_id, found.best_run_id):
        typer.echo(f"  lsml evaluate --run-id {run_id}")
    typer.echo(f"  lsml compare {found.best_run_id} {found.run_id}")
    typer.echo(f"ensemble run: {found.run_id}")
