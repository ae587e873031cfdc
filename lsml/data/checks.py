"""Checks a dataset: reads every file of every split and says, with file names, what would spoil a study.

The test split is read here too, and stays sealed all the same. A seal protects a score: nothing of the test patches
may reach the choice of a model. What leaves this module is counts, ranges, shares of landslide and which files hold the
same image; no model is loaded, nothing is fitted, and only the command that prints the result imports it (a test holds
that). Leakage between the splits cannot be found in any other way.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lsml.data.description import describe
from lsml.data.formats import read_image, read_mask
from lsml.data.layout import LAYOUTS, below
from lsml.data.listing import SPLITS, Finding, SplitFiles
from lsml.data.scan import Scan
from lsml.data.sensor import BLUE, ELEVATION, SLOPE, Sensor
from lsml.errors import DataError
from lsml.workspace import Progress

_Key = TypeVar("_Key", str, tuple[int, ...])

_SHORT_WAVES = ("coastal", BLUE)
_SHORT_WAVE_MEDIANS = (0.25, 50.0)
"""Where the median of B1 and B2 in a patch of Landslide4Sense lies when the values are stored ones. Air alone scatters
.57 or more of them back (the least in 21 real patches is .575); cloud that saturates the sensor reaches about 20. Raw
reflectance x 10,000 is 800 to 1,100 times as large, reflectance 0..1 a tenth."""
_STEEPEST, _HIGHEST = 90, 8850
"""Degrees and metres: no slope is beyond upright, and no ground above Mount Everest."""

_FEW_LANDSLIDES, _MANY_LANDSLIDES = 0.001, 0.5
"""Landslide shares of a split that are worth a word: about .02 is what the published train split has."""


class _ImageFacts(NamedTuple):
    """What one image contributes to the check; each array has a number a band, NaN where it has no finite value."""

    file: str
    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    nonfinite: np.ndarray
    short_waves: float  # median of the finite values of B1 and B2; NaN of another sensor than Landslide4Sense's
    on_grid: bool  # values are integers over the bands' divisors
    size: tuple[int, ...]  # height and width in pixels
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
    fractions: dict[str, list[float]] = {split: [] for split in SPLITS}
    forms: set[str] = set()
    patches = [(split, number) for split, files in scan.splits.items() for number in files.numbers]
    for done, (split, number) in enumerate(patches, 1):
        findings += _read(scan.root, scan.splits[split], number, sensor, images[split], fractions[split], forms)
        if progress is not None:
            progress("patches", done, len(patches))
    splits = tuple(_summary(name, scan.splits[name], images[name], fractions[name], len(sensor)) for name in SPLITS)
    for summary in splits:
        findings += _about_images(summary.name, images[summary.name], sensor)
        findings += _about_masks(scan.root, summary, scan.splits[summary.name])
    if sensor.tile is None:
        findings += _sizes([facts for split in SPLITS for facts in images[split]])
    findings += _repetitions(images)
    notes = (*_about_folders(scan), *scan.notes, *sorted(forms))
    return CheckResult(scan.root, sensor, scan.layout, splits, _order(findings), notes)


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


def _read(
    root: Path,
    files: SplitFiles,
    number: int,
    sensor: Sensor,
    images: list[_ImageFacts],
    fractions: list[float],
    forms: set[str],
) -> Iterator[Finding]:
    """Adds what the two files of a patch say; a file that is refused becomes a finding in the reader's own words."""
    if number in files.images:
        name = below(root, files.images[number])
        try:
            images.append(_image_facts(name, read_image(files.images[number], sensor, forms), sensor))
        except DataError as error:
            yield Finding("error", "unusable image", (name,), f"{error.why}; {error.fix}")
    if number in files.masks:
        try:
            fractions.append(float(read_mask(files.masks[number], sensor, forms).mean()))
        except DataError as error:
            name = below(root, files.masks[number])
            yield Finding("error", "unusable mask", (name,), f"{error.why}; {error.fix}")


