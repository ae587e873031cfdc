"""`lsml doctor`: whether this machine has what a study needs."""

import typer

from lsml.cli import options


def doctor(
    storage: options.Storage = None,
    require_gpu: options.RequireGpu = False,
    json: options.Json = False,
) -> None:
    """Check versions, device, stores and disk by using them."""
    from dataclasses import asdict

    from lsml.workflows.doctor import examine

    findings = examine(storage=storage, require_gpu=require_gpu)
    if json:
        options.print_json([asdict(finding) for finding in findings], indent=2)
    else:
        for finding in findings:
            typer.echo(f"{finding.state:8}{finding.what}: {finding.detail}")
            if finding.fix:
                typer.echo(f"{'':8}{finding.fix}")
    if any(finding.state == "error" for finding in findings):
        raise typer.Exit(4)
