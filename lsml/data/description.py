"""What a dataset's patches are: read from its `dataset.yaml`, or told by looking at the first image of train."""

import os
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml

from lsml.config.fields import Section, field
from lsml.data.arrays import NPZ
from lsml.data.formats import look, raster_size, read_array
from lsml.data.layout import DESCRIPTION, HDF5, Grouping
from lsml.data.sensor import GROUPS, LANDSLIDE4SENSE, RGB, Band, Sensor, Unit
from lsml.data.tiles import evenly
from lsml.data.words import Pattern
from lsml.errors import ConfigError, DataError

_WHOLE, _TILE, _LARGE_TILE = 384, 256, 512
"""Pixels: images with a longer side than the first are cut into squares of the last, others of several sizes into those
between."""

_Role = Literal[
    "", "coastal", "blue", "green", "red", "red_edge_705", "red_edge_740", "red_edge_783", "near_infrared",
    "water_vapour", "cirrus", "short_wave_infrared_1", "short_wave_infrared_2", "slope", "elevation"
]  # fmt: skip

_ROLES = tuple(role for roles in GROUPS.values() for role in roles)
_LOOKED_AT = 16

_DRAFT = """\
# What the patches of this folder are. Beside the bands: the least and the largest value in {count} of {images} images.
name: my sensor
# The side of a pixel on the ground in metres; without it, areas are told in pixels.
# pixel_metres: 10
# Images are cut into squares of so many pixels to train on; without it, all have to be of one size.
{tile}
# A role is one of
{roles}.
# A unit is reflectance (0..1), degrees, metres, decibels or digital number, of stored * scale + offset.
# valid: [least, most] in that unit and nodata: VALUE may be added to a band.
bands:
{bands}
# mask: {{landslide: [255]}}  # values or colours; without it, the only one beside 0; ignore: [VALUE] where nobody knows
# images: "{{split}}/{{id}}_img.tif"  # what paths look like where lsml cannot read names, with {{region}} and * too
# masks: "{{split}}/{{id}}_mask.tif"
# arrays: {{image: img, mask: mask}}  # in files that hold both, where it cannot be told
# regions: folders  # or position; or patches: FILE.csv with columns patch, split, region
"""

_UNITS = {
    "reflectance": (Unit.REFLECTANCE, 10_000.0),
    "degrees": (Unit.DEGREES, 1.0),
    "metres": (Unit.METRES, 1.0),
    "decibels": (Unit.DECIBELS, 1.0),
    "digital number": (Unit.NUMBER, 1.0),
}


class _BandFields(Section):
    """A band of `dataset.yaml`."""

    name: str = field(..., "what people call it")
    role: _Role = field(
        "",
        "what it measures, where indices, pictures or pretrained weights need it; without one it is a feature alone",
    )
    unit: Literal["reflectance", "degrees", "metres", "decibels", "digital number"] = field(
        "digital number", "of the values that scale and offset give; reflectance is 0..1"
    )
    scale: float = field(1.0, "what a stored value is multiplied by; then offset is added")
    offset: float = field(0.0, "what is added to a stored value times scale")
    typical: float = field(1.0, "a usual stored value, above 0, which the noise of augmentation is relative to", gt=0.0)
    valid: tuple[float, float] | None = field(None, "the least and the largest value that can be, in its unit")
    nodata: float | None = field(None, "the stored value that stands for no measurement")

    def band(self) -> Band:
        """It as lsml has it: reflectance as ten thousandths."""
        unit, factor = _UNITS[self.unit]
        valid = self.valid and (self.valid[0] * factor, self.valid[1] * factor)
        scale, offset = self.scale * factor, self.offset * factor
        return Band(self.name, self.role, unit, scale, offset, 1.0, self.typical, valid, self.nodata)


class _MaskFields(Section):
    """What the values of masks mean."""

    landslide: tuple[int | tuple[int, int, int], ...] = field(
        (), "the values or colours that mean landslide; none: the only one beside 0"
    )
    ignore: tuple[int | tuple[int, int, int], ...] = field(
        (), "the values or colours of pixels of which nobody knows: they count neither in training nor in any score"
    )

    at_least: float | None = field(
        None, "the value from which on a mask of probabilities, shares or greys means landslide", gt=0.0
    )

    def applied_to(self, sensor: Sensor, what: str) -> Sensor:
        """The same bands with masks of this meaning.

        Raises:
            ConfigError: a value has two meanings.
        """
        if self.landslide and self.at_least is not None:
            raise ConfigError(what, "has landslide and at_least", "leave one of them out")
        landslide, ignore = (
            tuple((colour,) if isinstance(colour, int) else colour for colour in colours)
            for colours in (self.landslide, self.ignore)
        )
        for colour in set(landslide) & set(ignore):
            shown = list(colour) if len(colour) > 1 else colour[0]
            raise ConfigError(what, f"{shown} is in landslide and in ignore", "leave it in one of them")
        return replace(sensor, landslide=landslide, ignore=ignore, at_least=self.at_least)