@np.errstate(over="ignore")
def _image_facts(name: str, stored: np.ndarray, sensor: Sensor) -> _ImageFacts:
    """The facts of an image float64 `(H, W, C)` of stored values."""
    pixels = stored.reshape(-1, len(sensor))
    finite = np.isfinite(pixels)
    count = finite.sum(axis=0)
    everywhere = bool(finite.all())
    known = pixels if everywhere else np.where(finite, pixels, 0.0)
    nothing = np.where(count == 0, np.nan, 0.0)
    known_scale = _SHORT_WAVES if sensor.published else ()
    short_waves = pixels[:, [sensor.place(role) for role in known_scale]]
    short_waves = short_waves if everywhere else short_waves[np.isfinite(short_waves)]
    return _ImageFacts(
        file=name,
        minimum=pixels.min(axis=0) if everywhere else np.where(finite, pixels, np.inf).min(axis=0) + nothing,
        maximum=pixels.max(axis=0) if everywhere else np.where(finite, pixels, -np.inf).max(axis=0) + nothing,
        mean=known.sum(axis=0) / np.maximum(count, 1) + nothing,
        nonfinite=len(pixels) - count,
        short_waves=float(np.median(short_waves)) if short_waves.size else np.nan,
        on_grid=sensor.as_integers(known.reshape(stored.shape)) is not None,
        size=stored.shape[:2],
        digest=hashlib.sha256(stored.tobytes()).digest(),
    )


def _summary(
    name: str, files: SplitFiles, images: Sequence[_ImageFacts], fractions: Sequence[float], bands: int
) -> SplitSummary:
    return SplitSummary(
        name=name,
        patches=len(files.images),
        masks=len(files.masks),
        images_read=len(images),
        landslide_fractions=np.array(fractions),
        minimum=_over(np.fmin, [facts.minimum for facts in images], bands),
        maximum=_over(np.fmax, [facts.maximum for facts in images], bands),
        mean=_mean([facts.mean for facts in images], bands),
        nonfinite=np.sum([np.zeros(bands, np.int64), *(facts.nonfinite for facts in images)], axis=0),
    )


def _over(merge: np.ufunc, rows: list[np.ndarray], bands: int) -> np.ndarray:
    return merge.reduce(rows, axis=0) if rows else np.full(bands, np.nan)


def _mean(rows: list[np.ndarray], bands: int) -> np.ndarray:
    """The mean over patches of each band, those without a finite value left out."""
    table = np.array(rows).reshape(-1, bands)
    known = np.isfinite(table).sum(axis=0)
    return np.where(known > 0, np.nansum(table, axis=0) / np.maximum(known, 1), np.nan)


def _about_images(split: str, images: Sequence[_ImageFacts], sensor: Sensor) -> Iterator[Finding]:
    yield from _nonfinite(images, sensor)
    yield from _constant(split, images, sensor)
    yield from _scale(images, sensor)


def _nonfinite(images: Sequence[_ImageFacts], sensor: Sensor) -> Iterator[Finding]:
    """One finding for all images whose holes are in the same bands, with the counts of each band."""
    for bands, group in _grouped(images, lambda facts: tuple(np.flatnonzero(facts.nonfinite).tolist())):
        total = np.sum([facts.nonfinite for facts in group], axis=0)
        counts = ", ".join(f"{total[band]} in {sensor.bands[band].name}" for band in bands)
        text = f"NaN or infinite values: {counts}; packing replaces them by the train median of their band"
        yield Finding("warning", "not finite", _files(group), text)


def _constant(split: str, images: Sequence[_ImageFacts], sensor: Sensor) -> Iterator[Finding]:
    """Bands that are constant over a whole split, and those that are so in single patches only."""
    if not images:
        return
    lowest = np.fmin.reduce([facts.minimum for facts in images])
    highest = np.fmax.reduce([facts.maximum for facts in images])
    everywhere = (lowest == highest) if len(images) > 1 else np.zeros(len(sensor), bool)
    if everywhere.any():
        bands = np.flatnonzero(everywhere)
        names = _names(bands, sensor)
        text = f"{names}: one value in all of {split}, {_values(lowest[bands])}; look how the files were made"
        yield Finding("error", "constant band", _files(images), text)

    def own(facts: _ImageFacts) -> tuple[int, ...]:
        return tuple(np.flatnonzero((facts.minimum == facts.maximum) & ~everywhere).tolist())

    for constant, group in _grouped(images, own):
        text = f"{_names(constant, sensor)}: one value all over the patch; a gap in the source, or flat ground?"
        yield Finding("warning", "constant band", _files(group), text)


