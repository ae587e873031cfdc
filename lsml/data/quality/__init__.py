"""What is wrong with the values of patches, as `lsml data check` and every door ask it.

`lsml data check` looks at every file and lists what the rules say. The doors (tune, train, refit, promote, pack,
evaluate, predict) look at a few patches, evenly over all: `admit` refuses what cannot be learnt from or would be
mistaken for something else, and warns of what is only unusual.
"""

import contextlib
import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lsml.data.formats import mask_values, read_image, read_mask
from lsml.data.formats.masks import shown
from lsml.data.layout import PatchFiles
from lsml.data.listing import Finding
from lsml.data.pack import PackedSplit
from lsml.data.quality.look import Look
from lsml.data.quality.rules import HOLES, REPLACED, RULES, Seen
from lsml.data.sensor import Sensor
from lsml.data.tiles import corners, cut, evenly
from lsml.errors import DataError, DataWarning
from lsml.names import Tag
from lsml.workspace import Progress

_LOOKED_AT = 16

_LARGEST = 1e18
"""Its square is still a float32, 3.4e38 at most."""

_FEW_LANDSLIDES, _MANY_LANDSLIDES = 0.001, 0.5
"""Landslide shares of a split that are worth a word: about .02 is what the published train split has."""


@np.errstate(over="ignore", invalid="ignore")
def examine(looks: Sequence[Look], sensor: Sensor, *, trained: bool = False) -> list[Finding]:
    """What is wrong with the patches, together or some of them alone, whose names are the findings' files.

    Args:
        trained: whether the sensor's typical values are those of the patches that a model was trained on.
    """
    found: dict[str, Finding] = {}
    left = list(looks)
    for rule in RULES:
        if not left or rule.kind in found:
            continue
        together = rule.says(Seen(left, sensor, trained))
        alone = [look for look in left if rule.says(Seen([look], sensor, trained))]
        if not (together or alone):
            continue
        severity = rule.together if together else rule.alone
        text = together or rule.says(Seen(alone, sensor, trained)) or rule.says(Seen(alone[:1], sensor, trained))
        names = tuple(look.name for look in alone or left)
        found[rule.kind] = Finding(severity, rule.kind, names, text)
        if severity == "error":
            left = [look for look in left if look.name not in names]
    return list(found.values())


def examine_masks(
    folder: str, fractions: Sequence[float] | np.ndarray, sensor: Sensor, masks: Sequence[Path] = ()
) -> list[Finding]:
    """What is wrong with the shares of landslide in the masks of a split, whose folder or name is given; 0..1 each.

    Args:
        masks: where they lie, of which a few are looked into for what they hold instead.
    """
    if not len(fractions):
        return []
    share = float(np.mean(fractions))
    if share in (0.0, 1.0):
        why = f"not one landslide pixel{_held(masks, sensor)}" if share == 0 else "every pixel is landslide"
        fix = "add patches with and without landslide, or look at the masks: lsml data check DIR"
        return [Finding("error", "one class", (folder,), f"{why}: nothing to learn from or to score; {fix}")]
    if _FEW_LANDSLIDES <= share <= _MANY_LANDSLIDES:
        return []
    few = f"only {share:.3%} of the pixels are landslide; give more patches with landslides"
    many = f"{share:.1%} of the pixels are landslide; are the masks inverted?"
    return [Finding("warning", "imbalance", (folder,), few if share < _FEW_LANDSLIDES else many)]


def _held(masks: Sequence[Path], sensor: Sensor) -> str:
    """Which values a few masks hold, where `dataset.yaml` says which of them mean landslide."""
    if not (masks and (sensor.landslide or sensor.at_least)):
        return ""
    values: set[object] = set()
    for path in [masks[n] for n in evenly(len(masks), _LOOKED_AT)]:
        # One that cannot be read is told by itself.
        with contextlib.suppress(DataError):
            values |= mask_values(path, sensor)
    each = sorted(values, key=lambda value: (isinstance(value, tuple), value))
    named = ", ".join(str(list(colour) if len(colour) > 1 else colour[0]) for colour in sensor.landslide)
    meant = f"at_least: {sensor.at_least:g}" if sensor.at_least else f"landslide: [{named}]"
    return f" (masks hold {shown(each)}; dataset.yaml says {meant})"


def examine_forms(forms: Mapping[str, str]) -> list[Finding]:
    """Whether masks with landslide, by their names, mark it in the same form, as `form_of` tells it."""
    often = Counter(form for form in forms.values() if form)
    if len(often) < 2:
        return []
    usual = often.most_common(1)[0][0]
    files = tuple(name for name, form in forms.items() if form not in ("", usual))
    why = f"masks are in several forms: {', '.join(f'{n} {form}' for form, n in often.most_common())}"
    return [Finding("warning", "forms of masks", files, f"{why}; do they all mean the same?")]


def form_of(mask: np.ndarray, notes: set[str]) -> str:
    """How a mask marks landslide, by what `read_mask` noted of it; empty where it marks none."""
    said = [note.removeprefix("masks ") for note in notes if note.startswith("masks of")]
    return (said[0] if said else "of 0 and 1") if (mask == 1).any() else ""


def require_usable(files: Sequence[Sequence[PatchFiles]], packs: Sequence[PackedSplit]) -> None:
    """Whether each split can be learnt from and scored, and its values be computed with, whatever they are.

    Args:
        files: what each pack was made of.

    Raises:
        DataError: a split has no landslide, or nothing else; or its values are too large for float32.
    """
    for patches, split in zip(files, packs, strict=True):
        _require_computable(split)
        masks = [patch.mask for patch in patches if patch.mask]
        for finding in examine_masks(split.name, split.landslide_fractions, split.sensor, masks):
            if finding.severity == "error":
                raise finding.error_of(f"{split.name} split")


