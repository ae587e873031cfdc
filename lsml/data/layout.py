"""Where the patches of a dataset lie, by what the names of its folders and files say."""

import itertools
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from lsml.data.arrays import NPZ, NUMPY, is_stack, patches_in
from lsml.data.words import KIND_WORDS, Pattern, Stem, meaning
from lsml.errors import DataError

_ONE_PAIR = ("img", "mask")
FOLDS = "folds"
"""Asked for instead of a split: every patch that cross-validation may train on."""

LAYOUTS = {
    "official": {
        "train": ("TrainData/img", "TrainData/mask"),
        "validation": ("ValidData/img", "ValidData/mask"),
        "test": ("TestData/img", "TestData/mask"),
        FOLDS: ("TrainData/img", "TrainData/mask"),
    },
    "hugging-face": {
        "train": ("images/train", "annotations/train"),
        "validation": ("images/validation", "annotations/validation"),
        "test": ("images/test", "annotations/test"),
        FOLDS: ("images/train", "annotations/train"),
    },
    "bare": dict.fromkeys(("train", "validation", "test", FOLDS), _ONE_PAIR),
}
"""The published folders of images and of masks of each split; others that say the same are taken for them.

Splits that share their folders are contiguous blocks, or whole regions, of it: 70 % train, 15 % of each other.
"""
EXPECTED = (
    "expected TrainData/{img,mask} with ValidData and TestData beside it, images/ and annotations/ with folders "
    "train, validation and test, or img/ and mask/; or say what paths look like, as images and masks in dataset.yaml"
)
MARK, CHECKSUMS, DESCRIPTION = "synthetic.json", "checksums.json", "dataset.yaml"
"""Files beside the splits: the first tells that a dataset was made, not measured, the last says what its bands are."""

