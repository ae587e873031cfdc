"""Lists the files of splits: pairs images with masks by names, cuts blocks, and says which regions they are of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lsml.data.arrays import file_of
from lsml.data.layout import FOLDS, Layout, below
from lsml.data.patterns import PatternLayout
from lsml.data.regions import PatchRow, PatchTable, regions_by_position, regions_near, straddling
from lsml.data.words import KIND_WORDS, SPLIT_WORDS, Key, Match, Stem
from lsml.errors import DataError

SPLITS = tuple(SPLIT_WORDS)

LISTED = "listed"
"""The name of a layout of one folder of each kind, where a table says the splits."""

_NAMED = 3
"""So many names stand in a line."""

_Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """Something wrong, or suspicious, with files of a dataset.

    Attributes:
        severity: `error` where the data cannot be used as it stands, or would mislead; else `warning`.
        kind: the same few words for every finding of its kind.
        files: paths below the dataset's folder, at least one.
        text: why, and after a semicolon what to do, in one line.
    """

    severity: _Severity
    kind: str
    files: tuple[str, ...]
    text: str

    def as_error(self, root: Path) -> DataError:
        """The finding, of its first file, as the error that ends a command."""
        return self.error_of(f"path {root / self.files[0]}")

    def error_of(self, what: str, otherwise: str = "") -> DataError:
        """The finding as an error of `what`; `otherwise` follows what to do."""
        why, _, fix = self.text.partition("; ")
        return DataError(what, why, fix + otherwise)


class SplitFiles(NamedTuple):
    """The images and the masks of one split by the place of their patch in its order, refused files left out."""

    images: dict[int, Path]
    masks: dict[int, Path]

    @property
    def numbers(self) -> list[int]:
        """Of images and masks, ascending."""
        return sorted(self.images.keys() | self.masks.keys())

    def only(self, numbers: Iterable[int]) -> "SplitFiles":
        """The files with these numbers."""
        wanted = set(numbers)
        return SplitFiles(*({k: path for k, path in files.items() if k in wanted} for files in self))


class Listing:
    """The splits that may be opened, by a layout and, where there is one, a table of patches.

    Attributes:
        regions: of each image, where they are known.
        notes: what there is to say of them.
        faults: what is wrong with files, and with what is said of them.
    """

    def __init__(self, layout: Layout, table: PatchTable | None) -> None:
        self._layout, self._table = layout, table
        self.regions: dict[Path, str] = {}
        self.notes: list[str] = []
        self.faults: list[Finding] = []

    def splits(self, splits: Sequence[str]) -> dict[str, SplitFiles]:
        """The files of `splits`, and of every other split that may be opened; of these nothing is said."""
        layout = self._layout
        if layout.one_folder:
            files = _list_pairs(layout, "train", self.faults)
            own = self._group({"": files})
            if own:
                return {FOLDS: own["train"]} if FOLDS in splits else own
            return {FOLDS: files} if FOLDS in splits else self._blocks(files)
        opened = splits if FOLDS in splits else [split for split in SPLITS if split in layout.opened]
        listed = {split: _list_pairs(layout, split, self.faults if split in splits else []) for split in opened}
        self._group(listed)
        return listed

    @property
    def folder_faults(self) -> list[Finding]:
        """What is wrong with folders, which explains what is wrong with files."""
        return [_fault(self._layout, *fault) for fault in self._layout.faults]

    def images(self, folder: Path) -> list[Path]:
        """Those in a folder, in order."""
        images = _list_files(self._layout, folder, "image", self.faults)
        return [images[key] for key in Stem.in_order(images)]

    def _group(self, listed: Mapping[str, SplitFiles]) -> dict[str, SplitFiles]:
        """Says of which region each image is; gives the splits, where the table says them and no folder does."""
        told = self._layout.grouping
        rows = self._rows(self._table, listed) if self._table else {}
        images = [image for files in listed.values() for image in files.images.values()]
        if told.regions == "position":
            self.regions = regions_by_position(images, told.metres)
        elif self._layout.by_region:
            self.regions = self._by_path(images)
        else:
            self.regions = {image: row.region for image, row in rows.items() if row.region}
        own: dict[str, SplitFiles] = {}
        if self._table and self._table.has_splits and self._layout.one_folder:
            (files,) = listed.values()
            told_split = {place: rows[image].split for place, image in files.images.items() if image in rows}
            own = {split: files.only(k for k, name in told_split.items() if name == split) for split in SPLITS}
        self._about_regions(own or listed)
        return own

    def _rows(self, table: PatchTable, listed: Mapping[str, SplitFiles]) -> dict[Path, PatchRow]:
        """The row of each image; what does not fit becomes a fault."""
        layout, wrong = self._layout, list(table.faults)
        split_of = {image: split for split, files in listed.items() for image in files.images.values()}
        here = {"", *(split.replace(FOLDS, "train") for split in listed)}
        unlisted = {place.split for place in layout.places} - here
        rows = table.of(split_of, layout.grouping.folder or layout.root, unlisted=unlisted, faults=wrong)
        lies_in = {row: split_of[image].replace(FOLDS, "train") for image, row in rows.items()}
        for row, own in lies_in.items():
            if row.split and own not in ("", row.split):
                wrong.append(f"line {row.line}: '{row.patch}' lies in the {own} split; correct the table or the folder")
        wrong += straddling((row, lies_in.get(row) or row.split) for row in table.rows)
        name = below(layout.root, table.path)
        self.faults += [Finding("error", "table of patches", (name,), text) for text in wrong]
        lacking = tuple(below(layout.root, image) for image in split_of if image not in rows)
        if lacking and not wrong:
            text = f"{name} has no line for {some(lacking)}; add one for each, or move them out of the dataset"
            self.faults.append(Finding("error", "not in the table of patches", lacking, text))
        return rows

    def _by_path(self, images: Iterable[Path]) -> dict[Path, str]:
        regions = self._layout.regions_of(images)
        if nowhere := tuple(below(self._layout.root, image) for image, region in regions.items() if not region):
            text = "lies in no folder that names a region; put it into one, such as images/nepal"
            self.faults.append(Finding("error", "no region", nowhere, text))
        return regions

    def _about_regions(self, listed: Mapping[str, SplitFiles]) -> None:
        """How many there are, and which is in two splits."""
        if not self.regions:
            return
        names = list(dict.fromkeys(self.regions.values()))
        if len(names) == 1:
            self.notes.append(f"one region ({names[0]}): splits and folds are made as without regions")
            return
        self.notes.append(f"{len(names)} regions")
        if self._table and self._table.has_regions:
            return
        first: dict[str, tuple[str, Path]] = {}
        twice: dict[str, Finding] = {}
        for split, image in ((split, image) for split, files in listed.items() for image in files.images.values()):
            region = self.regions.get(image, "")
            other, example = first.setdefault(region, (split, image))
            if region and other != split:
                files = tuple(below(self._layout.root, path) for path in (image, example))
                text = f"region '{region}' is in {other} too, as {files[1]}; keep a region in one split"
                twice.setdefault(region, Finding("error", "region in two splits", files, text))
        self.faults += twice.values()

    def _blocks(self, files: SplitFiles) -> dict[str, SplitFiles]:
        """Contiguous blocks of 70, 15 and 15 %, at least one patch each: numbering follows region.

        Where regions are known, whole ones; with two of them, validation is left to be made of train. Fewer than three
        patches are an error, and all are in train then.
        """
        numbers = files.numbers
        n = len(numbers)
        regions = [self.regions.get(files.images[k], "") for k in numbers if k in files.images]
        if n >= 3 and len(set(regions)) > 1:
            test = regions_near(regions, 0.15 * n, spare=1 + (len(set(regions)) > 2))
            rest = [region for region in regions if region not in test]
            validation = regions_near(rest, 0.15 * n) if len(set(rest)) > 1 else frozenset()
            if not validation:
                self.notes.append("two regions: test is one, and validation is made of the other")
            of = {"test": test, "validation": validation, "train": {*regions} - test - validation}
            places = {k: self.regions.get(image, "") for k, image in files.images.items()}
            return {split: files.only(k for k, region in places.items() if region in of[split]) for split in SPLITS}
        count = max(1, round(0.15 * n))
        train = min(round(0.7 * n), n - count - 1)
        if n < 3:
            text = f"{n} patch{'es' * (n != 1)}; train, validation and test need one each: give at least 3"
            folder = below(self._layout.root, self._layout.folders["train"][0])
            self.faults.append(Finding("error", "too few patches", (folder,), text))
            train, count = n, 0
        ends = {"train": slice(train), "validation": slice(train, train + count), "test": slice(train + count, n)}
        return {split: files.only(numbers[ends[split]]) for split in SPLITS}


def _list_pairs(layout: Layout, split: str, faults: list[Finding]) -> SplitFiles:
    """The files of a split, region after region where folders name these, links that lead nowhere left out."""
    if isinstance(layout, PatternLayout):
        return SplitFiles(*(_reachable(layout, paths, faults) for paths in _list_fitting(layout, split, faults)))
    pairs = {pair: _list_pair(layout, pair, faults) for pair in layout.pairs(split).values()}
    files = SplitFiles({}, {})
    for part in pairs.values():
        start = 1 + max(files.numbers, default=-1)
        for whole, paths in zip(files, part, strict=True):
            whole.update({start + place: path for place, path in paths.items()})
    if files.masks:
        for pair, part in pairs.items():
            faults += _partnerless(layout, pair, part, files)
    return SplitFiles(*(_reachable(layout, paths, faults) for paths in files))


def _list_fitting(layout: PatternLayout, split: str, faults: list[Finding]) -> SplitFiles:
    """The files of a split that fit patterns, region after region."""
    kinds: list[dict[tuple[str, Key], Match]] = []
    for matches in layout.fitting(split):
        files: dict[tuple[str, Key], Match] = {}
        for match in matches:
            if (other := files.setdefault(match.pair, match)) is not match:
                names = tuple(below(layout.root, path) for path in (other.path, match.path))
                text = f"{names[0]} and {names[1]} have the same id; remove one of them, or correct the pattern"
                faults.append(Finding("error", "id used twice", names, text))
        kinds.append(files)
    pairs = {pair for files in kinds for pair in files}
    regions = sorted({region for region, _ in pairs})
    order = [(of, key) for of in regions for key in Stem.in_order([key for region, key in pairs if region == of])]
    for present, others, pattern in zip(kinds, kinds[::-1], layout.grouping.patterns[::-1], strict=True):
        for pair in [pair for pair in order if kinds[1] and pair in present and pair not in others]:
            partner = below(layout.root, layout.base / pattern.with_values(present[pair].values))
            kind = "mask without image" if present is kinds[1] else "image without mask"
            text = f"no {partner}; add it, or remove this file"
            faults.append(Finding("error", kind, (below(layout.root, present[pair].path),), text))
    return SplitFiles(*({n: files[pair].path for n, pair in enumerate(order) if pair in files} for files in kinds))


def _list_pair(layout: Layout, pair: tuple[Path, Path], faults: list[Finding]) -> SplitFiles:
    """The files of a folder of images and one of masks."""
    kinds = zip(pair, KIND_WORDS, strict=True)
    images, masks = (_list_files(layout, folder, kind, faults) for folder, kind in kinds)
    if images and masks and len(images) != len(masks) and all(file_of(folder / "0") == folder for folder in pair):
        names = below(layout.root, pair[0]), below(layout.root, pair[1])
        text = (
            f"{names[0]} holds {len(images)} images, {names[1]} {len(masks)} masks; write one for each, in their order"
        )
        faults.append(Finding("error", "numbers of patches", names, text))
        shared = images.keys() & masks.keys()
        images, masks = ({key: path for key, path in paths.items() if key in shared} for paths in (images, masks))
    places = {key: place for place, key in enumerate(Stem.in_order(images.keys() | masks.keys()))}
    return SplitFiles(*({places[key]: path for key, path in listed.items()} for listed in (images, masks)))


def _list_files(layout: Layout, folder: Path, kind: str, faults: list[Finding]) -> dict[Key, Path]:
    """The files of a folder by what pairs them; copies in circulation have a few images among their masks."""
    stems = {path: Stem.of(path) for path in layout.patches(folder)}
    if {place.kind for place in layout.places if place.path == folder} == {*KIND_WORDS}:
        # Where no name says a kind, each file holds image and mask.
        stems = {path: stem for path, stem in stems.items() if stem.kind == kind} or stems
    strict = kind == "image" or any(stem.kind == kind for stem in stems.values())
    files: dict[Key, Path] = {}
    for path, stem in stems.items():
        name = below(layout.root, path)
        if strict and stem.kind not in ("", kind):
            text = f"unexpected name; files here are named {kind}_<number>{path.suffix}: move it out of the dataset"
            faults.append(Finding("warning", "unexpected name", (name,), text))
        elif (other := files.setdefault(stem.key, path)) != path:
            text = f"{other.name} and {path.name} have the same number; remove one of them"
            faults.append(Finding("error", "number used twice", (below(layout.root, other), name), text))
    return files


def _reachable(layout: Layout, paths: dict[int, Path], faults: list[Finding]) -> dict[int, Path]:
    reachable = {}
    for number, path in paths.items():
        try:
            file_of(path).stat()
            reachable[number] = path
        except OSError as error:
            faults.append(_fault(layout, *layout.broken(path, error)))
    return reachable


def _fault(layout: Layout, kind: str, path: Path, why: str, fix: str) -> Finding:
    return Finding("error", kind, (below(layout.root, path),), f"{why}; {fix}")


def _partnerless(layout: Layout, folders: tuple[Path, Path], files: SplitFiles, split: SplitFiles) -> Iterator[Finding]:
    """Files without a partner, which is named as those of its split are."""
    images, masks = files
    for kind, present, others, alike, folder, usual in (
        ("image without mask", images, masks, split.masks, folders[1], "mask_"),
        ("mask without image", masks, images, split.images, folders[0], "image_"),
    ):
        like = next(map(Stem.of, alike.values()), Stem(usual, "", ""))
        for number in sorted(present.keys() - others.keys()):
            path = present[number]
            partner = folder / f"{like.before}{Stem.of(path).core}{like.after}{path.suffix}"
            text = f"no {below(layout.root, partner)}; add it, or remove this file"
            yield Finding("error", kind, (below(layout.root, path),), text)


def some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
