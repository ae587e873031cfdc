"""`lsml data`: get or make patches, check them, pack them, look at them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsml.cli import options, scenes
from lsml.errors import ConfigError

if TYPE_CHECKING:
    from lsml.config.schema import TrainConfig
    from lsml.data.checks import CheckResult
    from lsml.data.listing import Finding
    from lsml.data.pack import PackedSplit
    from lsml.workflows.data import SplitAudit

_FILES_SHOWN, _ALIKE_SHOWN = 3, 12

Folder = Annotated[Path, typer.Argument(help="Folder of the patches.", metavar="DIR")]

app = options.Commands("Get, check, pack and plot datasets.", no_args_is_help=True)


_OF_PATCHES, _OF_SCENES = ("train", "validation", "test", "regions"), ("height", "width")
"""Parameters of `_synth` that only one kind of what it makes has."""


@app.command("synth")
def _synth(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Folder to create.", metavar="OUT")] = Path("data/synthetic"),
    seed: options.Seed = None,
    train: Annotated[int, typer.Option(help="Patches in the train split.", min=1)] = 96,
    validation: Annotated[int, typer.Option(help="Patches in the validation split.", min=1)] = 32,
    test: Annotated[int, typer.Option(help="Patches in the test split.", min=1)] = 32,
    regions: Annotated[
        int, typer.Option(help="Regions that differ, one of them validation and one test; 0 for none.", min=0)
    ] = 0,
    scene: Annotated[
        bool, typer.Option("--scene", help="Create one GeoTIFF scene with its DEM and landslides instead of patches.")
    ] = False,
    height: Annotated[int, typer.Option(help="Rows of the scene, of 10 m.", min=1)] = 1024,
    width: Annotated[int, typer.Option(help="Columns of the scene.", min=1)] = 1024,
) -> None:
    """Create a synthetic dataset in the Landslide4Sense format, or a scene of the same bands."""
    from lsml.cli.output import Reporter

    for name in _OF_PATCHES if scene else _OF_SCENES:
        options.check_not_given(context, name, "patches" if scene else "a scene: --scene")
    with Reporter() as reporter:
        if scene:
            from lsml.scenes.synthetic import synthesize_scene

            progress = partial(reporter.step, "rows")
            synthesize_scene(out, height=height, width=width, seed=seed or 0, progress=progress)
        else:
            from lsml.data.synthetic import synthesize

            counts = {"train": train, "validation": validation, "test": test}
            synthesize(out, seed=seed or 0, regions=regions, progress=partial(reporter.step, "patches"), **counts)
    if scene:
        typer.echo(f"made a scene of {height} x {width} pixels, its DEM, mask and landslides in {out}")
        typer.echo(f"next: lsml predict {out / 'scene.tif'} --dem {out / 'dem.tif'} --model demo@champion --out maps")
        return
    if regions:
        typer.echo(f"{regions} regions, named in {out / 'patches.csv'}")
    typer.echo(f"made {train} train, {validation} validation and {test} test patches in {out}")
    typer.echo(f"next: lsml data show {out}")


@app.command("show")
def _show(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.", metavar="FILE")] = Path("patches.png"),
    patches: Annotated[
        int, typer.Option("--patches", help="Number of patches, evenly spaced over the split.", min=1, max=64)
    ] = 6,
    split: Annotated[
        Literal["train", "validation"],
        typer.Option(
            "--split", help="Split to plot.", parser=options.split("train", "validation"), metavar="train|validation"
        ),
    ] = "train",
    augment: Annotated[
        float | None,
        typer.Option("--augment", help="Augment the patches with this augment.strength.", min=0, max=1, metavar="S"),
    ] = None,
    seed: options.Seed = None,
    assignments: options.Set = None,
) -> None:
    """Plot patches: true colour, false colour, slope and mask, or what augmentation makes of them.

    With --augment, each patch is shown as it is and as five epochs of a training with --seed see it, with the mask as
    outline; --set changes other fields of augment, such as --set augment.elastic=1.
    """
    if augment is None:
        if seed is not None or assignments:
            raise ConfigError("data show", "--seed and --set need --augment", "give --augment S too")
        from lsml.workflows.data import show as job

        drawn = job(folder, out=out, patches=patches, split=split)
    else:
        from lsml.workflows.data import show_augmented

        config = _augmented(augment, seed or 0, assignments or [])
        drawn = show_augmented(folder, out=out, patches=patches, split=split, config=config)
    typer.echo(f"drew {', '.join(drawn)} into {out}")


def _augmented(strength: float, seed: int, assignments: list[str]) -> "TrainConfig":
    from lsml.config.fields import parse_assignments
    from lsml.config.schema import TrainConfig, with_values

    values = parse_assignments(assignments)
    for name in values:
        if not name.startswith("augment.") or name == "augment.strength":
            raise ConfigError(f"--set {name}", "cannot be set here", "set fields of augment other than strength")
    return with_values(TrainConfig(), {"seed": seed, "augment.strength": strength} | values)


@app.command("describe")
def _describe(folder: Folder) -> None:
    """Write a draft of dataset.yaml, which says what the bands are, into the folder of the patches."""
    from lsml.workflows.data import describe as job

    path = job(folder)
    if path is None:
        typer.echo("these are Landslide4Sense's 14 bands, by their values: no dataset.yaml is needed")
        typer.echo(f"next: lsml data check {folder}")
        return
    typer.echo(f"wrote {path}")
    typer.echo(f"next: fill in roles, units and scales in it, then lsml data check {folder}")


@app.command("check")
def _check(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.", metavar="FILE")] = Path("check.png"),
    json: options.Json = False,
) -> None:
    """Check every file of every split; exit code 3 if there are errors.

    The test split is read too, to find leakage: figures about it are printed, no model sees it.
    """
    from lsml.cli.output import Reporter
    from lsml.workflows.data import check as job

    with Reporter() as reporter:
        audit = job(folder, out=out, progress=reporter.step)
    if json:
        options.print_json(_audit_record(audit) | {"figure": str(out)})
    else:
        _print_audit(audit, out)
    if audit.errors:
        raise typer.Exit(3)


def _audit_record(audit: "CheckResult") -> dict[str, Any]:
    return {
        "dataset": str(audit.root),
        "layout": audit.layout,
        "errors": audit.errors,
        "warnings": len(audit.findings) - audit.errors,
        "splits": {
            split.name: {
                "patches": split.patches,
                "masks": split.masks,
                "images_read": split.images_read,
                "masks_read": len(split.landslide_fractions),
                "landslide_share": split.landslide_share,
                "empty_share": split.empty_share,
                "nonfinite": {
                    band.name: int(n) for band, n in zip(audit.sensor.bands, split.nonfinite, strict=True) if n
                },
            }
            for split in audit.splits
        },
        "findings": [finding._asdict() for finding in audit.findings],
        "notes": list(audit.notes),
    }


def _print_audit(audit: "CheckResult", out: Path) -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import check_table

    print_table(check_table(audit))
    for note in audit.notes:
        typer.echo(f"info: {note}")
    shown: dict[tuple[str, str], int] = {}
    for finding in audit.findings:
        key = (finding.severity, finding.kind)
        shown[key] = shown.get(key, 0) + 1
        if shown[key] <= _ALIKE_SHOWN:
            typer.echo(_line(finding))
    for (severity, kind), count in shown.items():
        if count > _ALIKE_SHOWN:
            typer.echo(f"{severity}: {kind}: {count - _ALIKE_SHOWN} more; --json lists all")
    typer.echo(f"errors: {audit.errors}, warnings: {len(audit.findings) - audit.errors}; drawn in {out}")


def _line(finding: "Finding") -> str:
    more = len(finding.files) - _FILES_SHOWN
    files = ", ".join(finding.files[:_FILES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"{finding.severity}: {finding.kind}: {files}: {finding.text}"


@app.command("audit")
def _audit(
    folder: Folder,
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder to write figures and the table of pairs into.", metavar="DIR"),
    ] = Path("audit"),
    seed: options.Seed = None,
    json: options.Json = False,
) -> None:
    """Measure leakage between splits: near-duplicates, separability, optimistic bias of a random hold-out.

    The test split is read too, to find leakage: distances between patches are printed, no model sees it.
    """
    from lsml.cli.output import Reporter
    from lsml.workflows.data import audit_splits

    with Reporter() as reporter:
        found = audit_splits(folder, output=out, seed=seed or 0, progress=reporter.step)
    if json:
        options.print_json(_split_record(found))
    else:
        _print_splits(found)


def _split_record(found: "SplitAudit") -> dict[str, Any]:
    holdout = found.holdout
    return {
        "dataset": str(found.root),
        "patches": found.counts,
        "random_holdout": holdout
        and {
            "patches": holdout.patches,
            "pixels": holdout.pixels,
            "f1_random": list(holdout.random),
            "f1_blocks": list(holdout.blocks),
            "f1_random_above_blocks": holdout.optimism._asdict(),
            "means": holdout.sentence,
        },
        "closest_pairs": [pair._asdict() for pair in found.pairs],
        "separability": [one._asdict() | {"bands": one.bands.tolist()} for one in found.separabilities],
        "files": [str(file) for file in found.files],
    }


def _print_splits(found: "SplitAudit") -> None:
    _print_holdout(found)
    _print_pairs(found)
    _print_separability(found)
    typer.echo("the test split was read for distances and this guess alone: no model of yours has seen it")
    typer.echo(f"written: {', '.join(map(str, found.files)) or 'nothing'}")


def _print_holdout(found: "SplitAudit") -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import holdout_table

    if (holdout := found.holdout) is None:
        typer.echo("random hold-out: not measured, train has fewer than 10 patches with masks, or pixels of one class")
        return
    print_table(holdout_table(holdout))
    typer.echo(holdout.sentence)


def _print_pairs(found: "SplitAudit") -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import pairs_table

    if not found.pairs:
        typer.echo("near-duplicates across splits: there is one split only")
        return
    print_table(pairs_table(found.pairs))
    alike = [pair for pair in found.pairs if pair.kind != "apart"]
    for pair in alike[:_ALIKE_SHOWN]:
        words = "equals" if pair.kind == "exact" else f"is nearly ({pair.correlation:.3f}, {pair.orientation})"
        typer.echo(f"leakage: {pair.file} {words} {pair.match}")
    if len(alike) > _ALIKE_SHOWN:
        typer.echo(f"leakage: {len(alike) - _ALIKE_SHOWN} more; closest_pairs.csv lists all")


def _print_separability(found: "SplitAudit") -> None:
    from lsml.cli.output import print_table
    from lsml.report.summary import separability_table

    if not found.separabilities:
        typer.echo("separability: not measured, it takes two splits of at least 5 patches")
        return
    print_table(separability_table(found.separabilities, found.sensor))
    typer.echo("AUC .5: as if drawn from one region; 1: every patch shows its split, and scores do not carry over")


@app.command("pack")
def _pack(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to keep the packs.  [default: where studies look]", parser=options.path,
                     metavar="DIR", show_default=False),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Pack train and validation as studies do on first use, and verify their checksums."""
    from lsml.cli.output import Reporter, print_table
    from lsml.report.summary import packs_table
    from lsml.workflows.data import pack as job

    with Reporter() as reporter:
        records = [_pack_record(split) for split in job(folder, out=out, force=force, progress=reporter.step)]
    if json:
        options.print_json({"packs": records})
        return
    print_table(packs_table(records))
    for record in records:
        typer.echo(f"{record['split']}: checksums verified, in {record['path']}")


