"""Regions of patches: by a table or by position; and hold-outs and folds that keep a region on one side."""

import csv
import io
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from lsml.data.formats import raster_centre
from lsml.data.words import split_of
from lsml.errors import DataError

_EARTH_METRES = 6_371_008.8
"""Mean radius of the Earth (IUGG)."""

_PATCH, _SPLIT, _REGION = "patch", "split", "region"
_COLUMNS = f"name the columns in the first line: {_PATCH}, and {_SPLIT}, {_REGION} or both"


class PatchRow(NamedTuple):
    """What a table says of a patch.

    Attributes:
        line: of the file, of which the first has number 1.
        patch: a file's name, or its path.
        split: one of `train`, `validation` and `test`; empty where there is no such column.
        region: empty where there is no such column.
    """

    line: int
    patch: str
    split: str
    region: str


class PatchTable(NamedTuple):
    """A CSV file that says which split, region or both each patch is of.

    Attributes:
        columns: that it has.
        rows: those without a fault.
        faults: the others: which line, why, and after a semicolon what to do.
    """

    path: Path
    columns: frozenset[str]
    rows: tuple[PatchRow, ...]
    faults: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the table by itself; no patch is looked for.

        Raises:
            DataError: it cannot be read, or lacks columns.
        """
        what = f"table of patches {path}"
        try:
            lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
            table = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            why = "not text in UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None)
            fix = "correct patches in dataset.yaml, or write the file anew as CSV in UTF-8"
            raise DataError(what, str(why or f"not CSV: {error}"), fix) from None
        header = [name.lower() for name in table[0][1]] if table else []
        if _PATCH not in header or not {_SPLIT, _REGION}.intersection(header):
            lacking = _PATCH if _PATCH not in header else f"{_SPLIT} or {_REGION}"
            raise DataError(what, f"no column {lacking} (there are: {', '.join(header) or 'none'})", _COLUMNS)
        if twice := [name for name in (_PATCH, _SPLIT, _REGION) if header.count(name) > 1]:
            raise DataError(what, f"column {twice[0]} is there twice", _COLUMNS)
        faults: list[str] = []
        rows = tuple(_rows(header, table[1:], faults))
        return cls(path, frozenset(header), rows, tuple(faults))

    @property
    def has_splits(self) -> bool:
        """Whether it says which split a patch is of."""
        return _SPLIT in self.columns

    @property
    def has_regions(self) -> bool:
        """Whether it says which region a patch is of."""
        return _REGION in self.columns

    def of(
        self, images: Iterable[Path], folder: Path, *, unlisted: Collection[str], faults: list[str]
    ) -> dict[Path, PatchRow]:
        """The row of each image below `folder`; rows that fit none are added to `faults`.

        Args:
            unlisted: splits of which no image is among `images`: rows that may be of one are passed over.
        """
        named: dict[str, list[Path]] = defaultdict(list)
        for image in images:
            for name in {image.name, image.relative_to(folder).as_posix()}:
                named[_normal(name)].append(image)
        found: dict[Path, PatchRow] = {}
        for row in self.rows:
            fitting = named[row.patch]
            if len(fitting) > 1:
                why = f"{len(fitting)} images are called '{row.patch}'; give the path from dataset.yaml's folder"
                faults.append(f"line {row.line}: {why}")
            elif fitting and (first := found.setdefault(fitting[0], row)) is not row:
                faults.append(f"line {row.line}: '{row.patch}' is there twice, first in line {first.line}; remove one")
            elif not fitting and not (row.split in unlisted or (unlisted and not row.split)):
                faults.append(f"line {row.line}: there is no image '{row.patch}'; correct its name, or remove the line")
        return found


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _rows(header: Sequence[str], lines: Iterable[tuple[int, list[str]]], faults: list[str]) -> Iterator[PatchRow]:
    seen: dict[str, int] = {}
    for line, cells in lines:
        if len(cells) != len(header):
            faults.append(
                f"line {line}: {len(cells)} cells under {len(header)} columns; put cells with commas in quotes"
            )
            continue
        values = dict(zip(header, cells, strict=True))
        patch, word = _normal(values[_PATCH]), values.get(_SPLIT, "")
        split = split_of(word)
        if empty := [name for name in (_PATCH, _SPLIT, _REGION) if not values.get(name, "-")]:
            faults.append(f"line {line}: no {empty[0]}; fill the cell in")
        elif word and not split:
            faults.append(f"line {line}: '{word}' is no split; write train, validation or test")
        elif patch in seen:
            faults.append(f"line {line}: '{patch}' is there twice, first in line {seen[patch]}; remove one")
        else:
            seen[patch] = line
            yield PatchRow(line, patch, split, unicodedata.normalize("NFC", values.get(_REGION, "")))


def straddling(rows: Iterable[tuple[PatchRow, str]]) -> Iterator[str]:
    """Rows, each with its split, whose region has another split in a row above; one region alone tells nothing."""
    known = [(row, split) for row, split in rows if row.region and split]
    first: dict[str, tuple[PatchRow, str]] = {}
    for row, split in known if len({row.region for row, _ in known}) > 1 else ():
        other, its_split = first.setdefault(row.region, (row, split))
        if split != its_split:
            why = f"region '{row.region}' is of {split} here and of {its_split} in line {other.line}"
            yield f"line {row.line}: {why}; keep a region in one split"


def regions_by_position(images: Sequence[Path], metres: float) -> dict[Path, str]:
    """Regions of images by where they lie: two whose middles are no more than `metres` apart are of one.

    Each has the latitude and the longitude of its first image for a name. Single linkage over all pairs: 10,000 images
    take about .4 GB for a moment.

    Raises:
        DataError: an image that does not say where it lies.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    degrees = np.array([raster_centre(path) for path in images]).reshape(-1, 2)
    longitude, latitude = np.radians(degrees).T
    flat = np.cos(latitude)
    points = _EARTH_METRES * np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=1)
    clusters = fcluster(linkage(points), metres, "distance") if len(points) > 1 else np.zeros(len(points), int)
    names: dict[int, str] = {}
    for cluster, (east, north) in zip(clusters.tolist(), degrees.tolist(), strict=True):
        names.setdefault(cluster, f"{abs(north):.3f}{'NS'[north < 0]} {abs(east):.3f}{'EW'[east < 0]}")
    return {path: names[cluster] for path, cluster in zip(images, clusters.tolist(), strict=True)}