class _ArrayFields(Section):
    """Which array is what in HDF5 and NumPy files that hold both."""

    image: str = field("", "the name of the image's, in files that hold a mask too")
    mask: str = field("", "the name of the mask's")


class _DatasetFields(Section):
    """The content of `dataset.yaml`."""

    name: str = field("described", "what people call the sensor")
    bands: tuple[_BandFields, ...] = field(
        (), "the bands in their order in the files; beside patches, regions and mask, none: as without dataset.yaml"
    )
    pixel_metres: float | None = field(
        None, "the side of a pixel on the ground, above 0; without it areas are told in pixels", unit="m", gt=0.0
    )
    tile: int | None = field(None, "cut images into squares of this side to train on", unit="pixels", ge=16, le=2048)
    mask: _MaskFields = field(_MaskFields(), "what the values of masks mean")
    arrays: _ArrayFields = field(_ArrayFields(), "which array is what in files that hold image and mask")
    patches: str | None = field(
        None, "a CSV file beside this one: a row an image in column patch, with its split, its region or both"
    )
    images: str = field(
        "", "what the paths of images below this file's folder look like, with {id}, {split}, {region}, *"
    )
    masks: str = field("", "the same of masks; an image and a mask of one id, split and region are a pair")
    regions: Literal["", "folders", "position"] = field(
        "", "what tells each image's region: the folder that it lies in, or where a GeoTIFF lies on the ground"
    )
    region_metres: float = field(
        10_000.0, "by position, images further apart than this are of two regions", unit="m", ge=1000.0
    )

    def sensor(self, what: str) -> Sensor | None:
        """It as lsml has it; None where nothing is said of bands, but of regions or masks alone.

        Raises:
            ConfigError: no bands, two of one name or role, or numbers of a band that contradict each other.
        """
        if self.model_fields_set and self.model_fields_set <= _WITHOUT_BANDS:
            return None
        if "bands" not in self.model_fields_set:
            raise ConfigError(f"{what}: bands", "is required", "add it")
        self._check(f"{what}: bands")
        bands = tuple(band.band() for band in self.bands)
        return self.applied_to(Sensor(self.name, bands, self.pixel_metres, self.tile), what)

    def applied_to(self, sensor: Sensor, what: str) -> Sensor:
        """The same bands with what is said of masks, and of arrays in files of several.

        Raises:
            ConfigError: a value of masks has two meanings.
        """
        named = self.arrays.image, self.arrays.mask
        return replace(self.mask.applied_to(sensor, f"{what}: mask"), arrays=named if any(named) else ())

    def patterns(self, what: str) -> tuple[Pattern, ...]:
        """Of images and of masks; none where nothing is said of paths.

        Raises:
            ConfigError: one is none, or the two do not go together, or with `regions`.
        """
        if not (self.images or self.masks):
            return ()
        for key, other, text in (("images", "masks", self.images), ("masks", "images", self.masks)):
            if not text:
                raise ConfigError(f"{what}: {key}", f"is required beside {other}", "add it")
        images, masks = (Pattern.parse(getattr(self, key), f"{what}: {key}") for key in ("images", "masks"))
        for holder in sorted(images.holders ^ masks.holders):
            which = "images" if holder in masks.holders else "masks"
            raise ConfigError(f"{what}: {which}", f"has no {{{holder}}}, as the other has", "write it into both")
        if images == masks and not images.text.lower().endswith((*HDF5, *NPZ)):
            why = f"'{images.text}' is that of images, whose files hold no mask"
            raise ConfigError(f"{what}: masks", why, "give the paths of masks")
        if self.regions == "folders" or (self.regions and "region" in images.holders):
            why = f"{self.regions}, where images and masks say what paths look like"
            raise ConfigError(
                f"{what}: regions", why, "leave it out, and write {region} into both where paths name regions"
            )
        return images, masks

    def _check(self, what: str) -> None:
        """What no field can tell by itself."""
        names, roles = ([getattr(band, key).strip() for band in self.bands] for key in ("name", "role"))
        own_name = "give each band a name of its own"
        if not names:
            raise ConfigError(what, "none are listed", "list each band of the files, in their order")
        if "" in names:
            raise ConfigError(what, "one has no name", own_name)
        if not all(name.isprintable() for name in names):
            raise ConfigError(what, "a name has a line break or another control character", own_name)
        for values, fix in ((names, own_name), (roles, "give each role to one band")):
            for twice in (value for value in values if value and values.count(value) > 1):
                raise ConfigError(what, f"'{twice}' is there twice", fix)
        for band in self.bands:
            if band.scale == 0:
                raise ConfigError(what, f"scale of '{band.name}' is 0", "give what stored values are multiplied by")
            if band.valid and band.valid[0] >= band.valid[1]:
                least, most = band.valid
                why = f"valid of '{band.name}' is [{least:g}, {most:g}]"
                raise ConfigError(what, why, "give the least value first")


