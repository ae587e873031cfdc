"""Drawn ground of any size under a drawn sky: terrain first, then landslides, what covers the ground, and light.

A canvas is larger than what is cut out of it, so that objects cross the edges. What lies on it is drawn cell by cell,
each as large as the canvas of a patch, of which that of a patch is one; objects of a cell reach into its neighbours.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import fft, ndimage

from lsml.data.domains import Domain

METRES = 10.0
"""The side of a pixel."""
_MARGIN, _CELL = 16, 160
"""Pixels around what is cut out of a canvas, and a side of a cell: with its margins a patch is one."""
_REACH = 56
"""Pixels beyond a cell in which its fields, roads and houses may lie; fields reach up to 51 from their middle."""
_STEEP = 27.0
_RUNOUT_END = 12.0

_Window = tuple[slice, slice]


# Surface reflectance x 10,000 of what covers the ground, in the order of the first twelve bands.
_SPECTRA = np.array(
    [
        [70, 100, 230, 140, 400, 1500, 1900, 1950, 850, 3, 1000, 420],  # forest
        [130, 190, 420, 300, 750, 1800, 2250, 2300, 950, 4, 1600, 750],  # grass and crops
        [170, 230, 290, 190, 150, 110, 90, 80, 40, 4, 40, 30],  # water
        [420, 600, 760, 880, 1000, 1250, 1400, 1450, 800, 15, 1700, 1450],  # roofs and yards
        [360, 540, 790, 930, 1120, 1600, 1800, 1800, 930, 15, 1950, 1420],  # light soil
        [240, 350, 560, 740, 900, 1300, 1480, 1500, 800, 12, 1650, 1200],  # dark soil
    ],
    dtype=np.float32,
)
_FOREST, _GRASS, _WATER, _BUILT, _LIGHT_SOIL, _DARK_SOIL = range(len(_SPECTRA))

# Light scattered by the air before it reaches the ground (strongest in the blue), and what a thin cloud adds.
_AIR = np.array([830, 550, 310, 160, 130, 80, 60, 50, 25, 6, 8, 4], dtype=np.float32)
_CLOUD = np.array([8, 8, 8, 8, 8, 8, 8, 8, 4, 1, 6, 4], dtype=np.float32)


class _Ground(NamedTuple):
    """What covers the canvas; its arrays are painted over, object after object."""

    cover: np.ndarray  # (K, H, W) shares that sum to one, in the order of `_SPECTRA`
    brightness: np.ndarray  # (H, W) factor
    dark_soil: float  # as in `Domain`

    def at(self, window: _Window) -> "_Ground":
        """A part of it, which shares its memory."""
        return self._replace(cover=self.cover[(slice(None), *window)], brightness=self.brightness[window])

    def cover_with(self, kind: int, where: np.ndarray) -> None:
        self.cover[:, where] = 0
        self.cover[kind, where] = 1

    def lay_bare(self, rng: np.random.Generator, objects: np.ndarray) -> None:
        """Turns each numbered object of (H, W) into bare soil; all draw from one distribution, whatever they are."""
        here, count = objects > 0, objects.max() + 1
        which = objects[here]
        bare = rng.uniform(0.7, 1.0, count)[which]
        dark = np.clip(rng.normal(self.dark_soil, 0.25, count), 0, 1)[which]
        self.cover[:, here] *= 1 - bare
        self.cover[_LIGHT_SOIL, here] += bare * (1 - dark)
        self.cover[_DARK_SOIL, here] += bare * dark
        self.brightness[here] *= np.exp(rng.normal(0, 0.16, count))[which]


class _Terrain(NamedTuple):
    """The shape of the ground on the canvas, each array (H, W) unless said otherwise."""

    elevation: np.ndarray  # metres
    slope: np.ndarray  # degrees
    gradient: np.ndarray  # (2, H, W): metres up per metre down the rows, and along the columns
    river: np.ndarray  # pixels to the nearest valley line
    smooth: np.ndarray  # elevation without its finest relief, which landslides and roads do not follow
    fine: np.ndarray  # fractal noise of unit variance, for ragged edges

    def at(self, window: _Window) -> "_Terrain":
        """A part of it, which shares its memory."""
        return _Terrain(*(array[(..., *window)] for array in self))


class _Air(NamedTuple):
    """What the ground is seen through, and what it looks like in it."""

    spectra: np.ndarray  # (K, 12), of the season
    haze: np.float32  # relative to `_AIR`
    cirrus: np.ndarray  # (H, W), in the units of the cirrus band
    gain: np.ndarray  # (12,), of the sensor


class Landscape(NamedTuple):
    """Ground and sky of so many pixels, of which a sensor takes a picture.

    Attributes:
        elevation: metres, `(H, W)`.
        slope: degrees, `(H, W)`.
        landslides: 0 where there is none, else the number of the one that lies there, `(H, W)`.
        cover: shares of what covers the ground, `(K, H, W)`.
        light: on the ground, relative to level ground, `(H, W)`.
        air: what it is seen through.
    """

    elevation: np.ndarray
    slope: np.ndarray
    landslides: np.ndarray
    cover: np.ndarray
    light: np.ndarray
    air: _Air

    def picture(self, rng: np.random.Generator, rows: slice = slice(None)) -> np.ndarray:
        """Top-of-atmosphere reflectance x 10,000 of the first twelve bands, float32 `(rows, W, 12)`, with noise."""
        air = self.air
        lit = np.tensordot(self.cover[:, rows], air.spectra, axes=(0, 0))
        lit *= self.light[rows].astype(np.float32)[..., None]
        radiance = lit + _AIR * air.haze + air.cirrus[rows].astype(np.float32)[..., None] * _CLOUD
        noise = rng.standard_normal(radiance.shape, dtype=np.float32)
        return air.gain * np.maximum(radiance + noise * (0.015 * radiance + np.float32(0.6)), 1)


def draw_landscape(rng: np.random.Generator, shape: tuple[int, int], domain: Domain) -> Landscape:
    """A landscape of so many pixels, a function of the generator's state and the others alone.

    Args:
        shape: height and width, each at least 128.
        domain: what the drawing's distributions have in their middle.
    """
    canvas = (shape[0] + 2 * _MARGIN, shape[1] + 2 * _MARGIN)
    terrain = _terrain(rng, canvas, domain)
    slides = _landslides(rng, terrain, domain.slide_size)
    ground = _ground(rng, terrain, slides, domain)
    window: Any = (..., *(slice(_MARGIN, _MARGIN + length) for length in shape))
    light = _light(rng, terrain.gradient[window]) * ground.brightness[window]
    seen = terrain.elevation[window], terrain.slope[window], slides[window], ground.cover[window]
    return Landscape(*seen, light, _air(rng, shape, domain))


def _cells(shape: tuple[int, ...]) -> Iterator[_Window]:
    """The cells of a canvas; the last ones of a row or column take in what is left of it."""
    starts = [[*range(0, max(length - _CELL, 0) + 1, _CELL)] for length in shape]
    edges = [list(zip(each, [*each[1:], length], strict=True)) for each, length in zip(starts, shape, strict=True)]
    for top, bottom in edges[0]:
        for left, right in edges[1]:
            yield slice(top, bottom), slice(left, right)


def _around(cell: _Window, shape: tuple[int, ...]) -> _Window:
    """A cell with what its objects reach into."""
    top_bottom, left_right = (
        slice(max(side.start - _REACH, 0), min(side.stop + _REACH, length))
        for side, length in zip(cell, shape, strict=True)
    )
    return top_bottom, left_right


def _somewhere(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A pixel that is not in the margin of a patch's canvas; of a larger one, so far inside that no field is cut."""
    margin = _MARGIN if max(shape) <= _CELL else _REACH
    return rng.integers(margin, [length - margin for length in shape])


