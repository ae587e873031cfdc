"""Datasets: checked, packed, drawn, and their splits audited."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lsml.audit.facts import Facts
from lsml.audit.splits import Holdout, Pair, Separability, closest_pairs, holdout, separabilities
from lsml.config.draft import SeenPatches, draft_experiment
from lsml.config.schema import TrainConfig
from lsml.data import checks
from lsml.data.augment import Augmentation
from lsml.data.description import draft, regions_alone
from lsml.data.formats import read_image, read_mask
from lsml.data.holdout import training_splits
from lsml.data.layout import DESCRIPTION, HDF5, PatchFiles
from lsml.data.pack import PackedSplit
from lsml.data.quality import look_at_files
from lsml.data.scan import Scan, layout_of
from lsml.data.sensor import LANDSLIDE4SENSE, Sensor
from lsml.data.splits import TrainingData
from lsml.data.tiles import cut, evenly
from lsml.errors import ConfigError, DataError
from lsml.plots.audit import draw_audit, draw_holdout, draw_pairs, draw_separability, draw_similarity
from lsml.plots.patches import draw_augmented, draw_patches
from lsml.scoring.metrics import to_csv
from lsml.workflows.sources import admitted
from lsml.workspace import Progress, pack_cache


def check(root: Path, *, out: Path, progress: Progress) -> checks.CheckResult:
    """Reads every file of every split below `root`, and draws the findings into the PNG `out`.

    Raises:
        DataError: no dataset there, or `out` cannot be written.
    """
    result = checks.check(root, progress)
    _write(out, draw_audit(result))
    return result


def pack(root: Path, *, out: Path | None, force: bool, progress: Progress) -> tuple[PackedSplit, ...]:
    """Packs train and validation below `out`, or in the studies' folder of packs; opens existing packs.

    Every byte is compared with the manifest's checksums, also of packs made before. Nothing is removed.

    Args:
        force: only warn of values that look wrong.

    Raises:
        DataError: the folder or its files cannot be used, or a pack differs from what was written.
    """
    data = TrainingData.prepare(root, out or pack_cache(), progress)
    admitted(data, root, force=force)
    packs = (data.train, data.validation)
    for done, split in enumerate(packs, 1):
        split.verify()
        progress("verified packs", done, len(packs))
    return packs


def describe(root: Path) -> Path | None:
    """Writes a `dataset.yaml` to be filled in into the dataset's folder, by looking at its train images.

    Returns:
        Its path; None where it is not needed, as the images are Landslide4Sense's by their values.

    Raises:
        ConfigError: there is such a file, and it has a mistake.
        DataError: no patches there, an image that cannot be read, or there is such a file already, with bands.
    """
    scan = Scan.of(root, ("train", "validation"))
    path, told = scan.root / DESCRIPTION, regions_alone(scan.root)
    files = scan.require("train")
    if _of_landslide4sense(files):
        return None
    try:
        path.write_text(draft(scan.images, told), encoding="utf-8")
    except OSError as error:
        raise DataError(f"description {path}", f"cannot be written: {error.strerror}", "check the folder") from None
    return path


def _of_landslide4sense(files: Sequence[PatchFiles]) -> bool:
    """Whether images are what their format is taken for without a description."""
    if files[0].image.suffix.lower() not in HDF5:
        return False
    try:
        found = look_at_files([patch._replace(mask=None) for patch in files], LANDSLIDE4SENSE)
    except DataError:
        # Other bands, or a file that the draft will not get over either.
        return False
    return not any(finding.severity == "error" for finding in found)


def init(root: Path, out: Path | None) -> Path:
    """Writes an experiment file for the patches below `root`, by looking at them: their number, size, bands and masks.

    Args:
        out: the file; None for one in the current folder that is called as the dataset's folder.

    Returns:
        The file.

    Raises:
        ConfigError: there is such a file, or it cannot be written.
        DataError: no patches there, a file that cannot be read, or what the bands are is not known.
    """
    splits = training_splits(root)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip("-._") or "experiment"
    path, patches = out or Path(f"{name}.yaml"), (*splits.train, *splits.validation)
    masks = [patches[place].mask for place in evenly(len(patches), _LOOKED_AT)]
    shares = np.array([(read_mask(mask, splits.sensor) == 1).mean() for mask in masks if mask])
    seen = SeenPatches(
        path=str(root),
        train=len(splits.train),
        validation=len(splits.validation),
        one_folder=layout_of(root).name == "bare",
        held_out=splits.held_out,
        side=splits.sensor.tile or min(read_image(patches[0].image, splits.sensor).shape[:2]),
        sensor=splits.sensor.name,
        bands=[band.name for band in splits.sensor.bands],
        landslide=float(shares.mean()),
        empty=float((shares == 0).mean()),
        idle=splits.sensor.without_effect,
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(draft_experiment(name, seen, str(path)))
    except FileExistsError:
        raise ConfigError(f"experiment {path}", "already exists", "choose another file with --out FILE") from None
    except OSError as error:
        raise ConfigError(f"experiment {path}", str(error.strerror), "choose another file with --out FILE") from None
    return path


_LOOKED_AT = 32

EPOCHS = 5
"""How many augmented versions of each patch are drawn."""

ShownSplit = Literal["train", "validation"]


def show(root: Path, *, out: Path, patches: int, split: ShownSplit) -> list[str]:
    """Draws `patches` of the split, evenly over it, into the PNG `out`; gives their ids.

    Raises:
        DataError: the folder or its files cannot be used, or `out` cannot be written.
    """
    chosen, sensor = _choose(root, patches, split)
    ids = [patch.id for patch in chosen.values()]
    _write(out, draw_patches(*_read(chosen.values(), sensor), ids, sensor))
    return ids


def show_augmented(root: Path, *, out: Path, patches: int, split: ShownSplit, config: TrainConfig) -> list[str]:
    """Draws patches as `show` chooses them, each with its versions of the first epochs; gives their ids.

    The versions are those that a training on all patches of the split sees with the seed and the augmentation of
    `config`, but for mix-up and CutMix: these are between the patches of a batch, for which those that are drawn stand
    here.

    Raises:
        DataError: as of `show`.
    """
    chosen, sensor = _choose(root, patches, split)
    ids = [patch.id for patch in chosen.values()]
    images, masks = (_squares(arrays, sensor.tile) for arrays in _read(chosen.values(), sensor))
    # Zero is drawn black, as missing values are; interpolation would spread those.
    images = np.nan_to_num(images.astype(np.float32), posinf=0, neginf=0)
    augment = Augmentation(config.augment, masks.shape[1:], sensor)
    versions = [(images, masks)]
    for epoch in range(1, EPOCHS + 1):
        pairs = [
            augment(image, mask, seed=config.seed, epoch=epoch, index=index)
            for index, image, mask in zip(chosen, images, masks, strict=True)
        ]
        changed, moved = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        changed, truth = augment.mix(changed, moved[..., None], seed=config.seed, epoch=epoch, step=0)
        versions.append((changed, truth[..., 0]))
    titles = ["as it is", *(f"epoch {epoch}" for epoch in range(1, EPOCHS + 1))]
    _write(out, draw_augmented(versions, ids, titles, sensor))
    return ids


def _choose(root: Path, patches: int, split: ShownSplit) -> tuple[dict[int, PatchFiles], Sensor]:
    """Files by their place in the split, and what they are."""
    splits = training_splits(root)
    files = splits.train if split == "train" else splits.validation
    return {place: files[place] for place in evenly(len(files), patches)}, splits.sensor


def _read(chosen: Iterable[PatchFiles], sensor: Sensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    images = [read_image(patch.image, sensor) for patch in chosen]
    return images, [read_mask(patch.mask, sensor) for patch in chosen if patch.mask]


def _squares(arrays: Sequence[np.ndarray], tile: int | None) -> np.ndarray:
    """The middle of each, where images are cut to train on."""
    if tile is None:
        return np.stack(arrays)
    corners = ([max(length - tile, 0) // 2 for length in array.shape[:2]] for array in arrays)
    return np.stack([cut(array, row, column, tile) for array, (row, column) in zip(arrays, corners, strict=True)])


def _write(out: Path, picture: bytes) -> None:
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise DataError(f"picture {out}", str(error.strerror), "choose another file with --out") from None


_DRAWN = 6


@dataclass(frozen=True)
class SplitAudit:
    """The measures of a dataset's splits.

    Attributes:
        counts: patches of each split.
        holdout: how optimistically biased a random hold-out is; None where train has too few patches with landslides.
        pairs: for each patch of a later split and each earlier split the closest patch, the most alike first.
        separabilities: of every two splits that are large enough.
        files: what was written.
    """

    root: Path
    sensor: Sensor
    counts: dict[str, int]
    holdout: Holdout | None
    pairs: tuple[Pair, ...]
    separabilities: tuple[Separability, ...]
    files: tuple[Path, ...]


def audit_splits(root: Path, *, output: Path, seed: int, progress: Progress) -> SplitAudit:
    """Measures the splits below `root`, and writes figures and `closest_pairs.csv` into the folder `output`.

    Files of an earlier audit there are replaced.

    Raises:
        DataError: no dataset there, a file of it that cannot be read, or `output` cannot be written.
    """
    facts = Facts.read(root, seed=seed, progress=progress)
    pairs = closest_pairs(facts, progress)
    separable = separabilities(facts, seed=seed)
    optimism = holdout(facts.pixels, seed=seed, progress=progress)
    written: dict[str, bytes] = {}
    if pairs:
        drawn = pairs[:_DRAWN]
        shown = [file for pair in drawn for file in (pair.file, pair.match)]
        images = {file: read_image(facts.root / file, facts.sensor) for file in shown}
        written["closest_pairs.csv"] = to_csv([pair._asdict() for pair in pairs]).encode()
        written["closest_pairs.png"] = draw_pairs(drawn, images, facts.sensor)
        written["similarity.png"] = draw_similarity(pairs)
    if separable:
        written["separability.png"] = draw_separability(separable, facts.sensor)
    if optimism:
        written["random_holdout.png"] = draw_holdout(optimism)
    counts = Counter(patch.split for patch in facts.patches)
    return SplitAudit(
        facts.root,
        facts.sensor,
        dict(counts),
        optimism,
        tuple(pairs),
        tuple(separable),
        tuple(_write_audit(output, written)),
    )


def _write_audit(output: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
    except OSError as error:
        raise DataError(
            f"folder {output}", f"cannot be written ({error.strerror})", "choose another with --out DIR"
        ) from None
    return [output / name for name in files]