_WITHOUT_BANDS = {"patches", "regions", "region_metres", "mask", "arrays", "images", "masks"}


def grouping(folder: Path | None) -> Grouping:
    """How the `dataset.yaml` in a folder says which split and region each patch is of.

    Raises:
        ConfigError: `dataset.yaml` has a mistake.
    """
    if folder is None:
        return Grouping()
    fields = _read(folder / DESCRIPTION)
    if fields.patches and Path(fields.patches).name != fields.patches:
        why = f"'{fields.patches}' is no file's name"
        raise ConfigError(f"description {folder / DESCRIPTION}: patches", why, "put the file beside this one")
    table = folder / fields.patches if fields.patches else None
    patterns = fields.patterns(f"description {folder / DESCRIPTION}")
    return Grouping(folder, table, fields.regions, fields.region_metres, patterns)


def describe(folders: Iterable[Path], images: Sequence[Path]) -> Sensor:
    """What the patches of a dataset are, by the `dataset.yaml` in the first of the folders that has one.

    Without one, or where it says nothing of bands, the first image is read, and of pictures the sizes of all.

    Raises:
        ConfigError: `dataset.yaml` has a mistake.
        DataError: an image cannot be read, or its bands are not known.
    """
    files = [folder / DESCRIPTION for folder in folders if os.path.lexists(folder / DESCRIPTION)]
    for file in files:
        if sensor := _read(file).sensor(f"description {file}"):
            return sensor
    if not files:
        return _guessed(images, "")
    fields = _read(files[0])
    return fields.applied_to(_guessed(images, fields.arrays.image), f"description {files[0]}")


def _guessed(images: Sequence[Path], array: str) -> Sensor:
    """What patches are without a word on their bands; `array` names the images' in files of several."""
    if not images or images[0].suffix.lower() in HDF5:
        return LANDSLIDE4SENSE
    image = read_array(images[0], array)
    if _is_coloured(image):
        return replace(RGB, tile=_tile_of(raster_size(path, array) for path in images))
    raise DataError(
        f"file {images[0]}",
        f"{image.dtype} of shape {image.shape}: what its bands are is not known",
        f"describe them in {DESCRIPTION}: lsml data describe DIR writes a draft",
    )


def regions_alone(folder: Path) -> str:
    """The content of the `dataset.yaml` in a folder where it says nothing of bands; empty without one.

    Raises:
        ConfigError: it has a mistake.
        DataError: it describes bands.
    """
    file = folder / DESCRIPTION
    if not os.path.lexists(file):
        return ""
    if _read(file).sensor(f"description {file}"):
        raise DataError(f"description {file}", "already exists", "edit it, or remove it first")
    return file.read_text(encoding="utf-8")


def _read(file: Path) -> _DatasetFields:
    what = f"description {file}"
    if not file.is_file():
        raise ConfigError(what, "not a regular file, nor a link to one", "write it anew: lsml data describe DIR")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise ConfigError(what, str(reason), "write it anew: lsml data describe DIR") from None
    return _DatasetFields.from_yaml(text, what)


def _tile_of(sizes: Iterable[tuple[int, int]]) -> int | None:
    """The side of the squares that images of these sizes are cut into, by the first of them; None where they are not.

    No more sizes are asked for than it takes: each is a file that is opened at every start.
    """
    remaining = iter(sizes)
    first = next(remaining)
    if max(first) > _WHOLE:
        return _LARGE_TILE
    return _TILE if any(size != first for size in remaining) else None


