"""Maps of a scene: probabilities kept row by row, so that work goes on after a kill, then cloud-optimised GeoTIFFs."""

import contextlib
import ctypes
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.windows import Window
from scipy.special import entr

from lsml.errors import DataError
from lsml.evaluation.evaluate import Predict
from lsml.scenes.reading import Scene
from lsml.scenes.tiling import Blend, Tiling
from lsml.workspace import make_folder, replace_atomically, sync_file

STEPS = 10_000
"""A stored probability is a whole number of so many."""
NODATA, _MASK_NODATA = 65_535, 255
PROBABILITY, MASK, UNCERTAINTY = "probability.tif", "mask.tif", "uncertainty.tif"

PLAIN, UNCERTAIN = ("probability",), ("probability", "deviation")
"""What is known of each pixel: its probability, and how far those of members and orientations deviate."""

_PIXELS, _FEWEST = 4 * 256**2, 4
"""Of the tiles that are predicted in one call at most, and so many tiles if there is room for them."""
_STRIP = 512
"""Rows that are written at a time."""
_CACHE = 2**25
"""Bytes of blocks that GDAL keeps while it writes; else it takes a twentieth of the machine's memory."""


@dataclass(frozen=True)
class Unfinished:
    """Maps of a scene on their way: finished rows in a file each, how many in a journal beside them.

    Attributes:
        folder: of all.
        identity: what the maps depend on, as plain data; those of another are thrown away.
        shape: height and width.
        layers: which maps, `PLAIN` or `UNCERTAIN`.
    """

    folder: Path
    identity: Mapping[str, Any]
    shape: tuple[int, int]
    layers: tuple[str, ...] = PLAIN

    @property
    def _paths(self) -> list[Path]:
        """Of each layer, uint16 `(H, W)`: a number x `STEPS`, `NODATA` where the scene has no value."""
        return [self.folder / f"{layer}.raw" for layer in self.layers]

    @property
    def _journal(self) -> Path:
        return self.folder / "journal.json"

    def begin(self) -> int:
        """How many rows of tiles are finished; makes room for all where none is.

        Raises:
            DataError: the folder cannot be written to.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            journal = json.loads(self._journal.read_text(encoding="utf-8"))
            whole = all(path.stat().st_size == self._bytes for path in self._paths)
            if journal["identity"] == self.identity and whole:
                return int(journal["finished"])
        with self._writing():
            make_folder(self.folder)
            self._journal.unlink(missing_ok=True)
            for path in self._paths:
                with path.open("wb") as file:
                    file.truncate(self._bytes)
            self._note(0)
        return 0

    @property
    def _bytes(self) -> int:
        return 2 * self.shape[0] * self.shape[1]

    def write(self, rows: slice, stored: np.ndarray, *, finished: int) -> None:
        """Writes rows of all layers, uint16 `(layers, rows, W)`, and then that so many rows of tiles are finished.

        Raises:
            DataError: there is no room.
        """
        with self._writing():
            for path, layer in zip(self._paths, stored, strict=True):
                with path.open("r+b") as file:
                    file.seek(2 * rows.start * self.shape[1])
                    file.write(np.ascontiguousarray(layer, np.uint16).tobytes())
                    sync_file(file)
            self._note(finished)

    def _note(self, finished: int) -> None:
        text = json.dumps({"identity": self.identity, "finished": finished})
        replace_atomically(self._journal, text.encode())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"cannot be written ({len(self.layers) * self._bytes:,} bytes in all): {error.strerror}"
            raise DataError(f"map {self._paths[0]}", why, "free space there; the same command resumes") from None

    def read(self, layer: str = "probability", *, first: int = 0, last: int | None = None) -> np.ndarray:
        """A layer, memory-mapped, from its row `first` up to `last`: what was read of a part goes with it."""
        shape = min(self.shape[0], last or self.shape[0]) - first, self.shape[1]
        return np.memmap(self.folder / f"{layer}.raw", np.uint16, "r", offset=2 * first * shape[1], shape=shape)

    def strips(self, layer: str = "probability") -> Iterator[tuple[int, np.ndarray]]:
        """A layer, some rows at a time: the first of them, and all `(rows, W)`."""
        for first in range(0, self.shape[0], _STRIP):
            yield first, self.read(layer, first=first, last=first + _STRIP)

    def remove(self) -> None:
        """Removes the folder, once all that is made of it is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def predict_rows(
    scene: Scene, tiling: Tiling, predict: Predict, unfinished: Unfinished, progress: Callable[[int, int], None]
) -> None:
    """Predicts the rows of tiles of a scene that are not finished.

    The row before them is predicted once more, for what it knows of the first of them: nothing is kept of a map but
    whole rows, and they come out as they would have without a stop.

    Args:
        predict: stored bands `(B, H, W, C)` to `(B, H, W, layers)`, each in 0..1.
        progress: hears how many tiles of how many are done.

    Raises:
        DataError: the scene cannot be read, or the map not be written.
        ModelError: what the network gives is no probability.
    """
    finished, columns = unfinished.begin(), len(tiling.lefts)
    if finished == len(tiling.tops):
        return
    blends = [Blend(tiling) for _ in unfinished.layers]

    def put_together(batch: _Batch, predicted: np.ndarray) -> None:
        for left, tile in zip(batch.lefts, predicted, strict=False):
            for layer, blend in enumerate(blends):
                blend.add(batch.place, left, tile[..., layer])
        if batch.known is not None:
            rows = np.stack([blend.finish(batch.place) for blend in blends])
            if batch.place >= finished:
                stored = np.where(batch.known, np.rint(rows * STEPS), NODATA)
                unfinished.write(tiling.rows(batch.place), stored, finished=batch.place + 1)

    # The network never waits for what is read before it, or put together and written behind it.
    with ThreadPoolExecutor(1) as behind:
        before: Future[None] | None = None
        for batch in _ahead(_batches(scene, tiling, max(finished - 1, 0))):
            predicted = predict(batch.images) if batch.lefts else np.empty(0)
            if before:
                before.result()
            before = behind.submit(put_together, batch, predicted)
            progress(batch.place * columns + batch.done, columns * len(tiling.tops))
        if before:
            before.result()
    # What GDAL kept of the scene goes first.
    with rasterio.Env(GDAL_CACHEMAX=_CACHE):
        _give_back_memory()


