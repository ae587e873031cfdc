"""Base configurations on several grounds: which holds where the next dozen patches come from, in Markdown.

    python bench/defaults.py [--data DIR] [--work .lsml/defaults] [--smoke]

A configuration that is best in the folds of one dozen patches has been found for that dozen. Here each is scored on
grounds that have nothing in common: `DIR/landslide4sense` (img/ and mask/), each folder of `DIR/rgb` (images/ and
masks/), and synthetic patches of four regions, twice. `DIR` is $LSML_REAL_DATA unless given; without it there are
synthetic grounds alone. So that a fit of all folds takes 10 to 20 seconds of one core, patches are cut into quarters
and pictures shrunk, both to 64 x 64 pixels, and most networks begin with 16 filters and train for 160 steps of 4 of
them. In the end a few are scored on whole patches of Landslide4Sense, of which networks learn otherwise than of
quarters.

Folds hold out whole regions where these are known, else contiguous blocks, whose borders move with the seed. The
threshold of a block is the best over the pixels of all other blocks: one chosen on what is scored would flatter most
those whose thresholds wander. F1 is pooled over the pixels of the mean of all seeds' out-of-fold probabilities, as a
study registers the mean of its folds' networks. Each round ranks the configurations on every ground, and the best by
median rank go on to the next one, with more grounds or seeds (`ROUNDS`); of equal ones first the one whose largest
loss on any ground is smaller.

A fold that was trained is kept in the folder `--work`, under a key of its settings, patches, seed and arithmetic: the
same command resumes, and what has changed is trained anew. `--smoke` takes two tiny networks on synthetic patches.
"""

import argparse
import copy
import os
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
from scipy.stats import rankdata, spearmanr
from timing import machine

from lsml.config.fields import Scalar
from lsml.config.schema import PUBLIC_RECIPE, TrainConfig, with_values
from lsml.data.pack import PackedSplit
from lsml.data.regions import fold_indices
from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.splits import FoldedData
from lsml.data.synthetic import synthesize
from lsml.scoring.metrics import THRESHOLDS, PooledCounts, f1
from lsml.training.crossval import Learner, cross_validate
from lsml.training.device import load_keras

ONE_CORE = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""What TensorFlow reads when it starts."""

SIDE = 64
"""Pixels of patches and pictures."""

Fields = Mapping[str, Scalar]

BUDGET: Fields = {"training.epochs": 20, "training.steps_per_epoch": 8, "training.batch_size": 4}

PLAIN: Fields = {
    "model.filters": 16,
    "model.depth": 3,
    "loss.cross_entropy": 0.5,
    "loss.dice": 0.5,
    "loss.jaccard": 0.0,
    "augment.strength": 0.5,
    "training.learning_rate": 4e-3,
    **BUDGET,
}
"""What a textbook would choose; the others of `CANDIDATES` but the first say what they change in it."""

LONG_AND_DEEP: Fields = {**PLAIN, "model.depth": 4, "model.dropout": 0.0, "training.epochs": 40}
"""All at once of what helps by itself."""

FLIPS_ALONE: Fields = {f"augment.{change}": 0.0 for change in ("rotation", "crop", "light", "gain", "noise")}

CANDIDATES: Mapping[str, Fields] = {
    "before": {
        "input.indices": "all",
        "model.filters": 8,
        "model.depth": 3,
        "model.dropout": 0.0,
        "model.tree_weight": 0.5,
        "loss.cross_entropy": 0.1,
        "loss.jaccard": 0.9,
        "augment.strength": 0.8,
        "training.learning_rate": 6e-3,
        **BUDGET,
    },
    "plain": PLAIN,
    "higher rate": {**PLAIN, "training.learning_rate": 1e-2},
    "twice as long": {**PLAIN, "training.epochs": 40},
    "deeper": {**PLAIN, "model.depth": 4},
    "no dropout": {**PLAIN, "model.dropout": 0.0},
    "trees .25": {**PLAIN, "model.tree_weight": 0.25},
    "indices": {**PLAIN, "input.indices": "all"},
    "flips alone": {**PLAIN, **FLIPS_ALONE},
    "strong light": {**PLAIN, "augment.strength": 1.0, "augment.rotation": 0.5, "augment.crop": 0.5},
    "long and deep": LONG_AND_DEEP,
    "long and deep, flips alone": {**LONG_AND_DEEP, **FLIPS_ALONE},
}
"""By name, the fields in which each differs from lsml's defaults."""