def _is_coloured(image: np.ndarray) -> bool:
    """Whether an image is of 8 bits, and of red, green, blue and perhaps what is opaque."""
    return image.dtype == np.uint8 and image.ndim == 3 and min(image.shape) in (3, 4)


class _Looks(NamedTuple):
    """What an image looks like.

    Attributes:
        size: height and width.
        bands: of each, the usual absolute value, the least and the largest, float64 `(3, C)`; NaN where it has none.
    """

    size: tuple[int, int]
    bands: np.ndarray

    @classmethod
    def of(cls, path: Path, named: str) -> "_Looks":
        array = look(path, named)
        usual, low, high = np.nanmedian(np.abs(array), (0, 1)), np.nanmin(array, (0, 1)), np.nanmax(array, (0, 1))
        return cls(array.shape[:2], np.array([usual, low, high]))


def draft(images: Sequence[Path], told: str = "") -> str:
    """A `dataset.yaml` to be filled in, by looking at a few images of train: their bands, and a usual value of each.

    Args:
        told: what it says already, as `regions_alone` gives it; it ends with that.

    Raises:
        DataError: an image cannot be read, or has another number of bands than the first.
    """
    chosen = [images[place] for place in evenly(len(images), _LOOKED_AT)]
    array = _DatasetFields.from_yaml(told, f"description {DESCRIPTION}").arrays.image if told else ""
    with warnings.catch_warnings():
        # A band may have no values in an image.
        warnings.simplefilter("ignore", RuntimeWarning)
        looks = [_Looks.of(path, array) for path in chosen]
        _check_bands(chosen, looks)
        each = np.array([found.bands for found in looks])
        usual, low, high = np.nanmedian(each[:, 0], 0), np.nanmin(each[:, 1], 0), np.nanmax(each[:, 2], 0)
    coloured = len(usual) == len(RGB) and chosen[0].suffix.lower() not in HDF5
    coloured = coloured and _is_coloured(read_array(chosen[0], array))
    colours = [band.role for band in RGB.bands] if coloured else [""] * len(usual)
    bands = "\n".join(
        f"  - {{name: {role or f'band {n}'}, role: {role or repr(role)}, unit: digital number, scale: 1, offset: 0, "
        f"typical: {max(value, 1e-6):.4g}}}  # {least:.4g} to {most:.4g}"
        for n, (role, value, least, most) in enumerate(
            zip(colours, np.nan_to_num(usual, nan=1.0), low, high, strict=True), start=1
        )
    )
    roles = textwrap.fill(", ".join(_ROLES), 116, initial_indent="# ", subsequent_indent="# ")
    side = _tile_of(found.size for found in looks)
    tile = f"{'#' * (side is None)} tile: {side or _TILE}".strip()
    return _DRAFT.format(count=len(chosen), images=len(images), roles=roles, tile=tile, bands=bands) + told


def _check_bands(paths: Sequence[Path], looks: Sequence[_Looks]) -> None:
    """Raises DataError where not all have as many bands as the first."""
    first, *others = (found.bands.shape[1] for found in looks)
    for path, bands in zip(paths[1:], others, strict=True):
        if bands != first:
            why = f"has {bands} bands, where {paths[0]} has {first}"
            raise DataError(f"file {path}", why, "keep those of one sensor in the dataset")


def write_bands(sensor: Sensor, more: Mapping[str, Any], title: str) -> str:
    """The content of a `dataset.yaml` of these bands and masks, and of `more` keys, below a comment."""
    named = {unit: (name, factor) for name, (unit, factor) in _UNITS.items()}
    bands = []
    for band in sensor.bands:
        unit, factor = named[band.unit]
        entry: dict[str, Any] = {"name": band.name, "role": band.role, "unit": unit, "scale": band.scale / factor}
        entry |= {"offset": band.offset / factor, "typical": float(f"{band.typical:.4g}")}
        entry |= {"valid": [value / factor for value in band.valid]} if band.valid else {}
        bands.append(entry | ({} if band.nodata is None else {"nodata": band.nodata}))
    tree: dict[str, Any] = {"name": sensor.name}
    tree |= {"pixel_metres": sensor.pixel_metres} if sensor.pixel_metres else {}
    colours = {"landslide": sensor.landslide, "ignore": sensor.ignore}
    mask = {name: [value[0] if len(value) == 1 else list(value) for value in own] for name, own in colours.items()}
    tree |= {"bands": bands, "mask": {name: own for name, own in mask.items() if own}, **more}
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    return f"# {title}\n{text}"