def _pack_record(split: "PackedSplit") -> dict[str, Any]:
    return {
        "split": split.name,
        "patches": len(split),
        "dtype": str(split.dtype),
        "bytes": sum(path.stat().st_size for path in split.path.iterdir()),
        "nonfinite": {band: count for band, count in split.nonfinite.items() if count},
        "fingerprint": split.fingerprint,
        "path": str(split.path),
    }


@app.command("download")
def _download(
    folder: Annotated[Path, typer.Argument(help="Folder to download into.", metavar="DIR")],
    source: Annotated[
        Literal["zenodo", "huggingface"],
        typer.Option(
            "--source", help="Source: zenodo (masks for train only, 3 GB) or huggingface (for all splits, 9 GB)."
        ),
    ] = "zenodo",
    url: Annotated[
        str | None,
        typer.Option("--url", help="Scheme and host of a mirror of that source.", parser=options.text, metavar="BASE"),
    ] = None,
) -> None:
    """Download Landslide4Sense, or resume that, and verify it; the licence of the data is unknown."""
    from lsml.cli.output import Reporter
    from lsml.data.download import download as job

    with Reporter() as reporter:
        done = job(folder, source=source, address=url, progress=reporter.step)
    brought = f"{done.fetched} fetched" if done.fetched else "nothing to fetch"
    typer.echo(f"{done.folder}: {brought}, {done.verified} files as in checksums.json")
    if not done.published:
        typer.echo("the source published no checksums: what came first counts as right")
    typer.echo("the licence of these data is unknown: do not redistribute them")
    typer.echo(f"next: lsml data check {done.folder}")


app.command("tile")(scenes.tile)
app.command("suggest")(scenes.suggest)
