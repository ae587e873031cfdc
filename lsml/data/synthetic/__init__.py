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

import numpy as np
from threadpoolctl import threadpool_limits

from lsml.data.domains import Domain, domains, region_table
from lsml.data.formats.hdf5 import encode
from lsml.data.layout import DESCRIPTION, MARK
from lsml.data.sensor import ELEVATION, LANDSLIDE4SENSE, SLOPE
from lsml.data.synthetic.landscape import draw_landscape
from lsml.errors import ConfigError, DataError
from lsml.names import VERSION
from lsml.workspace import rename_durably

_SENSOR, _SIZE = LANDSLIDE4SENSE, 128
_SPLITS = ("train", "validation", "test")


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
    landscape = draw_landscape(rng, (_SIZE, _SIZE), domain)
    physical = np.empty((_SIZE, _SIZE, len(_SENSOR)), dtype=np.float64)
    physical[..., _SENSOR.optical] = landscape.picture(rng)
    physical[..., _SENSOR.place(SLOPE)] = landscape.slope
    physical[..., _SENSOR.place(ELEVATION)] = landscape.elevation
    return np.rint(physical) / _SENSOR.divisors, (landscape.landslides > 0).astype(np.uint8)


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
            (images / f"image_{number}.h5").write_bytes(encode("img", image))
            (masks / f"mask_{number}.h5").write_bytes(encode("mask", mask))
            written += 1
            if progress is not None:
                progress(written, total)