_WHOLE: Fields = {**LONG_AND_DEEP, "training.epochs": 80, "training.steps_per_epoch": 0}

WHOLE_PATCHES: Mapping[str, Fields] = {
    "before": {**CANDIDATES["before"], "training.epochs": 40, "training.steps_per_epoch": 0},
    "long, 3 levels": {**_WHOLE, "model.depth": 3},
    "long and deep": _WHOLE,
    "long and deep, trees .25": {**_WHOLE, "model.tree_weight": 0.25},
    "long and deep, 60 epochs of batches of 2": {**_WHOLE, "training.epochs": 60, "training.batch_size": 2},
    "long and deep, 40 epochs of batches of 1": {**_WHOLE, "training.epochs": 40, "training.batch_size": 1},
}
"""Scored on uncut patches in the end; the second is the base of experiments/few_patches.yaml."""


class Round(NamedTuple):
    """How many configurations take part, how many seeds each has by its end, and how many grounds: first the real."""

    configurations: int
    seeds: int
    grounds: int


ROUNDS = (Round(len(CANDIDATES), 1, 1), Round(8, 1, 5), Round(3, 2, 3))

TINY: Fields = {"model.filters": 4, "model.depth": 1, "training.epochs": 1, "training.steps_per_epoch": 1}


class Ground(NamedTuple):
    """Patches of one kind.

    Attributes:
        folds: whole regions, or contiguous blocks, each held out once.
        pieces: that each patch or picture was cut into, one after the other; they stay in one block.
        real: not synthetic.
    """

    name: str
    pack: PackedSplit
    folds: int
    pieces: int
    real: bool

    @property
    def blocks(self) -> list[np.ndarray]:
        """The patches that are held out together with the first seed, and whose threshold comes from all others."""
        return fold_indices(len(self.pack), self.folds, self.pack.regions)

    def partition(self, number: int, seeds: int) -> PackedSplit:
        """The pack with its blocks of seed `number` of `seeds`, from 0: regions stay, other borders move on."""
        if not number or len(set(self.pack.regions)) > 1:
            return self.pack
        moved, patches = copy.copy(self.pack), len(self.pack)
        shift = number * (patches // self.pieces) // self.folds // seeds * self.pieces
        moved.regions = tuple(f"{(place + shift) % patches * self.folds // patches}" for place in range(patches))
        return moved


class Score(NamedTuple):
    """Of one configuration on one ground; all but `thresholds` and `seconds` are 0..1.

    Attributes:
        f1: of the mean of the seeds' out-of-fold probabilities.
        one_seed: the mean of the seeds' own F1.
        average_precision: as `f1`.
        thresholds: the lowest and the highest that a block was read at.
        seconds: of training, a seed.
    """

    f1: float
    one_seed: float
    average_precision: float
    thresholds: tuple[float, float]
    seconds: float


class Standing(NamedTuple):
    """What a row of a round's table says: scores by ground, rank over the grounds, and the largest loss on any."""

    name: str
    scores: dict[str, Score]
    rank: float
    worst: float


class Bench:
    """Cross-validates learners on grounds, each seed once.

    Args:
        seeds: at most, of any learner.
        results: a folder in which folds that were trained are kept.
    """

    def __init__(self, seeds: int, results: Path) -> None:
        self._seeds, self._results = seeds, results
        self._known: dict[tuple[str, str, int], tuple[np.ndarray, float]] = {}

    def score(self, name: str, learner: Learner, ground: Ground, seeds: int) -> Score:
        """Of the first `seeds` seeds."""
        outcomes = [self._outcome(name, learner, ground, number) for number in range(seeds)]
        indices = np.stack([places for places, _ in outcomes])
        alone = [_cross_fitted(ground, each[None])[0] for each in indices]
        pooled, precision, thresholds = _cross_fitted(ground, indices)
        seconds = statistics.fmean(spent for _, spent in outcomes)
        found = Score(pooled, statistics.fmean(alone), precision, (min(thresholds), max(thresholds)), seconds)
        sys.stderr.write(f"{ground.name}: {name}, {seeds} seeds: F1 {found.f1:.3f}, {seconds:.0f} s\n")
        return found

    def _outcome(self, name: str, learner: Learner, ground: Ground, number: int) -> tuple[np.ndarray, float]:
        """Out-of-fold probabilities as indices of the grid, uint16 `(N, H, W)`, and seconds of training."""
        key = (name, ground.name, number)
        if key not in self._known:
            found = cross_validate(
                learner,
                ground.partition(number, self._seeds),
                seed=number + 1,
                folds=ground.folds,
                repeats=1,
                report=lambda event: True,
                checkpoint=self._results / ground.name / name / str(number + 1),
            )
            seconds = sum(epoch["epoch_seconds"] for history in found.histories for epoch in history)
            self._known[key] = found.grid_indices[0], seconds
        return self._known[key]


def _cross_fitted(ground: Ground, indices: np.ndarray) -> tuple[float, float, list[float]]:
    """Pooled F1, each block at the best threshold of all others, average precision, and the thresholds.

    Args:
        indices: uint16 `(seeds, N, H, W)`, whose mean probability is scored.
    """
    probability = THRESHOLDS[indices].mean(axis=0)
    counts = [PooledCounts() for _ in ground.blocks]
    for pixels, block in zip(counts, ground.blocks, strict=True):
        for patch in block.tolist():
            pixels.update(ground.pack.mask(patch), probability[patch])
    thresholds = [_pooled(each for each in counts if each is not held_out).best_threshold() for held_out in counts]
    read = [pixels.at(threshold) for pixels, threshold in zip(counts, thresholds, strict=True)]
    return float(f1(np.sum(read, axis=0))), _pooled(counts).average_precision(), thresholds


def _pooled(counts: Iterable[PooledCounts]) -> PooledCounts:
    pooled = PooledCounts()
    for each in counts:
        pooled.merge(each)
    return pooled


def main() -> None:
    """Runs all rounds and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("LSML_REAL_DATA"))
    parser.add_argument("--work", type=Path, default=Path(".lsml/defaults"))
    parser.add_argument("--smoke", action="store_true", help="two tiny networks, one epoch")
    given = parser.parse_args()
    os.environ.update(dict.fromkeys(ONE_CORE, "1"))
    load_keras()
    if not given.smoke:
        compare(given.data, given.work, CANDIDATES, ROUNDS)
        return
    tiny = {name: {**CANDIDATES[name], **TINY} for name in ("before", "plain")}
    with tempfile.TemporaryDirectory() as folder:
        compare(None, Path(folder), tiny, (Round(2, 1, 2), Round(1, 2, 1)), recipe=with_values(PUBLIC_RECIPE, TINY))


def compare(
    data: Path | None,
    work: Path,
    candidates: Mapping[str, Fields],
    rounds: Sequence[Round],
    *,
    recipe: TrainConfig = PUBLIC_RECIPE,
) -> None:
    """Prints how far regions lie apart, the tables of all rounds, and that of the references."""
    from lsml.training.network import Network

    grounds = [*(real_grounds(data, work) if data else ()), *synthetic_grounds(work)]
    bench = Bench(max(each.seeds for each in rounds), work / "results")
    _print(f"{', '.join(f'{ground.name}: {len(ground.pack)} patches' for ground in grounds)}; {machine()}\n")
    print_shifts(grounds)
    networks = {name: Network(with_values(TrainConfig(), fields)) for name, fields in candidates.items()}
    going_on = list(networks)
    for kept, seeds, most in rounds:
        going_on, seen = going_on[:kept], grounds[:most]
        # Ground by ground, so that what real ones say is known first.
        table = {
            ground.name: {name: bench.score(name, networks[name], ground, seeds) for name in going_on}
            for ground in seen
        }
        standings = ranked({name: {ground: row[name] for ground, row in table.items()} for name in going_on})
        print_round(standings, seen, seeds)
        print_agreement(standings, seen)
        going_on = [standing.name for standing in standings]
    print_rows("reference, 1 seed", references(bench, grounds, recipe), grounds)
    if data:
        whole = Ground("whole patches", _packed(data / "landslide4sense", work, 4), folds=4, pieces=1, real=True)
        uncut = {name: Network(with_values(TrainConfig(), fields)) for name, fields in WHOLE_PATCHES.items()}
        rows = {name: {whole.name: bench.score(name, network, whole, 1)} for name, network in uncut.items()}
        print_rows("landslide4sense, 1 seed", rows, [whole])


def references(bench: Bench, grounds: Sequence[Ground], recipe: TrainConfig) -> dict[str, dict[str, Score]]:
    """Scores by ground of what a configuration has to beat.

    The recipe names bands of Landslide4Sense, and takes several times as long as any other: it has one ground.
    """
    from lsml.training.baselines import PixelLearner
    from lsml.training.network import Network

    pixels = {
        "logistic regression on single pixels": PixelLearner(),
        "gradient boosting on single pixels": PixelLearner("boosting"),
    }
    with_bands = [ground for ground in grounds if ground.pack.sensor == LANDSLIDE4SENSE][:1]
    return {
        name: {ground.name: bench.score(name, learner, ground, 1) for ground in grounds}
        for name, learner in pixels.items()
    } | {
        "six-input U-Net of public notebooks": {
            ground.name: bench.score("recipe", Network(recipe), ground, 1) for ground in with_bands
        }
    }


def real_grounds(data: Path, work: Path) -> Iterator[Ground]:
    """Quarters of Landslide4Sense's patches, and folders of pictures, shrunk."""
    yield _ground(quartered(data / "landslide4sense", work), work, folds=3, pieces=4, real=True)
    for folder in sorted((data / "rgb").iterdir()):
        yield _ground(shrunk(folder, work), work, folds=2, pieces=1, real=True)


def synthetic_grounds(work: Path) -> Iterator[Ground]:
    """Twelve patches of four regions, twice."""
    for seed in (1, 2):
        folder = work / "whole" / f"synthetic-{seed}"
        if not folder.exists():
            # Validation and test have a region each.
            synthesize(folder, train=12, validation=1, test=1, seed=seed, regions=6)
        yield _ground(quartered(folder, work), work, folds=2, pieces=4, real=False)


def _ground(folder: Path, work: Path, *, folds: int, pieces: int, real: bool) -> Ground:
    return Ground(folder.name, _packed(folder, work, folds), folds, pieces, real)


def _packed(folder: Path, work: Path, folds: int) -> PackedSplit:
    return FoldedData.prepare(folder, work / "packs", folds=folds, repeats=1).train


def quartered(folder: Path, work: Path) -> Path:
    """A folder in `work` with the quarters of patches of 128 x 128 pixels, and the regions of these."""
    target, pack = work / folder.name, _packed(folder, work, 2)
    unfinished = target.with_suffix(".unfinished")
    rows = ["patch,region"]
    for number in range(4 * len(pack) if not target.exists() else 0):
        patch, (row, column) = number // 4, (SIDE * corner for corner in divmod(number % 4, 2))
        square = np.s_[row : row + SIDE, column : column + SIDE]
        rows.append(f"image_{number}.h5,{pack.region(patch)}")
        for name, array in (("img", pack.image(patch)), ("mask", pack.mask(patch))):
            path = unfinished / name / f"{'image' if name == 'img' else name}_{number}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file.create_dataset(name, data=array[square])
    if not target.exists():
        if pack.regions:
            (unfinished / "patches.csv").write_text("\n".join(rows))
            (unfinished / "dataset.yaml").write_text("patches: patches.csv\n")
        unfinished.rename(target)
    return target


def shrunk(folder: Path, work: Path) -> Path:
    """A folder in `work` with pictures and masks as squares of `SIDE` pixels: what most of a pixel is, it is."""
    target = work / folder.name
    unfinished = target.with_suffix(".unfinished")
    for kind in () if target.exists() else ("images", "masks"):
        (unfinished / kind).mkdir(parents=True, exist_ok=True)
        for path in sorted((folder / kind).iterdir()):
            picture = cv2.imread(str(path))
            if kind == "masks":
                picture = picture.max(axis=-1).astype(bool).astype(np.float32)
            small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            written = 255 * (small >= 0.5).astype(np.uint8) if kind == "masks" else small
            cv2.imwrite(str(unfinished / kind / path.name), written)
    if not target.exists():
        unfinished.rename(target)
    return target


def ranked(scores: Mapping[str, dict[str, Score]]) -> list[Standing]:
    """By median rank over the grounds; of equal ones, first the one whose largest loss on any ground is smaller."""
    table = np.array([[score.f1 for score in row.values()] for row in scores.values()])
    ranks = np.median(rankdata(-table, axis=0), axis=1)
    losses = (table.max(axis=0) - table).max(axis=1)
    standings = [Standing(name, scores[name], *of) for name, *of in zip(scores, ranks, losses, strict=True)]
    return sorted(standings, key=lambda standing: (standing.rank, standing.worst))


def print_round(standings: Sequence[Standing], grounds: Sequence[Ground], seeds: int) -> None:
    """F1 by ground with the thresholds of its blocks below it, ranks and losses."""
    _header(f"F1, {seeds} {'seed' if seeds == 1 else 'seeds'}", grounds, "median rank", "largest loss", "seconds")
    for standing in standings:
        seconds = statistics.fmean(score.seconds for score in standing.scores.values())
        cells = [_cell(standing.scores[ground.name]) for ground in grounds]
        last = [f"{standing.rank:.1f}", f"{standing.worst:.3f}", f"{seconds:.0f}"]
        _print(f"| {' | '.join([standing.name, *cells, *last])} |")
    _print("")


def print_rows(title: str, rows: Mapping[str, Mapping[str, Score]], grounds: Sequence[Ground]) -> None:
    """F1 by ground."""
    _header(title, grounds)
    for name, row in rows.items():
        cells = [_cell(row[ground.name]) if ground.name in row else "" for ground in grounds]
        _print(f"| {' | '.join([name, *cells])} |")
    _print("")


def _header(first: str, grounds: Sequence[Ground], *last: str) -> None:
    columns = [first, *(ground.name for ground in grounds), *last]
    _print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")


def _cell(score: Score) -> str:
    """F1 and, where several seeds were averaged, their mean alone; average precision; range of thresholds."""
    low, high = score.thresholds
    alone = "" if score.one_seed == score.f1 else f" ({score.one_seed:.3f})"
    return f"**{score.f1:.3f}**{alone}, AP {score.average_precision:.3f}, at {low:.2f} to {high:.2f}"


def print_agreement(standings: Sequence[Standing], grounds: Sequence[Ground]) -> None:
    """Spearman's correlation of mean ranks on synthetic and on real grounds."""
    ranks = {ground: rankdata([-standing.scores[ground.name].f1 for standing in standings]) for ground in grounds}
    real, synthetic = ([rank for ground, rank in ranks.items() if ground.real is kind] for kind in (True, False))
    if real and synthetic:
        found = spearmanr(np.mean(real, axis=0), np.mean(synthetic, axis=0)).statistic
        _print(f"Rank correlation (Spearman) of synthetic and real grounds over these: {found:.2f}.\n")


def print_shifts(grounds: Sequence[Ground]) -> None:
    """How far the mean of each band lies apart between four blocks or regions, in standard deviations of all pixels."""
    alike = [ground for ground in grounds if ground.pack.sensor == LANDSLIDE4SENSE]
    shifts = {ground.name: _shifts(ground) for ground in alike}
    bands = [band.name for band in LANDSLIDE4SENSE.bands]
    _print(f"| shift between blocks | {' | '.join(bands)} | median |\n{'|---' * (len(bands) + 2)}|")
    for name, found in shifts.items():
        _print(f"| {name} | {' | '.join(f'{shift:.2f}' for shift in found)} | {np.median(found):.2f} |")
    _print("")


def _shifts(ground: Ground) -> np.ndarray:
    """Standard deviation over blocks of a band's mean, over that of its pixels, float64 `(C,)`."""
    patches = np.array([ground.pack.image(patch).mean(axis=(0, 1)) for patch in range(len(ground.pack))])
    blocks = fold_indices(len(ground.pack), 4, ground.pack.regions)
    means = np.array([patches[block].mean(axis=0) for block in blocks])
    return means.std(axis=0) / np.array(ground.pack.statistics.std)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
