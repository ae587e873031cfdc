"""Checks a dataset: reads every file of every split and says, with file names, what would spoil a study.

The test split is read here too, and stays sealed all the same. A seal protects a score: nothing of the test patches
may reach the choice of a model. What leaves this module is counts, ranges, shares of landslide and which files hold the
same image; no model is loaded, nothing is fitted, and only the command that prints the result imports it (a test holds
that). Leakage between the splits cannot be found in any other way.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsml.data.description import describe
from lsml.data.formats import read_image, read_mask
from lsml.data.layout import LAYOUTS, below
from lsml.data.listing import SPLITS, Finding, SplitFiles
from lsml.data.quality import examine, examine_forms, examine_masks, form_of
from lsml.data.quality.look import Look
from lsml.data.scan import Scan
from lsml.data.sensor import Sensor, landslide_share
from lsml.errors import DataError
from lsml.workspace import Progress


class _ImageFacts(NamedTuple):
    """What one image contributes to the check.

    Attributes:
        look: what the rules know of it; its name is its path below the dataset.
        mean: of the finite values of each band, NaN where it has none.
        size: height and width in pixels.
        digest: of its values.
    """

    look: Look
    mean: np.ndarray
    size: tuple[int, ...]
    digest: bytes


class SplitSummary(NamedTuple):
    """Figures of one split, over the files that could be read.

    Attributes:
        patches: how many image files, readable or not.
        masks: how many mask files.
        images_read: images that could be read.
        landslide_fractions: the share of landslide pixels in each readable mask, 0..1.
        minimum, maximum, mean: a stored value a band each, over the finite ones; NaN where there are none.
        nonfinite: how many NaN and inf each band has.
    """

    name: str
    patches: int
    masks: int
    images_read: int
    landslide_fractions: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    nonfinite: np.ndarray

    @property
    def landslide_share(self) -> float | None:
        """Share of landslide among all mask pixels; None without a mask."""
        return float(self.landslide_fractions.mean()) if len(self.landslide_fractions) else None

    @property
    def empty_share(self) -> float | None:
        """Share of masks without any landslide; None without a mask."""
        return float((self.landslide_fractions == 0).mean()) if len(self.landslide_fractions) else None


class CheckResult(NamedTuple):
    """The figures and findings of a dataset, errors before warnings, and what was taken otherwise than published."""

    root: Path
    sensor: Sensor
    layout: str
    splits: tuple[SplitSummary, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check(root: Path, progress: Progress | None = None) -> CheckResult:
    """Reads every image and mask below `root` and reports all findings, never only the first.

    Args:
        progress: called with ("patches", patches read, patches in all).

    Raises:
        DataError: no such folder, or no known layout in it: there is nothing to check.
    """
    scan = Scan.of(root, SPLITS)
    sensor = describe((scan.root, scan.base), scan.images)
    findings = list(scan.findings)
    images: dict[str, list[_ImageFacts]] = {split: [] for split in SPLITS}
    masks: dict[str, list[float]] = {split: [] for split in SPLITS}
    read = _Read(scan.root, sensor, findings, set(), {})
    patches = [(split, number) for split, files in scan.splits.items() for number in files.numbers]
    for done, (split, number) in enumerate(patches, 1):
        files = scan.splits[split]
        mask = read.mask(files.masks.get(number), masks[split])
        read.image(files.images.get(number), mask, images[split])
        if progress is not None:
            progress("patches", done, len(patches))
    splits = tuple(_summary(name, scan.splits[name], images[name], masks[name], len(sensor)) for name in SPLITS)
    for name in SPLITS:
        findings += examine([facts.look for facts in images[name]], sensor)
        paths = [*scan.splits[name].masks.values()]
        findings += examine_masks(scan.folders[name][1], masks[name], sensor, paths)
    findings += examine_forms(read.marks)
    if sensor.tile is None:
        findings += _sizes([facts for split in SPLITS for facts in images[split]])
    findings += _repetitions(images)
    notes = (*_as_read(scan, sensor), *scan.notes, *sorted(read.forms))
    return CheckResult(scan.root, sensor, scan.layout, splits, _order(findings), notes)


def _as_read(scan: Scan, sensor: Sensor) -> Iterator[str]:
    """What the patches are taken for, and where they lie; in one line where they are not Landslide4Sense's."""
    remarks, folders = sensor.remarks.removeprefix("; "), _about_folders(scan)
    yield from ["; ".join((remarks, *folders))] if remarks else folders


def _about_folders(scan: Scan) -> Iterator[str]:
    """Where splits lie whose folders do not have the published names."""
    published = {pair for folders in LAYOUTS.values() for pair in folders.values()}
    for pair in dict.fromkeys(scan.folders[split] for split in SPLITS):
        names = ", ".join(split for split in SPLITS if scan.folders[split] == pair)
        if pair not in published:
            yield f"{names} from {pair[0]} and {pair[1]}"


