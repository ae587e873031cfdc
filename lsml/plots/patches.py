"""Pictures of patches, masks and predictions, as arrays or PNG bytes."""

import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imread
from matplotlib.patches import Patch

from lsml.data.sensor import BLUE, GREEN, IGNORED, NEAR_INFRARED, RED, SLOPE, Sensor, Unit, landslide_share
from lsml.plots import GREY, OUTCOMES, png

HIT, MISS, FALSE_ALARM = (
    tuple(round(255 * part) for part in to_rgb(OUTCOMES[outcome])) for outcome in ("hit", "miss", "false alarm")
)
"""uint8 red, green and blue."""
_UNKNOWN = tuple(round(255 * part) for part in to_rgb(GREY))
"""Of pixels of which nobody knows whether they are landslide."""

# Reflectance x 10,000 shown as black and as white. Black is what hazy air alone scatters over dark ground (most in the
# blue), white is bare soil in the sun: so colours are true to each other and comparable from patch to patch.
_STRETCH = {RED: (150, 1900), GREEN: (380, 1800), BLUE: (570, 1700), NEAR_INFRARED: (0, 4500)}
_GAMMA = 0.7
_STEEPEST = 60

# Pixels of a panel's pictures: twice a patch's side, so that each of its pixels is two by two and none is lost.
_SIDE, _GAP, _TITLE, _FOOT = 256, 8, 24, 42


_TRUE_COLOUR, _FALSE_COLOUR = (RED, GREEN, BLUE), (NEAR_INFRARED, RED, GREEN)