_PERIOD = 96
"""Pixels at least by which noise is longer than what is cut out of it, so that its period does not show."""


def _fractal(rng: np.random.Generator, shape: tuple[int, ...], *, longest: float, exponent: float) -> np.ndarray:
    """Gaussian noise (H, W) of unit variance whose amplitude falls as frequency ** -exponent below `longest` pixels."""
    height, width = (max(fft.next_fast_len(length + _PERIOD, real=True), 256) for length in shape)
    spectrum = fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum *= np.where(frequency >= 1 / longest, frequency, np.inf).astype(np.float32) ** -exponent
    field = fft.irfft2(spectrum, (height, width))
    return (field / field.std())[: shape[0], : shape[1]]


def _gradient(height: np.ndarray) -> np.ndarray:
    return np.stack(np.gradient(height, METRES))


def _terrain(rng: np.random.Generator, shape: tuple[int, int], domain: Domain) -> _Terrain:
    """The valley winds where a tilted plane plus noise is zero, side valleys where a second noise is."""
    rows, columns = np.indices(shape)
    bearing = rng.uniform(0, 2 * np.pi)
    across = (rows * np.sin(bearing) + columns * np.cos(bearing)) / _CELL
    across -= across[tuple(_somewhere(rng, shape))]
    trunk = _valleys(rng, 3 * across)
    branch = _fractal(rng, shape, longest=120, exponent=2.8)
    fine = _fractal(rng, shape, longest=32, exponent=1.8)
    flank = np.maximum(np.abs(trunk) - 0.06, 0)
    rough = np.minimum(flank / 0.5, 1)
    height = flank**0.9 + 0.4 * rough * np.abs(branch) + 0.03 * rough * fine
    height = ndimage.gaussian_filter(height, 1.0)
    steepness = np.tan(np.radians(np.clip(rng.normal(domain.steepness, 4), 14, 36)))
    height *= steepness / np.hypot(*_gradient(height)).mean()
    downstream = rows * np.cos(bearing) - columns * np.sin(bearing)
    elevation = height + 0.03 * METRES * downstream * min(_CELL / max(shape), 1)
    elevation += rng.uniform(450, 2600) - elevation.min()
    gradient = _gradient(elevation)
    return _Terrain(
        elevation=elevation,
        slope=np.degrees(np.arctan(np.hypot(*gradient))),
        gradient=gradient,
        river=np.abs(trunk) / (np.hypot(*np.gradient(trunk)) + 1e-3),
        smooth=ndimage.gaussian_filter(elevation, 2.0),
        fine=fine,
    )