def _order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then the rarest kinds, so that one odd file is not buried under hundreds of alike ones."""
    unordered = list(findings)
    often = Counter((finding.severity, finding.kind) for finding in unordered)
    return tuple(sorted(unordered, key=lambda f: (f.severity != "error", often[f.severity, f.kind], f.kind)))


class _Read(NamedTuple):
    """Reads files; one that is refused becomes a finding in the reader's own words.

    Attributes:
        forms: what was taken otherwise than usual.
        marks: how masks mark landslide, by their paths.
    """

    root: Path
    sensor: Sensor
    findings: list[Finding]
    forms: set[str]
    marks: dict[str, str]

    def mask(self, path: Path | None, fractions: list[float]) -> np.ndarray | None:
        """Adds the share of landslide of a mask, and gives it where it can be read."""
        if path is None:
            return None
        notes: set[str] = set()
        try:
            mask = read_mask(path, self.sensor, notes)
        except DataError as error:
            self._refuse("mask", path, error)
            return None
        fractions.append(landslide_share(mask))
        self.marks[below(self.root, path)] = form_of(mask, notes)
        self.forms.update(notes)
        return mask

    def image(self, path: Path | None, mask: np.ndarray | None, images: list[_ImageFacts]) -> None:
        """Adds the facts of an image."""
        if path is None:
            return
        try:
            stored = read_image(path, self.sensor, self.forms)
        except DataError as error:
            self._refuse("image", path, error)
        else:
            images.append(_image_facts(Look.of(below(self.root, path), stored, self.sensor, mask), stored))

    def _refuse(self, kind: str, path: Path, error: DataError) -> None:
        self.findings.append(
            Finding("error", f"unusable {kind}", (below(self.root, path),), f"{error.why}; {error.fix}")
        )


@np.errstate(over="ignore", invalid="ignore")
def _image_facts(look: Look, stored: np.ndarray) -> _ImageFacts:
    """The facts of an image float64 `(H, W, C)` of stored values."""
    pixels = stored.reshape(-1, stored.shape[-1])
    count = len(pixels) - look.nonfinite
    mean = np.where(np.isfinite(pixels), pixels, 0.0).sum(axis=0) / np.maximum(count, 1)
    digest = hashlib.sha256(stored.tobytes()).digest()
    return _ImageFacts(look, np.where(count > 0, mean, np.nan), stored.shape[:2], digest)


def _summary(
    name: str, files: SplitFiles, images: Sequence[_ImageFacts], fractions: Sequence[float], bands: int
) -> SplitSummary:
    return SplitSummary(
        name=name,
        patches=len(files.images),
        masks=len(files.masks),
        images_read=len(images),
        landslide_fractions=np.array(fractions),
        minimum=_over(np.fmin, [facts.look.minimum for facts in images], bands),
        maximum=_over(np.fmax, [facts.look.maximum for facts in images], bands),
        mean=_mean([facts.mean for facts in images], bands),
        nonfinite=np.sum([np.zeros(bands, np.int64), *(facts.look.nonfinite for facts in images)], axis=0),
    )


def _over(merge: np.ufunc, rows: list[np.ndarray], bands: int) -> np.ndarray:
    return merge.reduce(rows, axis=0) if rows else np.full(bands, np.nan)


def _mean(rows: list[np.ndarray], bands: int) -> np.ndarray:
    """The mean over patches of each band, those without a finite value left out."""
    table = np.array(rows).reshape(-1, bands)
    known = np.isfinite(table).sum(axis=0)
    return np.where(known > 0, np.nansum(table, axis=0) / np.maximum(known, 1), np.nan)


def _sizes(images: Sequence[_ImageFacts]) -> Iterator[Finding]:
    """Images of another size than most."""
    if not images:
        return
    (usual, _), *others = Counter(facts.size for facts in images).most_common()
    for size, _ in others:
        found, most = (" x ".join(map(str, pixels)) for pixels in (size, usual))
        text = f"{found} pixels, where most have {most}; cut all patches to one size"
        yield Finding("error", "size", tuple(facts.look.name for facts in images if facts.size == size), text)


def _repetitions(images: dict[str, list[_ImageFacts]]) -> Iterator[Finding]:
    """Images with the very same values, by their digest: leakage where they lie in two splits."""
    places: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for split in SPLITS:
        for facts in images[split]:
            places[facts.digest].append((split, facts.look.name))
    for found in places.values():
        files = tuple(file for _, file in found)
        splits = [split for split in SPLITS if split in {name for name, _ in found}]
        if len(splits) > 1:
            text = f"{files[1]} equals {files[0]}: leakage between {' and '.join(splits)}; keep it in one split"
            yield Finding("error", "leakage", files, text)
        elif len(files) > 1:
            yield Finding("warning", "duplicate", files, f"{files[1]} equals {files[0]}; one of them is enough")