def regions_near(regions: Iterable[str], patches: float, *, spare: int = 1) -> frozenset[str]:
    """Whole regions of nearly so many patches: from the last to the first, each that brings their number nearer.

    At least one, the smallest where none is small enough; and never so many that fewer than `spare` are left.

    Args:
        regions: of each patch, more than `spare` different ones.
    """
    sizes = Counter(regions)
    chosen: list[str] = []
    for region, size in reversed(sizes.items()):
        taken = sum(sizes[name] for name in chosen)
        if len(chosen) + spare < len(sizes) and abs(taken + size - patches) < abs(taken - patches):
            chosen.append(region)
    return frozenset(chosen or [min(reversed(sizes), key=sizes.__getitem__)])


def fold_indices(n: int, folds: int, regions: Sequence[str] = (), partition: int = 0) -> list[np.ndarray]:
    """The patches of 0..n-1 that each fold holds out, in rising order.

    Contiguous blocks whose sizes differ by at most one: numbering follows region, so a patch's nearest neighbours are
    held out with it. Where several regions are known, whole ones, of nearly as many patches in each fold; with no more
    regions than folds, one in each, in the order of their names.

    Another `partition` has other folds of the same kind. Blocks then begin elsewhere, as if the last patch were
    followed by the first: one fold holds out patches at both ends, every other is still one block. Regions are put
    together otherwise, but for those that have a fold each.

    Args:
        regions: of each patch; empty where they are not known.
        partition: which of all partitions, from 0. They differ from each other as long as there are so many.

    Raises:
        DataError: fewer than two folds, or more folds than patches.
    """
    if folds < 2:
        raise DataError("folds", f"{folds} asked for", "give at least 2")
    if folds > n:
        raise DataError("folds", f"{n} patches cannot fill {folds} folds", f"set data.folds to at most {n}")
    if len(set(regions)) > 1:
        return _region_folds(regions, folds, partition)
    moved = np.roll(np.arange(n), -_first_patch(n, folds, partition))
    return [np.sort(block) for block in np.array_split(moved, folds)]


_GOLDEN = (3 - math.sqrt(5)) / 2
"""Multiples of this part of a block lie far from each other and from whole blocks, however many there are."""


def _first_patch(n: int, folds: int, partition: int) -> int:
    """The patch that the first block of a partition begins with.

    Each partition begins about `_GOLDEN` of a block later than the one before, by a number of patches that comes to all
    places at which the blocks are others before it comes back to one: blocks of one size are the same again after one.
    """
    places = n // folds if n % folds == 0 else n
    steps = (step for step in range(1, places + 1) if math.gcd(step, places) == 1)
    return partition * min(steps, key=lambda step: abs(step - _GOLDEN * n / folds)) % places


_DRAWS = 200
"""Ways to put regions together that are looked at before partitions begin to recur."""


def _region_folds(regions: Sequence[str], folds: int, partition: int) -> list[np.ndarray]:
    """Of the ways to put regions together, number `partition` of those that differ: first by size, then by chance.

    Each region in turn goes to the fold with the fewest patches. The earlier the large ones have their turn, the less
    the folds differ in size: so they come in order of size, and then in orders in which large ones tend to come early.
    """
    sizes = Counter(regions)
    by_size = sorted(sizes, key=lambda name: (-sizes[name], name))
    draw, shares = np.random.default_rng(0), [sizes[name] / len(regions) for name in by_size]
    found: dict[frozenset[tuple[int, ...]], list[np.ndarray]] = {}
    order = by_size
    for _ in range(_DRAWS if len(sizes) > folds else 1):
        held_out = _grouped(regions, order, folds)
        found.setdefault(frozenset(tuple(fold.tolist()) for fold in held_out), held_out)
        if len(found) > partition:
            break
        order = draw.choice(by_size, len(by_size), replace=False, p=shares).tolist()
    return list(found.values())[partition % len(found)]


def _grouped(regions: Sequence[str], order: Sequence[str], folds: int) -> list[np.ndarray]:
    """Folds of whole regions, each of which in that order goes to the fold with the fewest patches."""
    # Here, because scikit-learn takes long to load, which most commands do not need.
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

    none = np.zeros(len(regions), int)
    if len(order) <= folds:
        return [held_out for _, held_out in LeaveOneGroupOut().split(none, none, np.array(regions))]
    # GroupKFold takes the largest region first too, but which of several equally large ones comes first depends on the
    # processor there.
    ranks = {region: rank for rank, region in enumerate(order)}
    splits = StratifiedGroupKFold(folds).split(none, none, np.array([ranks[region] for region in regions]))
    return [held_out for _, held_out in splits]