def true_colour(image: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Red, green and blue, uint8 (H, W, 3), of stored bands (H, W, C); the first band in grey where there are no such.

    Reflectance has a fixed stretch, the same for every patch: .015 to .19 (red), .038 to .18 (green), .057 to .17
    (blue) to 0..255 with a gamma of .7. Bands with a range of valid values are drawn over it, others from their 2nd to
    their 98th percentile in the patch. What lies outside is clipped, and NaN is black.
    """
    if sensor.has(*_TRUE_COLOUR):
        return _composite(image, _TRUE_COLOUR, sensor)
    return np.repeat(_stretched(image[..., :1].astype(np.float64), *_limits(image[..., :1])), 3, axis=-1)


def _short(text: str, most: int = 40) -> str:
    """Both ends of a text that is longer than a picture is wide."""
    end = (most - 3) // 2
    return text if len(text) <= most else f"{text[:end]}...{text[-end:]}"


def _title(sensor: Sensor) -> str:
    return "true colour" if sensor.has(*_TRUE_COLOUR) else sensor.bands[0].name


def _outcome_map(
    image: np.ndarray, truth: np.ndarray, probability: np.ndarray, threshold: float, sensor: Sensor
) -> np.ndarray:
    """Hits, misses and false alarms, uint8 (H, W, 3), in the colours `HIT`, `MISS`, `FALSE_ALARM` on dark grey.

    Pixels whose truth is `IGNORED` are light grey.

    Args:
        image: stored bands (H, W, C).
        truth: (H, W), landslide where 1.
        probability: (H, W) in 0..1; from `threshold` on a pixel counts as landslide.
    """
    grey = 30 + 0.45 * true_colour(image, sensor).mean(-1, keepdims=True)
    outcome = np.repeat(grey, 3, axis=-1).astype(np.uint8)
    landslide, predicted = truth == 1, probability >= threshold
    outcome[landslide & predicted] = HIT
    outcome[landslide & ~predicted] = MISS
    outcome[~landslide & predicted] = FALSE_ALARM
    outcome[truth == IGNORED] = _UNKNOWN
    return outcome


def draw_patches(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], ids: Sequence[str], sensor: Sensor
) -> bytes:
    """One PNG with a row a patch: true colour, false colour, slope in degrees, and the mask over the true colour.

    False colour is near infrared, red and green, stretched as in `true_colour`, near infrared from 0 to .45: vegetation
    is red, bare ground cyan to white. What the sensor has no bands for is left out.

    Args:
        images: of each, stored bands (H, W, C).
        masks: of each, (H, W), landslide where 1, grey where `IGNORED`.
        ids: a name each, for its row's title.
    """
    columns = 2 + sensor.has(*_FALSE_COLOUR) + sensor.has(SLOPE)
    figure = Figure(figsize=(2.6 * columns, 2.75 * len(images)), dpi=100, layout="constrained")
    rows = figure.subplots(len(images), columns, squeeze=False)
    for row, image, mask, name in zip(rows, images, masks, ids, strict=True):
        axes = iter(row)
        show_picture(next(axes), true_colour(image, sensor), _short(f"{name}: {_title(sensor)}"))
        if sensor.has(*_FALSE_COLOUR):
            letters = ", ".join(sensor.bands[sensor.place(role)].name.split()[0] for role in _FALSE_COLOUR)
            show_picture(next(axes), _composite(image, _FALSE_COLOUR, sensor), _short(f"false colour ({letters})"))
        if sensor.has(SLOPE):
            _show_slope(next(axes), sensor.physical(np.nan_to_num(image), SLOPE)[..., 0])
        show_picture(next(axes), _overlay(image, mask, sensor), f"mask: {landslide_share(mask):.1%} landslide")
    return png(figure)


def _show_slope(axes: Axes, degrees: np.ndarray) -> None:
    drawn = show_picture(axes, degrees, "slope (degrees)", cmap="viridis", vmin=0, vmax=_STEEPEST)
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8, extend="max")


def draw_augmented(
    versions: Sequence[tuple[np.ndarray, np.ndarray]], ids: Sequence[str], titles: Sequence[str], sensor: Sensor
) -> bytes:
    """One PNG with a row a patch and a column a version: true colour, and landslides' outlines in orange.

    Args:
        versions: of each, stored bands (N, H, W, C) and masks (N, H, W), landslide where 1.
        ids: N names, one for each row.
        titles: one for each version.
    """
    figure = Figure(figsize=(2.1 * len(versions), 2.3 * len(ids)), dpi=100, layout="constrained")
    rows = figure.subplots(len(ids), len(versions), squeeze=False)
    for axes, title, (images, masks) in zip(rows.T, titles, versions, strict=True):
        for place, name, image, mask in zip(axes, ids, images, masks, strict=True):
            show_picture(place, _outlined(image, mask, sensor), _short(f"{name}: {title}", 32))
    return png(figure)


def _outlined(image: np.ndarray, mask: np.ndarray, sensor: Sensor) -> np.ndarray:
    """True colour, uint8 (H, W, 3), with the edges of landslides in `FALSE_ALARM`'s colour, grey where nobody knows.

    Args:
        image: stored bands (H, W, C).
        mask: (H, W), landslide where 1.
    """
    padded = np.pad(mask == 1, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    colour = true_colour(image, sensor)
    colour[(mask == 1) & ~inner] = FALSE_ALARM
    colour[mask == IGNORED] = _UNKNOWN
    return colour


class _Sheet:
    """Pictures of `_SIDE` pixels at known places, below titles; axes for each would take thrice the time."""

    def __init__(self, width: int, height: int) -> None:
        self._figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self._canvas = FigureCanvasAgg(self._figure)
        self._width, self._height = width, height

    def show(self, picture: np.ndarray, title: str, *, left: int, top: int) -> None:
        """A picture, uint8 (H, W, 3), each pixel as often as it takes, its title above."""
        rows, columns = (np.arange(_SIDE) * length // _SIDE for length in picture.shape[:2])
        self._paint(picture[np.ix_(rows, columns)], left, top)
        self.write(_short(title), left + _SIDE / 2, top - _TITLE / 2, size=10)

    def bar(self, *, left: int, top: int) -> None:
        """The colours of probabilities from 0 to 1, numbered, below a picture."""
        shades = _probability_colours(np.linspace(0, 1, _SIDE - 20))
        self._paint(np.repeat(shades[None], 9, axis=0), left + 10, top)
        for number in (0, 0.25, 0.5, 0.75, 1):
            self.write(f"{number:.2f}", left + 10 + number * (_SIDE - 20), top + 18, size=9)

    def legend(self, *, left: int, top: int, unknown: bool) -> None:
        """What hits, misses, false alarms and, where there are any, pixels that nobody knows are painted in."""
        for name, colour, start in (("hit", HIT, 20), ("miss", MISS, 80), ("false alarm", FALSE_ALARM, 145)):
            self._entry(name, colour, left + start, top)
        if unknown:
            self._entry("ignored", _UNKNOWN, left + 20, top + 16)

    def _entry(self, name: str, colour: tuple[int, ...], left: int, top: int) -> None:
        self._paint(np.full((10, 14, 3), colour, np.uint8), left, top)
        self.write(name, left + 20, top + 5, size=10, align="left")

    def write(self, text: str, x: float, y: float, *, size: int, align: str = "center") -> None:
        """A line of text, `y` pixels below the top in its middle."""
        place = x / self._width, 1 - y / self._height
        self._figure.text(*place, text, fontsize=size, ha=align, va="center", parse_math=False)

    def _paint(self, picture: np.ndarray, left: int, top: int) -> None:
        self._figure.figimage(picture, left, self._height - top - len(picture), origin="upper")

    def pixels(self) -> np.ndarray:
        """All of it, uint8 (h, w, 3)."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def png(self) -> bytes:
        """All of it."""
        return png(self._figure)


def _probability_colours(probability: np.ndarray) -> np.ndarray:
    """Values in 0..1 as uint8 red, green and blue, `(..., 3)`."""
    return colormaps["viridis"](probability, bytes=True)[..., :3]


def prediction_panel(image: np.ndarray, probability: np.ndarray, threshold: float, sensor: Sensor) -> bytes:
    """One row as PNG: true colour, probability (0..1), and what counts as landslide laid over the true colour.

    Args:
        image: stored bands (H, W, C).
        probability: (H, W) in 0..1.
        threshold: probability from which a pixel counts as landslide.
    """
    called = probability >= threshold
    sheet, lefts = (
        _Sheet(3 * (_SIDE + _GAP) + _GAP, _TITLE + _SIDE + _FOOT),
        [_GAP + n * (_SIDE + _GAP) for n in range(3)],
    )
    sheet.show(true_colour(image, sensor), _title(sensor), left=lefts[0], top=_TITLE)
    sheet.show(_probability_colours(probability), "probability of landslide", left=lefts[1], top=_TITLE)
    title = f"landslide from {threshold:.2f} on: {called.mean():.1%}"
    sheet.show(_overlay(image, called, sensor), title, left=lefts[2], top=_TITLE)
    sheet.bar(left=lefts[1], top=_TITLE + _SIDE + 9)
    return sheet.png()


def panel(
    image: np.ndarray, truth: np.ndarray, probability: np.ndarray, threshold: float, sensor: Sensor
) -> np.ndarray:
    """Two by two, uint8 (h, w, 3) 602 x 536: true colour, truth, probability (0..1), and hits, misses, false alarms.

    Nearly square, as are the tiles of MLflow's image grid.

    Args:
        image: stored bands (H, W, C).
        truth: (H, W), landslide where 1, grey where `IGNORED`.
        probability: (H, W) in 0..1.
        threshold: probability from which a pixel counts as landslide.
    """
    sheet = _Sheet(2 * (_SIDE + _GAP) + _GAP, 2 * (_SIDE + _TITLE) + _FOOT)
    (left, right), (top, below) = (_GAP, 2 * _GAP + _SIDE), (_TITLE, 2 * _TITLE + _SIDE)
    white = np.repeat(np.uint8(255) * (truth == 1).astype(np.uint8)[..., None], 3, axis=-1)
    white[truth == IGNORED] = _UNKNOWN
    sheet.show(true_colour(image, sensor), _title(sensor), left=left, top=top)
    sheet.show(white, f"truth: {landslide_share(truth):.1%} landslide", left=right, top=top)
    sheet.show(_probability_colours(probability), "probability", left=left, top=below)
    outcome = _outcome_map(image, truth, probability, threshold, sensor)
    sheet.show(outcome, f"landslide from {threshold:.2f} on", left=right, top=below)
    sheet.bar(left=left, top=below + _SIDE + 9)
    sheet.legend(left=right, top=below + _SIDE + 12, unknown=IGNORED in truth)
    return sheet.pixels()


class _PanelParts(NamedTuple):
    """Two of the pictures of a `panel`, uint8 (256, 256, 3)."""

    true_colour: np.ndarray
    outcome: np.ndarray


def _panel_parts(picture: np.ndarray) -> _PanelParts:
    """The true colour and the hits, misses and false alarms of a `panel`; all of it, twice, of any other picture.

    Args:
        picture: uint8 (h, w, 3).
    """
    width, height = 2 * (_SIDE + _GAP) + _GAP, 2 * (_SIDE + _TITLE) + _FOOT
    if picture.shape != (height, width, 3):
        return _PanelParts(picture, picture)
    below, right = 2 * _TITLE + _SIDE, 2 * _GAP + _SIDE
    return _PanelParts(
        picture[_TITLE : _TITLE + _SIDE, _GAP : _GAP + _SIDE], picture[below : below + _SIDE, right : right + _SIDE]
    )


def read_panel(content: bytes) -> _PanelParts:
    """The true colour and the hits, misses and false alarms of a `panel` as PNG; all of it, twice, of any other."""
    return _panel_parts((imread(io.BytesIO(content), format="png")[..., :3] * 255).round().astype(np.uint8))


def show_picture(
    axes: Axes, picture: np.ndarray, title: str, *, loc: Literal["left", "center"] = "center", **options: Any
) -> AxesImage:
    """Shows a picture with each pixel as a square, without axes; further options as of `Axes.imshow`."""
    # Names of files and bands may hold dollar signs.
    axes.set_title(title, fontsize=10 if loc == "center" else 9, loc=loc, parse_math=False)
    axes.set_axis_off()
    return axes.imshow(picture, interpolation="nearest", **options)


def outcome_handles() -> list[Patch]:
    """What a legend of hits, misses and false alarms consists of."""
    return [Patch(color=colour, label=name) for name, colour in OUTCOMES.items()]


def _composite(image: np.ndarray, roles: Sequence[str], sensor: Sensor) -> np.ndarray:
    values, bands = sensor.physical(image, *roles), [sensor.bands[sensor.place(role)] for role in roles]
    if all(band.unit == Unit.REFLECTANCE for band in bands):
        black, white = np.array([_STRETCH[role] for role in roles]).T
        return _stretched(values, black, white, gamma=_GAMMA)
    ranges = [band.valid for band in bands if band.valid]
    return _stretched(values, *(np.array(ranges).T if len(ranges) == len(bands) else _limits(values)))


def _limits(values: np.ndarray) -> np.ndarray:
    """The 2nd and 98th percentile of each band of `(H, W, C)` over its finite values, `(2, C)`."""
    known = [band[np.isfinite(band)] for band in np.moveaxis(values, -1, 0)]
    return np.array([np.percentile(band, (2, 98)) if band.size else (0, 1) for band in known]).T


def _stretched(values: np.ndarray, black: np.ndarray, white: np.ndarray, *, gamma: float = 1.0) -> np.ndarray:
    """Values `(H, W, C)` as uint8, `black` and below as 0, `white` and above as 255; NaN is black."""
    span = np.where(white > black, white - black, 1)
    return (np.nan_to_num(np.clip((values - black) / span, 0, 1)) ** gamma * 255).astype(np.uint8)


def _overlay(image: np.ndarray, mask: np.ndarray, sensor: Sensor) -> np.ndarray:
    colour = true_colour(image, sensor)
    colour[mask == 1] = 0.4 * colour[mask == 1] + 0.6 * np.array(FALSE_ALARM)
    colour[mask == IGNORED] = _UNKNOWN
    return colour
