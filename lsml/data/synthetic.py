"""A seeded synthetic dataset in exactly the Landslide4Sense format, where only context tells a landslide.

Every patch starts from terrain: valleys, slope, rivers, sunlight and the paths of landslides all follow from it. Bare
ground has one distribution of spectra, whatever laid it bare: a landslide, a field, a road, a river bar. So a single
pixel cannot tell which; shape and place can: landslides alone are tongues that start on steep ground and run downhill.

The spectra are round figures in the range of Sentinel-2 top-of-atmosphere reflectance over forested mountains, of no
particular place. A patch is drawn on a larger canvas and cut out, so that objects cross its edges; lengths are pixels.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from scipy import fft, ndimage
from threadpoolctl import threadpool_limits

from lsml.data.domains import Domain, domains, region_table
from lsml.data.layout import DESCRIPTION, MARK
from lsml.data.sensor import ELEVATION, LANDSLIDE4SENSE, SLOPE
from lsml.errors import ConfigError, DataError
from lsml.names import VERSION
from lsml.workspace import rename_durably

_SENSOR, _SIZE, _METRES = LANDSLIDE4SENSE, 128, 10.0
_SPLITS = ("train", "validation", "test")
_CANVAS = 160
_MARGIN = (_CANVAS - _SIZE) // 2
_STEEP = 27.0
_RUNOUT_END = 12.0


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


def synthesize(
    out: Path,
    *,
    train: int = 96,
    validation: int = 32,
    test: int = 32,
    seed: int = 0,
    regions: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes `out/{TrainData,ValidData,TestData}/{img,mask}/{image,mask}_N.h5`, N from 1 in each split, or nothing.

    A file `synthetic.json` beside them says what they are, so that no score on them is taken for one on real patches.

    Args:
        out: a folder that does not exist yet, or is empty.
        train, validation, test: patches in each split.
        seed: the same seed writes the same bytes.
        regions: so many that differ, named in `patches.csv`, see `lsml.data.domains.domains`; 0 for none.
        progress: called with (patches written, patches in all) after each patch.

    Raises:
        ConfigError: a split without patches, a negative seed, or a number of regions that does not fit.
        DataError: `out` already holds something, or cannot be written.
    """
    counts = {"train": train, "validation": validation, "test": test}
    if min(counts.values()) < 1 or seed < 0:
        asked = f"{train}, {validation} and {test} patches with seed {seed}"
        raise ConfigError("synthetic dataset", asked, "give each split at least 1 patch and a seed of at least 0")
    of_patches = domains(counts, regions=regions, seed=seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"synthetic dataset {out}", "already exists", "choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            unfinished = Path(staging) / "dataset"
            with threadpool_limits(1, "blas"):  # a second thread gets in the way of products as small as these
                _write_splits(unfinished, of_patches, seed, progress)
            if regions:
                (unfinished / "patches.csv").write_text(region_table(of_patches), encoding="utf-8")
                (unfinished / DESCRIPTION).write_text("patches: patches.csv\n", encoding="utf-8")
            made_by = {"made_by": f"lsml {VERSION}", "seed": seed, **counts} | ({"regions": regions} if regions else {})
            (unfinished / MARK).write_text(json.dumps(made_by), encoding="utf-8")
            rename_durably(unfinished, out)
    except OSError as error:
        megabytes = sum(counts.values()) * (_SIZE**2 * len(_SENSOR) * 8 + 20_000) / 1e6
        why = f"cannot be written ({error.strerror or error})"
        fix = f"free {megabytes:.0f} MB there or choose another folder"
        raise DataError(f"synthetic dataset {out}", why, fix) from error


def synthetic_patch(
    split: str, number: int, *, seed: int = 0, domain: Domain | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One patch, a function of its arguments alone; without `domain`, of that of its split.

    Returns:
        Stored values float64 (128, 128, 14), integers over the band constants; mask uint8 (128, 128), 1 for landslide.
    """
    domain = domain or domains({split: 1})[split][0]
    rng = np.random.default_rng([seed, _SPLITS.index(split), number])
    terrain = _terrain(rng, domain)
    slides = _landslides(rng, terrain, domain.slide_size)
    ground = _ground(rng, terrain, slides, domain)
    inner = slice(_MARGIN, _MARGIN + _SIZE)
    window = (..., inner, inner)
    light = _light(rng, terrain.gradient[window]) * ground.brightness[window]
    physical = np.empty((_SIZE, _SIZE, len(_SENSOR)), dtype=np.float64)
    physical[..., _SENSOR.optical] = domain.gain * _radiance(rng, ground.cover[window], light, domain)
    physical[..., _SENSOR.place(SLOPE)] = terrain.slope[window]
    physical[..., _SENSOR.place(ELEVATION)] = terrain.elevation[window]
    return np.rint(physical) / _SENSOR.divisors, (slides[window] > 0).astype(np.uint8)


def _write_splits(
    folder: Path, of_patches: dict[str, list[Domain]], seed: int, progress: Callable[[int, int], None] | None
) -> None:
    total, written = sum(map(len, of_patches.values())), 0
    for split, each in of_patches.items():
        images, masks = (folder / each[0].folder / kind for kind in ("img", "mask"))
        images.mkdir(parents=True)
        masks.mkdir()
        for number, domain in enumerate(each, 1):
            image, mask = synthetic_patch(split, number, seed=seed, domain=domain)
            _write(images / f"image_{number}.h5", "img", image)
            _write(masks / f"mask_{number}.h5", "mask", mask)
            written += 1
            if progress is not None:
                progress(written, total)


def _write(path: Path, name: str, array: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=array)


def _fractal(rng: np.random.Generator, *, longest: float, exponent: float) -> np.ndarray:
    """Gaussian noise (H, W) of unit variance whose amplitude falls as frequency ** -exponent below `longest` pixels."""
    size = 2 * _SIZE  # so that its period does not show
    spectrum = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum *= np.where(frequency >= 1 / longest, frequency, np.inf).astype(np.float32) ** -exponent
    field = fft.irfft2(spectrum, (size, size))
    return (field / field.std())[:_CANVAS, :_CANVAS]


def _gradient(height: np.ndarray) -> np.ndarray:
    return np.stack(np.gradient(height, _METRES))


def _terrain(rng: np.random.Generator, domain: Domain) -> _Terrain:
    """The valley winds where a tilted plane plus noise is zero, side valleys where a second noise is."""
    rows, columns = np.indices((_CANVAS, _CANVAS))
    bearing = rng.uniform(0, 2 * np.pi)
    across = (rows * np.sin(bearing) + columns * np.cos(bearing)) / _CANVAS
    across -= across[tuple(rng.integers(_MARGIN, _CANVAS - _MARGIN, 2))]
    trunk = _one_line(3 * across, 0.45 * _fractal(rng, longest=150, exponent=3.2))
    branch = _fractal(rng, longest=120, exponent=2.8)
    fine = _fractal(rng, longest=32, exponent=1.8)
    flank = np.maximum(np.abs(trunk) - 0.06, 0)
    rough = np.minimum(flank / 0.5, 1)
    height = flank**0.9 + 0.4 * rough * np.abs(branch) + 0.03 * rough * fine
    height = ndimage.gaussian_filter(height, 1.0)
    steepness = np.tan(np.radians(np.clip(rng.normal(domain.steepness, 4), 14, 36)))
    height *= steepness / np.hypot(*_gradient(height)).mean()
    downstream = rows * np.cos(bearing) - columns * np.sin(bearing)
    elevation = height + 0.03 * _METRES * downstream
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
    if rng.random() < 0.1:
        return slides
    gradient = _gradient(terrain.smooth)
    slope = np.degrees(np.arctan(np.hypot(*gradient)))
    steep = np.argwhere((slope > _STEEP) & (terrain.river > 8))
    if not len(steep):
        return slides
    # One storm or earthquake loosens a neighbourhood: distance to its middle decides, give or take.
    middle = steep[rng.integers(len(steep))]
    spread = np.hypot(*(steep - middle).T) * rng.uniform(0.3, 1.7, len(steep))
    starts = steep[np.argsort(spread)][:: max(1, len(steep) // 60)]
    enough = rng.uniform(0.012, 0.055) * slides.size
    for number, start in enumerate(starts, 1):
        path = _descend(start, gradient, slope, steps=int(size * rng.uniform(14, 55)))
        if len(path) >= 8:
            radius = size * rng.uniform(2.0, 3.8) + 0.06 * len(path)
            _draw_slide(slides, path, radius, terrain, number)
        if np.count_nonzero(slides) > enough:
            break
    return slides


def _descend(start: np.ndarray, gradient: np.ndarray, slope: np.ndarray, *, steps: int) -> np.ndarray:
    """Points (N, 2) a pixel apart on the way down, with some inertia, until the ground is too flat to go on."""
    place, heading, path = start.astype(float), np.zeros(2), []
    for _ in range(steps):
        row, column = np.rint(place).astype(int)
        if not (0 <= row < _CANVAS and 0 <= column < _CANVAS) or slope[row, column] < _RUNOUT_END:
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
    meadow = _fractal(rng, longest=60, exponent=1.8) + 0.8 * (height - 0.5) - (terrain.slope - 25) / 25
    cover[_GRASS] = 1 / (1 + np.exp(3.5 - 8 * rng.normal(domain.dryness, 0.08) - 2.5 * meadow))
    cover[_FOREST] = 1 - cover[_GRASS]
    ground = _Ground(cover, 1 + 0.1 * _fractal(rng, longest=6, exponent=0.6), domain.dark_soil)

    # Landslides keep a rim of forest, so that their outline is what the mask says.
    apart = ndimage.binary_dilation(slides > 0, iterations=3)
    for _ in range(rng.integers(2, 5)):
        _farm(rng, terrain, apart, ground)
    river = rng.uniform(0.5, 2.2)
    bars = terrain.river + 0.8 * terrain.fine < river + rng.uniform(0.2, 1.3)
    ground.lay_bare(rng, bars.astype(np.int32))
    ground.lay_bare(rng, _roads(rng, terrain))
    _village(rng, terrain, apart, ground)
    ground.lay_bare(rng, slides)
    ground.cover_with(_WATER, terrain.river < river)
    # The instrument's point spread, about a pixel wide.
    return ground._replace(cover=ndimage.gaussian_filter(cover, (0, 0.45, 0.45)))


def _farm(rng: np.random.Generator, terrain: _Terrain, apart: np.ndarray, ground: _Ground) -> None:
    """A grid of straight-edged parcels along the contour lines, some bare, some green, clear of the landslides."""
    centre = rng.integers(_MARGIN, _CANVAS - _MARGIN, 2)
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
        bearing, start = rng.uniform(0, 2 * np.pi), rng.integers(_MARGIN, _CANVAS - _MARGIN, 2)
        climb = 0.1 * _METRES * (rows * np.sin(bearing) + columns * np.cos(bearing))
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


def _radiance(rng: np.random.Generator, cover: np.ndarray, light: np.ndarray, domain: Domain) -> np.ndarray:
    """Top-of-atmosphere reflectance x 10,000, float32 (H, W, 12): lit ground, air, thin cloud and sensor noise."""
    tint = np.exp(rng.normal(0, 0.05, (len(_SPECTRA), 1)) + rng.normal(0, 0.015, _SPECTRA.shape))
    lit = np.tensordot(cover, (_SPECTRA * tint).astype(np.float32), axes=(0, 0))
    lit *= light.astype(np.float32)[..., None]
    haze = np.clip(rng.normal(domain.haze, 0.08), 0.7, 1.5)
    cirrus = 4 * np.exp(rng.normal(0, 0.5)) + _cloud(rng, light.shape)
    radiance = lit + _AIR * np.float32(haze) + cirrus.astype(np.float32)[..., None] * _CLOUD
    noise = rng.standard_normal(radiance.shape, dtype=np.float32)
    return np.maximum(radiance + noise * (0.015 * radiance + np.float32(0.6)), 1)


def _cloud(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Thickness (H, W) of a thin cloud, in the units of the cirrus band: none over most patches, thick over a few."""
    if rng.random() < 0.7:
        return np.zeros(shape)
    wisps = np.maximum(_fractal(rng, longest=150, exponent=2.0)[: shape[0], : shape[1]] - 0.3, 0)
    return np.minimum(wisps * 15 * np.exp(rng.normal(0, 0.8)), 130)