def _give_back_memory() -> None:
    """Gives the system what the network's or GDAL's threads have freed, which the C library keeps for these alone.

    It is hundreds of MB, which the outlines of very many landslides need; other libraries than glibc have no such call.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


class _Batch(NamedTuple):
    """Some tiles of a row of them.

    Attributes:
        place: of the row of tiles.
        done: how many tiles of the row have been looked at.
        lefts: the first column of each tile.
        images: their stored bands, float32 `(B, tile, tile, C)`, of one size throughout: nothing is compiled twice.
        known: with the last batch of a row, bool `(rows, width)`: which pixels the scene has.
    """

    place: int
    done: int
    lefts: list[int]
    images: np.ndarray
    known: np.ndarray | None = None


def _batches(scene: Scene, tiling: Tiling, first: int) -> Iterator[_Batch]:
    """The tiles of a scene from a row of them on; of one row alone in each batch, whatever was finished before.

    The images of a batch are overwritten when the one after the next is asked for.
    """
    size = _together(tiling)
    memory = itertools.cycle(np.zeros((2, size, tiling.tile, tiling.tile, len(scene.sensor)), np.float32))
    for place in range(first, len(tiling.tops)):
        rows, known = tiling.rows(place), np.zeros((tiling.tile, tiling.lefts[-1] + tiling.tile), bool)
        images, lefts = next(memory), list[int]()
        for done, left in enumerate(tiling.lefts):
            if len(lefts) == size:
                yield _Batch(place, done, lefts, images)
                images, lefts = next(memory), []
            stored = scene.read(tiling.tops[place], left, tiling.tile, into=images[len(lefts)])
            if stored is not None:
                lefts.append(left)
                known[:, left : left + tiling.tile] |= scene.known(stored)
        images[len(lefts) :] = 0
        seen = known[: rows.stop - rows.start, : tiling.width]
        yield _Batch(place, len(tiling.lefts), lefts, images, seen)


def _together(tiling: Tiling) -> int:
    """How many tiles to predict in a call: that which leaves the fewest places empty at the end of a row."""
    most = min(max(_PIXELS // tiling.tile**2, 1), len(tiling.lefts))
    return min(range(min(_FEWEST, most), most + 1), key=lambda size: (-len(tiling.lefts) % size, -size))


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Each, the next being read while one is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def level_of(threshold: float) -> int:
    """The least stored probability that is landslide."""
    return max(int(np.ceil(threshold * STEPS - 1e-6)), 1)


def write_maps(
    unfinished: Unfinished, threshold: float, out: Path, *, grid: Mapping[str, Any], facts: Mapping[str, str]
) -> None:
    """Writes `probability.tif` and `mask.tif` into a folder that is there: cloud-optimised GeoTIFFs with overviews.

    Where the deviation is known, `uncertainty.tif` too: its first band is the deviation, its second the entropy of the
    prediction, see `_entropy`.

    Args:
        unfinished: of which all rows are finished; a probability is the stored number times the scale in the file.
        threshold: the mask, uint8, is 1 from this probability on, 0 below it, 255 where the scene has no value.
        grid: size, coordinate system and transform.
        facts: what the files say of themselves, as tags.

    Raises:
        DataError: they cannot be written.
    """
    level, scale = level_of(threshold), 1 / STEPS

    def mask(rows: np.ndarray) -> np.ndarray:
        return np.where(rows == NODATA, _MASK_NODATA, rows >= level).astype(np.uint8)

    probability = _Band("probability of landslide", "probability", np.asarray)
    outputs = [
        _Output(PROBABILITY, (probability,), "uint16", NODATA, scale, "average"),
        _Output(MASK, (_Band("landslide", "probability", mask),), "uint8", _MASK_NODATA, 1.0, "mode"),
    ]
    if unfinished.layers == UNCERTAIN:
        deviation = _Band("standard deviation of the probability", "deviation", np.asarray)
        entropy = _Band("predictive entropy in bits", "probability", _entropy)
        outputs.append(_Output(UNCERTAINTY, (deviation, entropy), "uint16", NODATA, scale, "average"))
    for output in outputs:
        try:
            plain = unfinished.folder / output.name
            with rasterio.Env(GDAL_CACHEMAX=_CACHE):
                output.write_plain(plain, unfinished, grid, facts)
                _optimise(plain, out / output.name, output.resampling)
            _give_back_memory()
        except (OSError, RasterioError) as error:
            said = getattr(error, "strerror", None) or str(error.__cause__ or error).splitlines()[0]
            why = f"cannot be written ({unfinished.shape[0] * unfinished.shape[1]:,} pixels): {said}"
            fix = "free space or give another --out; the same command resumes"
            raise DataError(f"map {out / output.name}", why, fix) from None


def _entropy(stored: np.ndarray) -> np.ndarray:
    """Of landslide or not, in bits x `STEPS`: -p log2 p - (1 - p) log2 (1 - p), from 0 to 1 where p is .5.

    Source: Shannon 1948, "A mathematical theory of communication", of what the model predicts.
    """
    p = np.minimum(stored, STEPS) / STEPS
    bits = (entr(p) + entr(1 - p)) / np.log(2)
    return np.where(stored == NODATA, NODATA, np.rint(bits * STEPS)).astype(np.uint16)


class _Band(NamedTuple):
    """A band of a GeoTIFF, and the layer that it is made of."""

    description: str
    layer: str
    convert: Callable[[np.ndarray], np.ndarray]


class _Output(NamedTuple):
    """A GeoTIFF that is made of layers, and how its overviews are."""

    name: str
    bands: tuple[_Band, ...]
    dtype: str
    nodata: int
    scale: float
    resampling: str

    def write_plain(
        self, path: Path, unfinished: Unfinished, grid: Mapping[str, Any], facts: Mapping[str, str]
    ) -> None:
        """Writes it strip by strip, as the driver of cloud-optimised ones wants to read it."""
        profile = {"driver": "GTiff", "count": len(self.bands), "dtype": self.dtype, "nodata": self.nodata, **grid}
        with rasterio.open(path, "w", tiled=True, bigtiff="if_safer", **profile) as file:
            for number, band in enumerate(self.bands, start=1):
                for row, strip in unfinished.strips(band.layer):
                    window = Window(0, row, strip.shape[1], strip.shape[0])
                    file.write(band.convert(strip), number, window=window)
                file.set_band_description(number, band.description)
            file.update_tags(**facts)
            file.scales = (self.scale,) * len(self.bands)


def _optimise(plain: Path, path: Path, resampling: str) -> None:
    """Makes a cloud-optimised GeoTIFF of a plain one; the file of that name is the old or the new one, never a part."""
    for left in path.parent.glob(f"{path.name}.partial*"):
        left.unlink()
    unfinished = path.with_name(f"{path.name}.partial")
    options = {
        "compress": "deflate",
        # Probabilities are like noise: more effort takes 1.7 times as long and makes the file no smaller.
        "level": 1,
        "predictor": "yes",
        "blocksize": 512,
        "bigtiff": "if_safer",
        "num_threads": "all_cpus",
    }
    rasterio.shutil.copy(plain, unfinished, driver="COG", overview_resampling=resampling, **options)
    unfinished.replace(path)


@dataclass(frozen=True)
class SceneResult:
    """What was found in a scene.

    Attributes:
        out: the folder of the maps.
        pixels: of the scene that have a value.
        landslide_share: the share of these that is landslide, in 0..1.
        landslides: how many polygons there are; None where none were asked for.
        threshold: the probability from which a pixel counts as landslide, in 0..1.
        model_run_id: the run whose model predicted.
    """

    out: Path
    pixels: int
    landslide_share: float
    landslides: int | None
    threshold: float
    model_run_id: str


def count_pixels(unfinished: Unfinished, threshold: float) -> tuple[int, float]:
    """How many pixels of a map have a value, and the share of these that is landslide."""
    level, known, landslide = level_of(threshold), 0, 0
    for _, strip in unfinished.strips():
        values = strip[strip != NODATA]
        known, landslide = known + len(values), landslide + int((values >= level).sum())
    return known, landslide / max(known, 1)