def _valleys(rng: np.random.Generator, plane: np.ndarray) -> np.ndarray:
    """What is zero along the bottom of one valley, or where there is room for several, of one every 160 pixels."""
    noise = 0.45 * _fractal(rng, plane.shape, longest=150, exponent=3.2)
    if max(plane.shape) <= _CELL:
        return _one_line(plane, noise)
    wide = plane + 1.5 * _fractal(rng, plane.shape, longest=1000, exponent=3.2)
    # Rises and falls by turns, with the plane's own slope: zero wherever the plane is a multiple of 3.
    return 3 / np.pi * np.arcsin(np.sin(np.pi / 3 * wide)) + noise


def _one_line(plane: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Their sum, with the noise damped until its zero line has no closed loops: a river has no moat."""
    for _ in range(20):
        total = plane + noise
        if ndimage.label(total > 0)[1] + ndimage.label(total < 0)[1] <= 2:
            break
        noise = 0.8 * noise
    return total


def _landslides(rng: np.random.Generator, terrain: _Terrain, size: float) -> np.ndarray:
    """Landslides (H, W): 0 where there is none, else the number of the one that lies there."""
    slides = np.zeros(terrain.slope.shape, dtype=np.int32)
    downhill = _gradient(terrain.smooth)
    slope = np.degrees(np.arctan(np.hypot(*downhill)))
    last = 0
    for cell in _cells(slides.shape):
        if rng.random() < 0.1:
            continue
        steep = np.argwhere((slope[cell] > _STEEP) & (terrain.river[cell] > 8)) + [side.start for side in cell]
        if not len(steep):
            continue
        # One storm or earthquake loosens a neighbourhood: distance to its middle decides, give or take.
        middle = steep[rng.integers(len(steep))]
        spread = np.hypot(*(steep - middle).T) * rng.uniform(0.3, 1.7, len(steep))
        starts = steep[np.argsort(spread)][:: max(1, len(steep) // 60)]
        enough = rng.uniform(0.012, 0.055) * slides[cell].size
        for number, start in enumerate(starts, last + 1):
            path = _descend(start, downhill, slope, steps=int(size * rng.uniform(14, 55)))
            if len(path) >= 8:
                radius = size * rng.uniform(2.0, 3.8) + 0.06 * len(path)
                _draw_slide(slides, path, radius, terrain, number)
            if np.count_nonzero(slides[cell]) > enough:
                break
        last += len(starts)
    return slides


def _descend(start: np.ndarray, gradient: np.ndarray, slope: np.ndarray, *, steps: int) -> np.ndarray:
    """Points (N, 2) a pixel apart on the way down, with some inertia, until the ground is too flat to go on."""
    place, heading, path = start.astype(float), np.zeros(2), []
    for _ in range(steps):
        row, column = np.rint(place).astype(int)
        if not (0 <= row < slope.shape[0] and 0 <= column < slope.shape[1]) or slope[row, column] < _RUNOUT_END:
            break
        path.append(place)
        downhill = -gradient[:, row, column]
        heading = 0.5 * heading + downhill / np.hypot(*downhill)
        heading /= np.hypot(*heading)
        place = place + heading
    return np.array(path).reshape(-1, 2)


def _draw_slide(slides: np.ndarray, path: np.ndarray, radius: float, terrain: _Terrain, number: int) -> None:
    """A broad scar, a narrower track and a lobe at the foot, with ragged edges, above the river's bed."""
    along = np.linspace(0, 1, len(path))
    radii = radius * np.interp(along, [0, 0.12, 0.35, 0.75, 0.9, 1], [0.6, 1, 0.75, 0.55, 0.7, 0.5])
    low = np.maximum(np.floor(path.min(0) - radius - 2).astype(int), 0)
    high = np.ceil(path.max(0) + radius + 3).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rows, columns = np.indices(slides[box].shape)
    across, along = rows + low[0] - path[:, 0, None, None], columns + low[1] - path[:, 1, None, None]
    outside = np.hypot(across, along) - radii[:, None, None]
    inside = (outside.min(0) + 0.4 * terrain.fine[box] < 0) & (terrain.river[box] > 4)
    slides[box][inside] = number


def _ground(rng: np.random.Generator, terrain: _Terrain, slides: np.ndarray, domain: Domain) -> _Ground:
    """Forest and meadows first, then what men and water laid bare, then the landslides, and the river last."""
    cover = np.zeros((len(_SPECTRA), *slides.shape), dtype=np.float32)
    height = (terrain.elevation - terrain.elevation.min()) / 600
    meadow = _fractal(rng, height.shape, longest=60, exponent=1.8) + 0.8 * (height - 0.5) - (terrain.slope - 25) / 25
    cover[_GRASS] = 1 / (1 + np.exp(3.5 - 8 * rng.normal(domain.dryness, 0.08) - 2.5 * meadow))
    cover[_FOREST] = 1 - cover[_GRASS]
    ground = _Ground(cover, 1 + 0.1 * _fractal(rng, height.shape, longest=6, exponent=0.6), domain.dark_soil)

    # Landslides keep a rim of forest, so that their outline is what the mask says.
    apart = ndimage.binary_dilation(slides > 0, iterations=3)
    windows = [_around(cell, slides.shape) for cell in _cells(slides.shape)]
    for window in windows:
        for _ in range(rng.integers(2, 5)):
            _farm(rng, terrain.at(window), apart[window], ground.at(window))
    river = rng.uniform(0.5, 2.2)
    bars = terrain.river + 0.8 * terrain.fine < river + rng.uniform(0.2, 1.3)
    ground.lay_bare(rng, bars.astype(np.int32))
    for window in windows:
        ground.at(window).lay_bare(rng, _roads(rng, terrain.at(window)))
    for window in windows:
        _village(rng, terrain.at(window), apart[window], ground.at(window))
    ground.lay_bare(rng, slides)
    ground.cover_with(_WATER, terrain.river < river)
    # The instrument's point spread, about a pixel wide.
    return ground._replace(cover=ndimage.gaussian_filter(cover, (0, 0.45, 0.45)))


def _farm(rng: np.random.Generator, terrain: _Terrain, apart: np.ndarray, ground: _Ground) -> None:
    """A grid of straight-edged parcels along the contour lines, some bare, some green, clear of the landslides."""
    centre = _somewhere(rng, apart.shape)
    uphill = _gradient(ndimage.gaussian_filter(terrain.smooth, 6.0))[:, centre[0], centre[1]]
    uphill /= np.hypot(*uphill) + 1e-9
    rows, columns = np.indices(apart.shape) - centre[:, None, None]
    u = columns * uphill[0] - rows * uphill[1]
    v = rows * uphill[0] + columns * uphill[1]
    length, width = rng.uniform(8, 15), rng.uniform(4.5, 8)
    reach = rng.integers(1, 4, 2)
    i, j = np.floor(u / length).astype(int) + reach[0], np.floor(v / width).astype(int) + reach[1]
    inside = (i >= 0) & (i < 2 * reach[0]) & (j >= 0) & (j < 2 * reach[1])
    hedge = (u % length < 1) | (v % width < 1)
    parcel = np.where(inside & ~hedge & (terrain.river > 6), 1 + i + 2 * reach[0] * j, 0)
    count = 1 + 4 * reach.prod()
    touched = np.bincount(parcel.ravel(), weights=apart.ravel(), minlength=count) > 0
    kind = np.where(touched, 0, rng.choice(3, count, p=[0.34, 0.28, 0.38]))[parcel] * (parcel > 0)
    ground.cover_with(_GRASS, kind == 1)
    ground.lay_bare(rng, np.where(kind == 2, parcel, 0))


def _roads(rng: np.random.Generator, terrain: _Terrain) -> np.ndarray:
    """Roads (H, W), numbered: lines that climb gently along the flanks."""
    roads = np.zeros(terrain.slope.shape, dtype=np.int32)
    rows, columns = np.indices(roads.shape)
    for number in range(1, rng.integers(2, 4)):
        bearing, start = rng.uniform(0, 2 * np.pi), _somewhere(rng, roads.shape)
        climb = 0.1 * METRES * (rows * np.sin(bearing) + columns * np.cos(bearing))
        level = terrain.smooth - climb
        level -= level[tuple(start)]
        distance = np.abs(level) / (np.hypot(*np.gradient(level)) + 0.5)
        pieces, _ = ndimage.label(distance < rng.uniform(0.8, 1.1), np.ones((3, 3)))
        road = pieces == pieces[tuple(start)]
        if road[0].any() or road[-1].any() or road[:, 0].any() or road[:, -1].any():  # it leads out of the canvas
            roads[road] = number
    return roads


def _village(rng: np.random.Generator, terrain: _Terrain, apart: np.ndarray, ground: _Ground) -> None:
    """Houses with yards on gentle ground, each a few pixels large."""
    gentle = np.argwhere((terrain.slope < 18) & (terrain.river > 4) & ~apart)
    if len(gentle) < 50 or rng.random() < 0.3:
        return
    middle = gentle[rng.integers(len(gentle))]
    near = gentle[np.hypot(*(gentle - middle).T) < rng.uniform(8, 22)]
    houses = np.zeros(apart.shape, dtype=np.int32)
    for number, (row, column) in enumerate(rng.permutation(near)[: rng.integers(4, 30)], 1):
        houses[row : row + rng.integers(1, 4), column : column + rng.integers(1, 4)] = number
    ground.lay_bare(rng, houses)
    ground.cover_with(_BUILT, (houses > 0) & (rng.random(houses.shape) < 0.4))


def _light(rng: np.random.Generator, gradient: np.ndarray) -> np.ndarray:
    """Light on the ground (H, W) relative to level ground: the sun by Lambert's cosine law, and the sky."""
    zenith, azimuth = np.radians(rng.normal(38, 6)), np.radians(rng.normal(145, 12))
    # Rows run south and columns east; azimuth is counted from north over east.
    rise_to_sun = -np.cos(azimuth) * gradient[0] + np.sin(azimuth) * gradient[1]
    direct = (1 - np.tan(zenith) * rise_to_sun) / np.hypot(1, np.hypot(*gradient))
    return 0.35 + 0.65 * np.clip(direct, 0.05, 1.6)


def _air(rng: np.random.Generator, shape: tuple[int, int], domain: Domain) -> _Air:
    """Haze and thin cloud over (H, W), and the spectra of what covers the ground, a little different each time."""
    tint = np.exp(rng.normal(0, 0.05, (len(_SPECTRA), 1)) + rng.normal(0, 0.015, _SPECTRA.shape))
    haze = np.clip(rng.normal(domain.haze, 0.08), 0.7, 1.5)
    cirrus = 4 * np.exp(rng.normal(0, 0.5)) + _cloud(rng, shape)
    return _Air((_SPECTRA * tint).astype(np.float32), np.float32(haze), cirrus, domain.gain)


def _cloud(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Thickness (H, W) of a thin cloud, in the units of the cirrus band: none over most patches, thick over a few."""
    if rng.random() < 0.7:
        return np.zeros(shape)
    wisps = np.maximum(_fractal(rng, shape, longest=150, exponent=2.0) - 0.3, 0)
    return np.minimum(wisps * 15 * np.exp(rng.normal(0, 0.8)), 130)