def _scale(images: Sequence[_ImageFacts], sensor: Sensor) -> Iterator[Finding]:
    """Images of Landslide4Sense whose values are not stored ones, by what they look like; then those off the grid."""
    if not sensor.published:
        return
    looks_like = partial(_looks_like, sensor=sensor)
    for looks, group in _grouped(images, looks_like):
        medians = [facts.short_waves for facts in group]
        low, high = _SHORT_WAVE_MEDIANS
        text = f"median of B1 and B2 {_values(medians)}, of stored values {low:g} to {high:g}: {looks}"
        yield Finding("error", "scale", _files(group), text)
    loose = [facts for facts in images if not facts.on_grid and not looks_like(facts)]
    if loose:
        text = "values are not integers over the band constants: packed as float32, twice as large; resampled?"
        yield Finding("warning", "off the grid", _files(loose), text)


def _looks_like(facts: _ImageFacts, sensor: Sensor) -> str:
    """What the values of an image seem to be, and the cure; nothing where they are stored values."""
    low, high = _SHORT_WAVE_MEDIANS
    if facts.short_waves > high:
        return "looks like raw reflectance x 10,000; divide each band by its constant, as the published files are"
    if (facts.minimum[sensor.optical] < 0).any():
        return "and values below 0: looks standardised; take the files as they were published"
    if facts.short_waves < low:
        return "looks like reflectance 0..1 or normalised; take the files as they were published"
    slope, elevation = sensor.physical(facts.maximum, SLOPE, ELEVATION)
    if slope > _STEEPEST or elevation > _HIGHEST:
        return "but slope or elevation is beyond anything on Earth: looks like raw degrees or metres, or swapped bands"
    return ""


def _about_masks(root: Path, split: SplitSummary, files: SplitFiles) -> Iterator[Finding]:
    share = split.landslide_share
    if share is None:
        return
    folder = (below(root, next(iter(files.masks.values())).parent),)
    if share == 0:
        text = f"not one landslide pixel in {split.name}: nothing to learn from or to score"
        yield Finding("error", "no landslides", folder, text)
    elif share < _FEW_LANDSLIDES:
        yield Finding("warning", "imbalance", folder, f"only {share:.3%} of the pixels of {split.name} are landslide")
    elif share > _MANY_LANDSLIDES:
        text = f"{share:.1%} of the pixels of {split.name} are landslide; are the masks inverted?"
        yield Finding("warning", "imbalance", folder, text)


def _sizes(images: Sequence[_ImageFacts]) -> Iterator[Finding]:
    """Images of another size than most."""
    if not images:
        return
    (usual, _), *_ = Counter(facts.size for facts in images).most_common(1)
    for size, group in _grouped(images, lambda facts: facts.size if facts.size != usual else ()):
        found, most = (" x ".join(map(str, pixels)) for pixels in (size, usual))
        text = f"{found} pixels, where most have {most}; cut all patches to one size"
        yield Finding("error", "size", _files(group), text)


def _repetitions(images: dict[str, list[_ImageFacts]]) -> Iterator[Finding]:
    """Images with the very same values, by their digest: leakage where they lie in two splits."""
    places: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for split in SPLITS:
        for facts in images[split]:
            places[facts.digest].append((split, facts.file))
    for found in places.values():
        files = tuple(file for _, file in found)
        splits = [split for split in SPLITS if split in {name for name, _ in found}]
        if len(splits) > 1:
            text = f"{files[1]} equals {files[0]}: leakage between {' and '.join(splits)}; keep it in one split"
            yield Finding("error", "leakage", files, text)
        elif len(files) > 1:
            yield Finding("warning", "duplicate", files, f"{files[1]} equals {files[0]}; one of them is enough")


def _grouped(
    images: Iterable[_ImageFacts], key: Callable[[_ImageFacts], _Key]
) -> Iterator[tuple[_Key, list[_ImageFacts]]]:
    """The keys other than an empty one, each with the images that have it."""
    groups: dict[_Key, list[_ImageFacts]] = defaultdict(list)
    for facts in images:
        groups[key(facts)].append(facts)
    yield from ((found, group) for found, group in groups.items() if found)


def _files(images: Iterable[_ImageFacts]) -> tuple[str, ...]:
    return tuple(facts.file for facts in images)


def _names(bands: Iterable[int], sensor: Sensor) -> str:
    return ", ".join(sensor.bands[band].name for band in bands)


def _values(values: Sequence[float] | np.ndarray) -> str:
    low, high = min(values), max(values)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