def _require_computable(split: PackedSplit) -> None:
    """Whether variances of a split's values are finite in float32; what stands for no value may be as large as that."""
    for band, *ends in zip(split.sensor.bands, split.statistics.minimum, split.statistics.maximum, strict=True):
        largest = max(ends, key=abs)
        if abs(largest) > _LARGEST:
            why = f"{band.name} reaches {largest:.3g}, which is beyond what can be computed with"
            fix = f"where that stands for no value, say so in dataset.yaml: nodata: {largest:.9g}"
            raise DataError(f"{split.name} split", why, fix)


def look_at_splits(splits: Sequence[PackedSplit]) -> dict[str, list[Finding]]:
    """What is wrong with a few patches of each split, with all masks, and with images that another split has."""
    found = {split.name: _look_at_split(split) for split in splits}
    for first, second in itertools.combinations(splits, 2):
        for here, there in second.repeats(first):
            found[second.name].append(_leakage(second.ids[here], first, there))
    return {f"{name} split": findings for name, findings in found.items()}


def _leakage(name: str, other: PackedSplit, there: int) -> Finding:
    """What is said of an image that a pack has too."""
    text = f"{name} equals {other.ids[there]} of {other.name}: leakage; keep it in one split"
    return Finding("error", "leakage", (name,), text)


def _look_at_split(split: PackedSplit) -> list[Finding]:
    """What is wrong with a few patches of a split, and with all of its masks."""
    chosen = evenly(len(split), _LOOKED_AT)
    looks = [Look.of(split.ids[n], split.image(n), split.sensor, split.mask(n)) for n in chosen]
    # A pack has replaced them.
    lacking = ", ".join(f"{count} in {band}" for band, count in split.nonfinite.items() if count)
    holes = [Finding("warning", "not finite", (split.name,), f"{HOLES}: {lacking}; {REPLACED}")] if lacking else []
    return [*examine(looks, split.sensor), *holes, *examine_masks(split.name, split.landslide_fractions, split.sensor)]


def look_at_masks(files: Sequence[PatchFiles], sensor: Sensor) -> list[Finding]:
    """Whether a few masks mark landslide in the same form.

    Raises:
        DataError: one of them cannot be read.
    """
    forms = {}
    for patch in [files[n] for n in evenly(len(files), _LOOKED_AT)]:
        if patch.mask:
            notes: set[str] = set()
            forms[str(patch.mask)] = form_of(read_mask(patch.mask, sensor, notes), notes)
    return examine_forms(forms)


def look_at_files(files: Sequence[PatchFiles], sensor: Sensor) -> list[Finding]:
    """What is wrong with a few files that a model is to predict, whose sensor's typical values it was trained on.

    Raises:
        DataError: one of them cannot be read.
    """
    chosen = [files[n] for n in evenly(len(files), _LOOKED_AT)]
    looks = [
        Look.of(
            patch.id, read_image(patch.image, sensor), sensor, read_mask(patch.mask, sensor) if patch.mask else None
        )
        for patch in chosen
    ]
    return examine(looks, sensor, trained=True)


def look_for_repeats(
    files: Sequence[PatchFiles], sensor: Sensor, packs: Sequence[PackedSplit], progress: Progress
) -> list[Finding]:
    """Which files hold an image, or a square of one, that a model was trained or validated on: each of them is read.

    Args:
        packs: what it was trained and validated on; the first has the medians that stand for NaN and inf.
        progress: hears how many files are read.

    Raises:
        DataError: a file cannot be read.
    """
    found = []
    for done, patch in enumerate(files if packs else (), start=1):
        image = read_image(patch.image, sensor).astype(np.float32)
        image = np.where(np.isfinite(image), image, np.asarray(packs[0].statistics.median, np.float32))
        alike = (
            (pack, there)
            for square in _squares(image, sensor.tile)
            for pack in packs
            if (there := pack.index_of(square)) is not None
        )
        found += [_leakage(patch.id, *first) for first in itertools.islice(alike, 1)]
        progress("patches compared with those trained on", done, len(files))
    return found


def _squares(image: np.ndarray, tile: int | None) -> list[np.ndarray]:
    """An image `(H, W, C)` in the squares of its `corners`; whole where there is no size of squares."""
    if tile is None:
        return [image]
    return [cut(image, row, column, tile) for row, column in corners(image.shape[0], image.shape[1], tile)]


def admit(found: Mapping[str, Sequence[Finding]], *, force: bool) -> dict[str, str]:
    """Warns of what is wrong with patches; gives it as tags of a run.

    Args:
        found: what was found, by what it is said of, such as `train split`.
        force: warn of errors too.

    Raises:
        DataError: the first error, unless it is forced.
    """
    each = [(what, finding) for what, findings in found.items() for finding in findings]
    errors = [(what, finding) for what, finding in each if finding.severity == "error"]
    if errors and not force:
        what, first = errors[0]
        raise first.error_of(what, otherwise="; --force takes them as they are")
    tags: dict[str, str] = {}
    for what, finding in each:
        warnings.warn(DataWarning(str(finding.error_of(what))), stacklevel=2)
        tag = f"{Tag.FORCED if finding.severity == 'error' else Tag.WARNING}{what.removesuffix(' split')}"
        tags[tag] = " | ".join([*filter(None, [tags.get(tag)]), finding.text])
    return tags