HDF5, RASTERS = (".h5", ".hdf5", ".he5"), (".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""Endings of the files that are read, in small letters."""

_PATCH = re.compile(rf"(?:{'|'.join(map(re.escape, (*HDF5, *RASTERS, *NUMPY, *NPZ)))})$", re.IGNORECASE)
_HIDDEN = re.compile(r"\..*|__MACOSX|Thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|lost\+found", re.IGNORECASE | re.DOTALL)
_DEEPEST = 3
"""So many levels of folders are looked through below one whose name says nothing."""


class PatchFiles(NamedTuple):
    """The paths of one patch's image and mask.

    Attributes:
        id: the image's name without its ending; below a folder that names a region, with that.
        region: where it comes from; empty where that is not known.
    """

    id: str
    image: Path
    mask: Path | None
    region: str = ""


class Grouping(NamedTuple):
    """How `dataset.yaml` says which split and region a patch is of; without one, it does not.

    Attributes:
        folder: that it lies in; None without one.
        table: the CSV file that names the patches; None without one.
        regions: what else tells them.
        metres: scenes further apart than this are regions of their own, by position.
        patterns: of the paths of images and of masks; empty where names are enough.
    """

    folder: Path | None = None
    table: Path | None = None
    regions: Literal["", "folders", "position"] = ""
    metres: float = 0.0
    patterns: tuple[Pattern, ...] = ()


def below(root: Path, path: Path) -> str:
    """The path of a file below the dataset's folder, on one line whatever its name."""
    return _printable(path.relative_to(root).as_posix())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


class Place(NamedTuple):
    """A folder, with the split, the kind of file (`image` or `mask`) and the region that its path says, if any."""

    split: str
    kind: str
    path: Path
    region: str = ""


_Meaning = tuple[str, str, str]
"""Split, kind and region of a folder."""


def _shared(there: Mapping[_Meaning, Path], split: str, kind: str, published: Path) -> Path:
    """The folder of a split and a kind, with `*` for its regions; the published one where there is none."""
    for (own, its_kind, region), path in there.items():
        if (own, its_kind) == (split, kind):
            return Path(*("*" if region and _as_region(part) == region else part for part in path.parts))
    return published


def _as_region(name: str) -> str:
    return _printable(unicodedata.normalize("NFC", name))


class Fault(NamedTuple):
    """A folder that cannot be used: of what kind the fault is, why, and what to do."""

    kind: str
    path: Path
    why: str
    fix: str


class Layout:
    """The folders of a dataset, by their names; looks into no split but `opened`.

    Attributes:
        expected: what a dataset without train patches should have.
        root: the dataset's folder.
        faults: links that lead to nothing and folders that cannot be listed, among those that names lead to.
        name: a key of `LAYOUTS`, or one with `-like` where other names say the same; empty before `find`.
        base: the folder that the splits lie in: the dataset's own, or one below it.
        folders: those of images and of masks by split; the published one where there is none.
        places: those that there are.
        grouping: how splits and regions are told; to be set before `find`.
    """

    expected = EXPECTED

    def __init__(self, root: Path, opened: Collection[str]) -> None:
        self.root, self.opened, self.grouping = root, opened, Grouping()
        self.faults: list[Fault] = []
        self.name, self.base = "", root
        self.folders: dict[str, tuple[Path, Path]] = {}
        self.places: tuple[Place, ...] = ()
        self._listed: dict[Path, list[str]] = {}
        self._stacked: dict[Path, list[Path]] = {}

    def find(self) -> Self:
        """Fills the attributes.

        Raises:
            DataError: none of the layouts is there, or two folders may have one meaning.
        """
        found = self._search_regions(self.root) if self.by_region else self.search(self.root)
        self.places = tuple(place for place in found if place.split) or tuple(found)
        if not any(place.split or place.kind == "image" for place in self.places):
            for _, path, why, fix in self.faults:
                raise DataError(f"path {path}", why, fix)
            shown = ", ".join(below(self.root, self.root / name) for name in self.names(self.root)[:6]) or "nothing"
            raise DataError(f"dataset {self.root}", f"no known layout (found: {shown})", EXPECTED)
        parts = self.places[0].path.relative_to(self.root).parts
        above = itertools.takewhile(lambda part: not any(meaning(part)), parts)
        self.base = (self.by_region and self.grouping.folder) or self.root.joinpath(*above)
        way = self.places[0].path.relative_to(self.base).parts
        self.name = "bare" if self.one_folder else "official" if way and meaning(way[0])[0] else "hugging-face"
        there, published = self._unambiguous(), set()
        for split, pair in LAYOUTS[self.name].items():
            images, masks = (self.base / folder for folder in pair)
            own = self._own(split)
            self.folders[split] = _shared(there, own, "image", images), _shared(there, own, "mask", masks)
            published |= {images, masks, images.parent, masks.parent}
        if not self.one_folder and published.isdisjoint(place.path for place in self.places):
            self.name += "-like"
        return self

    @property
    def described(self) -> Path | None:
        """The dataset's folder, or the only one in it and so on, if it has a `dataset.yaml`."""
        folder = self.root
        while not (folder / DESCRIPTION).is_file():
            names = self.names(folder)
            if len(names) != 1 or any(meaning(names[0])):
                return None
            folder /= names[0]
        return folder

    @property
    def by_region(self) -> bool:
        """Whether folders name regions."""
        return self.grouping.regions == "folders"

    @property
    def one_folder(self) -> bool:
        """Whether no folder is one of a split."""
        return not self.places[0].split

    def regions_of(self, images: Iterable[Path]) -> dict[Path, str]:
        """The region that the folder of each image is of; empty where it is of none."""
        regions = {place.path: place.region for place in self.places}
        return {image: regions[image.parent] for image in images}

    def id_of(self, image: Path, region: str) -> str:
        """What the patch of an image is called: as its file, where folders name regions below that."""
        return f"{region}/{image.stem}" if self.by_region else image.stem

    def _own(self, split: str) -> str:
        """What the path of a folder of this split says."""
        return "" if self.one_folder else "train" if split == FOLDS else split

    def pairs(self, split: str) -> dict[str, tuple[Path, Path]]:
        """The folders of images and of masks of a split by region, of which others have one, without a name."""
        there, own = self._unambiguous(), self._own(split)
        regions = sorted({place.region for place in self.places if place.split == own})
        if not self.by_region or not regions:
            return {"": self.folders[split]}
        missing = {region: [Path(str(path).replace("*", region)) for path in self.folders[split]] for region in regions}
        return {
            region: (there.get((own, "image", region), images), there.get((own, "mask", region), masks))
            for region, (images, masks) in missing.items()
        }

    def _unambiguous(self) -> dict[_Meaning, Path]:
        """The folder of each split, kind and region; two of one meaning are refused, but in a split not opened."""
        there: dict[_Meaning, Path] = {}
        for split, kind, path, region in self.places:
            other = there.setdefault((split, kind, region), path)
            if other != path and (not split or split in self.opened):
                what = f"{split} {kind}s".strip() + (f" of {region}" if region else "")
                why = f"{below(self.root, other)} and {below(self.root, path)} may each be its {what}"
                raise DataError(f"dataset {self.root}", why, "keep one of them there")
        return there

    def names(self, folder: Path) -> list[str]:
        """What is in a folder, sorted, but for hidden files and what systems leave in folders."""
        if folder not in self._listed:
            listed: list[str] = []
            try:
                listed = os.listdir(folder)  # noqa: PTH208 (names only: no file is looked at)
            except (FileNotFoundError, NotADirectoryError):
                pass  # as empty: what is lacking is said of the split
            except OSError as error:
                why = f"cannot be listed: {error.strerror}"
                self.faults.append(Fault("unreadable folder", folder, why, "check its permissions"))
            self._listed[folder] = sorted(name for name in listed if not _HIDDEN.fullmatch(name))
        return self._listed[folder]

    def patches(self, folder: Path) -> list[Path]:
        """The files of patches in a folder, of the format that most of them have; in a NumPy file of many, these."""
        if folder.suffix.lower() in NUMPY and folder.is_file():
            return [] if any(fault.path == folder for fault in self.faults) else patches_in(folder)
        stacks = set(self._stacks(folder))
        formats: dict[tuple[str, ...], list[Path]] = {HDF5: [], RASTERS: [], NUMPY: [], NPZ: []}
        for path in (folder / name for name in self.names(folder) if _PATCH.search(name)):
            if path not in stacks:
                next(files for endings, files in formats.items() if path.suffix.lower() in endings).append(path)
        return max(formats.values(), key=len)

    def search(self, folder: Path, split: str = "", kind: str = "", above: tuple[str, ...] = ()) -> list[Place]:
        """The folders of patches in a folder whose own path says `split` and `kind`.

        Names that say more are followed, else, where no patch lies beside them, those that say the same again, such
        as TrainData/TrainData, else the only folder with patches, whatever its name. One folder may hold images and
        masks, where the name of every file says which it is.

        Raises:
            DataError: two folders have patches, of which neither's name says anything.
        """
        if split and split not in self.opened:
            return [Place(split, kind, folder)]
        above = (*above, os.path.realpath(folder))
        said = {path: meaning(path.name) for path in self._folders(folder, above)}
        fitting = {
            path: (own[0] or split, own[1] or kind)
            for path, own in said.items()
            if any(own) and split in ("", own[0] or split) and kind in ("", own[1] or kind)
        }
        more = {path: both for path, both in fitting.items() if both != (split, kind)}
        if kind and not more and self.patches(folder):
            return [Place(split, kind, folder)]
        if not fitting and self._kinds(folder) == {*KIND_WORDS}:
            return [Place(split, kind, folder) for kind in KIND_WORDS]
        if not fitting and len(above) <= _DEEPEST:
            inner = self._only((path for path, own in said.items() if not any(own)), split, kind, above)
            return inner or [Place(split, kind, folder) for kind in KIND_WORDS if self._holds_both(folder)]
        found: list[Place] = []
        for path, both in (more or fitting).items():
            found += self.search(path, *both, above) or ([Place(*both, path)] if both[1] else [])
        return found

    def _search_regions(
        self, folder: Path, split: str = "", kind: str = "", region: str = "", above: tuple[str, ...] = ()
    ) -> list[Place]:
        """As `search`, where the last folder on the way whose name says nothing else names a region.

        So `images/nepal` and `nepal/images` are both of nepal.
        """
        if split and split not in self.opened:
            return [Place(split, kind, folder, region)]
        above = (*above, os.path.realpath(folder))
        stems = self._kinds(folder)
        both = stems == {*KIND_WORDS} or self._holds_both(folder)
        kinds = [kind] if kind and stems else [*KIND_WORDS] if both else []
        found = [Place(split, each, folder, region) for each in kinds]
        for path in self._folders(folder, above):
            own_split, own_kind = meaning(path.name)
            if split in ("", own_split or split) and kind in ("", own_kind or kind):
                named = region if own_split or own_kind else _as_region(path.name)
                found += self._search_regions(path, own_split or split, own_kind or kind, named, above)
        return found

    def _kinds(self, folder: Path) -> set[str]:
        """What the names of the files in a folder say that they are."""
        return {Stem.of(path).kind for path in self.patches(folder)}

    def _holds_both(self, folder: Path) -> bool:
        """Whether each file in a folder may hold image and mask: of a format that can, and no name says otherwise."""
        files = self.patches(folder)
        return self._kinds(folder) == {""} and files[0].suffix.lower() in (*HDF5, *NPZ)

    def _only(self, folders: Iterable[Path], split: str, kind: str, above: tuple[str, ...]) -> list[Place]:
        """What is in the only folder that has patches: of a split, or images and masks."""
        likely: dict[Path, list[Place]] = {}
        for path in folders:
            places = self.search(path, split, kind, above)
            if any(place.split for place in places) or len({place.kind for place in places}) > (0 if kind else 1):
                likely[path] = places
        if len(likely) > 1:
            named = " and ".join(below(self.root, path) for path in likely)
            fix = "give one of them, put all patches into one folder, or say regions: folders in dataset.yaml"
            raise DataError(f"dataset {self.root}", f"{named} may each be meant", fix)
        return next(iter(likely.values()), [])

    def _folders(self, folder: Path, above: Sequence[str]) -> Iterator[Path]:
        """The folders in a folder, also by links; one whose name says something has to lead somewhere new.

        A NumPy file of many patches is one.
        """
        yield from self._stacks(folder)
        for path in (folder / name for name in self.names(folder) if not _PATCH.search(name)):
            split, kind = meaning(path.name)
            try:
                if not stat.S_ISDIR(path.stat().st_mode):
                    continue
            except OSError as error:
                if (split or kind) and split in ("", *self.opened):
                    self.faults.append(self.broken(path, error))
                continue
            real = os.path.realpath(path)
            if not any(Path(higher).is_relative_to(real) for higher in above):
                yield path
            elif split or kind:
                fix = "put the files themselves there"
                self.faults.append(Fault("link", path, "is a link to a folder that it lies in", fix))

    def _stacks(self, folder: Path) -> list[Path]:
        """The NumPy files of many patches in a folder; of a split that is not opened, what the name says is enough."""
        if folder not in self._stacked:
            named = [
                folder / name for name in self.names(folder) if Path(name).suffix.lower() in NUMPY and meaning(name)[1]
            ]
            self._stacked[folder] = [path for path in named if self._is_stack(path)]
        return self._stacked[folder]

    def _is_stack(self, path: Path) -> bool:
        split, kind = meaning(path.name)
        if split and split not in self.opened:
            return True
        try:
            return is_stack(path, kind)
        except DataError as error:
            self.faults.append(Fault("unusable file", path, error.why, error.fix))
            return True

    @staticmethod
    def broken(path: Path, error: OSError) -> Fault:
        """A link, or anything else, that cannot be followed."""
        target = f"is a link to {_printable(str(path.readlink()))}" if path.is_symlink() else "cannot be reached"
        return Fault("link", path, f"{target}: {error.strerror}", "put the files themselves there, or mend the link")

    @property
    def unused(self) -> tuple[str, ...]:
        """What lies in the folders that were looked into, and neither is in `places` nor on the way to them."""
        ends = {place.path for place in self.places}
        own = {folder / name for folder in (self.root, self.base) for name in (MARK, CHECKSUMS, DESCRIPTION)}
        used = ends | own | {self.grouping.table} | {folder for path in ends for folder in path.parents}
        used |= {path for folder in ends & self._listed.keys() for path in self.patches(folder)}
        return tuple(
            below(self.root, folder / name)
            for folder, names in sorted(self._listed.items())
            if folder in used
            for name in names
            if folder / name not in used
        )
