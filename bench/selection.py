"""What an out-of-fold score is worth on new ground, as it was reported and as it is now, in simulated studies.

    python bench/selection.py [--studies 200] [--rows FILE] [--smoke]

A study has twelve synthetic patches, two of each of six regions, and twelve configurations of pixel classifiers, which
stand in for networks: other bands, regularisations and numbers of trees, fitted to half of the pixels, drawn by seed.
It goes as `lsml tune` does in folds: all twelve are scored in four folds twice; the base and the best two again with
fresh seeds and other groups of regions; one of them is chosen, its score corrected, and it is fitted to all patches.
The truth is the F1 of that classifier, at the threshold of its folds, on patches of all other regions; of those regions
that it knows, their other patches tell.

Regions and patches are drawn for each study anew from 100 regions of 14 patches, which are made once. Of each patch
every fourth row and column is kept, of those that truth is measured on every eighth: classifiers of single pixels need
no neighbours, and shares of landslide are the same. Each study is a line of FILE: what was stopped resumes there.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lsml.data.domains import domains
from lsml.data.regions import fold_indices
from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.synthetic import synthetic_patch
from lsml.scoring.bootstrap import patch_weights
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import PooledCounts, f1
from lsml.scoring.selection import Candidate, choose, corrected

FOLDS, REPEATS, CONFIRMED = 4, 2, 2
STUDY_REGIONS, STUDY_PATCHES = 6, 2
_STEP, _TRUTH_STEP = 4, 2

ALL = tuple(range(len(LANDSLIDE4SENSE)))
OPTICAL, VISIBLE, TERRAIN = ALL[:12], (1, 2, 3, 7), (3, 7, 10, *ALL[12:])


class Configuration(NamedTuple):
    """One of a search.

    Attributes:
        kind: `regression`, `boosting` or `bayes`.
        bands: that it sees.
        amount: C of the regression, number of trees.
        parameters: numbers that are fitted.
        differing: fields of the three in which it differs from the base.
    """

    kind: str
    bands: tuple[int, ...]
    amount: float
    parameters: int
    differing: int

    def unfitted(self, seed: int) -> ClassifierMixin:
        """A new classifier of these settings."""
        if self.kind == "regression":
            return make_pipeline(StandardScaler(), LogisticRegression(C=self.amount, max_iter=100))
        if self.kind == "bayes":
            return GaussianNB()
        return HistGradientBoostingClassifier(
            max_iter=int(self.amount), max_leaf_nodes=8, learning_rate=0.3, early_stopping=False, random_state=seed
        )


def _configuration(kind: str, bands: tuple[int, ...], amount: float) -> Configuration:
    parameters = {"regression": len(bands) + 1, "bayes": 4 * len(bands) + 1, "boosting": int(15 * amount)}[kind]
    differing = sum((kind != "regression", bands != ALL, (kind, amount) != ("regression", 1.0)))
    return Configuration(kind, bands, amount, parameters, differing)


CONFIGURATIONS = tuple(
    _configuration(*settings)
    for settings in (
        ("regression", ALL, 1.0),
        ("regression", ALL, 0.01),
        ("regression", ALL, 0.0005),
        ("regression", OPTICAL, 1.0),
        ("regression", VISIBLE, 1.0),
        ("regression", TERRAIN, 1.0),
        ("boosting", ALL, 6),
        ("boosting", ALL, 16),
        ("boosting", OPTICAL, 10),
        ("boosting", TERRAIN, 10),
        ("bayes", ALL, 0),
        ("bayes", TERRAIN, 0),
    )
)
"""Those of each search; the first is the base."""


class Pixels(NamedTuple):
    """Patches of regions: bands float32 `(R, P, H, W, C)`, and where landslide is, bool `(R, P, H, W)`."""

    bands: np.ndarray
    landslide: np.ndarray

    def of(self, regions: np.ndarray, patches: slice | np.ndarray, step: int = 1) -> "Pixels":
        """Some patches of some regions, as `(N, H, W, ...)`."""
        bands, landslide = (
            values[regions][:, patches, ::step, ::step].reshape(-1, *values[:1, :1, ::step, ::step].shape[2:])
            for values in self
        )
        return Pixels(bands, landslide)

    @classmethod
    def made(cls, regions: int, patches: int) -> "Pixels":
        """So many patches of so many regions."""
        places = domains({"train": regions * patches, "validation": 1, "test": 1}, regions=regions + 2)["train"]
        with threadpool_limits(1, "blas"):
            made = [synthetic_patch("train", number, domain=place) for number, place in enumerate(places, 1)]
        bands = np.stack([image[::_STEP, ::_STEP].astype(np.float32) for image, _ in made])
        landslide = np.stack([mask[::_STEP, ::_STEP] == 1 for _, mask in made])
        shape = regions, patches
        return cls(bands.reshape(*shape, *bands.shape[1:]), landslide.reshape(*shape, *landslide.shape[1:]))


class Study:
    """One simulated study of some patches `(N, H, W, ...)` and the region of each."""

    def __init__(self, pixels: Pixels, regions: Sequence[str], random: np.random.Generator) -> None:
        self._pixels, self._regions, self._random = pixels, regions, random

    def cross_validate(self, configuration: Configuration, partitions: Sequence[Sequence[np.ndarray]], seed: int):
        """The patches' TP, FP and FN `(R, N, 3)` out of fold, and the threshold of the highest F1 of all repeats."""
        pooled, probability = PooledCounts(), []
        for repeat, folds in enumerate(partitions):
            predicted = np.empty(self._pixels.landslide.shape, np.float32)
            for held_out in folds:
                train = np.setdiff1d(np.arange(len(predicted)), held_out)
                classifier = self.fit(configuration, train, seed + repeat)
                predicted[held_out] = predict(configuration, classifier, self._pixels.bands[held_out])
            pooled.update(self._pixels.landslide.astype(np.uint8), predicted)
            probability.append(predicted)
        threshold = pooled.best_threshold()
        return np.array([counts(self._pixels.landslide, each, threshold) for each in probability]), threshold

    def fit(self, configuration: Configuration, train: np.ndarray, seed: int) -> ClassifierMixin:
        """A classifier of half the pixels of some patches, drawn by seed."""
        bands = self._pixels.bands[train].reshape(-1, len(ALL))
        drawn = np.random.default_rng(seed).permutation(len(bands))[: len(bands) // 2]
        labels = self._pixels.landslide[train].reshape(-1)[drawn]
        return configuration.unfitted(seed).fit(bands[drawn][:, configuration.bands], labels)

    def partitions(self, *, fresh: bool) -> list[list[np.ndarray]]:
        """The patches that each fold of each repeat holds out: whole regions, grouped anew where asked for."""
        names = sorted(set(self._regions))
        groupings = []
        for _ in range(REPEATS):
            renamed = dict(zip(names, self._random.permutation(names) if fresh else names, strict=True))
            groupings.append(fold_indices(len(self._regions), FOLDS, [str(renamed[each]) for each in self._regions]))
        return groupings


def predict(configuration: Configuration, classifier: ClassifierMixin, bands: np.ndarray) -> np.ndarray:
    """Probabilities float32 `(N, H, W)` of bands `(N, H, W, C)`."""
    pixels = bands.reshape(-1, bands.shape[-1])[:, configuration.bands]
    return classifier.predict_proba(pixels)[:, 1].astype(np.float32).reshape(bands.shape[:-1])


def counts(landslide: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """TP, FP and FN of each patch, int64 `(N, 3)`."""
    called = probability >= threshold
    parts = (landslide & called, ~landslide & called, landslide & ~called)
    return np.stack([part.sum(axis=(1, 2)) for part in parts], axis=-1)


def simulate(number: int, world: Pixels) -> dict[str, object]:
    """One study as a row: tables of its search and of what was confirmed, and what each such model has on new patches.

    `tables` of confirmed ones `(R, N, 3)` stand beside their numbers; `truth` are F1 on other regions and on other
    patches of the same, of the best of the search (`found`) and of the confirmed ones in their order.
    """
    random = np.random.default_rng((number, 1))
    own = np.sort(random.permutation(len(world.bands))[:STUDY_REGIONS])
    patches = random.permutation(world.bands.shape[1])
    mine, rest = patches[:STUDY_PATCHES], patches[STUDY_PATCHES:]
    names = [f"region {region:03}" for region in np.repeat(own, STUDY_PATCHES)]
    study = Study(world.of(own, mine), names, random)
    everywhere = np.setdiff1d(np.arange(len(world.bands)), own)
    grounds = [world.of(everywhere, slice(None), _TRUTH_STEP), world.of(own, rest, _TRUTH_STEP)]
    seeds = random.integers(0, 2**31 - REPEATS, 3).tolist()
    searched = [
        study.cross_validate(each, study.partitions(fresh=False), seed)
        for each, seed in zip(CONFIGURATIONS, random.integers(0, 2**31 - REPEATS, len(CONFIGURATIONS)), strict=True)
    ]
    order = np.argsort([-f1(tables.sum(axis=(0, 1))) for tables, _ in searched], kind="stable").tolist()
    confirmed = [0, *[index for index in order if index][:CONFIRMED]]
    partitions = study.partitions(fresh=True)
    again = [study.cross_validate(CONFIGURATIONS[index], partitions, seeds[0]) for index in confirmed]

    def truth(index: int, threshold: float, seed: int) -> list[float]:
        configuration = CONFIGURATIONS[index]
        classifier = study.fit(configuration, np.arange(len(names)), seed)
        predicted = [predict(configuration, classifier, ground.bands) for ground in grounds]
        each = zip(grounds, predicted, strict=True)
        return [float(f1(counts(ground.landslide, seen, threshold).sum(axis=0))) for ground, seen in each]

    return {
        "study": number,
        "search": [tables.sum(axis=0).tolist() for tables, _ in searched],
        "confirmed": confirmed,
        "tables": [tables.tolist() for tables, _ in again],
        "found": truth(order[0], searched[order[0]][1], seeds[1]),
        "truth": [truth(index, again[place][1], seeds[2]) for place, index in enumerate(confirmed)],
    }


def rows(path: Path, studies: int, regions: int, patches: int) -> Iterator[dict]:
    """The rows of so many studies, those that the file lacks simulated and added."""
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    yield from (row for row in known if row["study"] < studies)
    if missing := sorted(set(range(studies)) - {row["study"] for row in known}):
        world = Pixels.made(regions, patches)
        for number in missing:
            row = simulate(number, world)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            yield row


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--rows", type=Path, help="a file of rows, resumed where it is there")
    parser.add_argument("--smoke", action="store_true", help="two studies, few regions")
    given = parser.parse_args()
    studies, regions, patches = (2, 9, 4) if given.smoke else (given.studies, 100, 14)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        path = given.rows or Path(folder) / "rows.jsonl"
        found = list(rows(path, studies, regions, patches))
    sys.stdout.write(f"{scores_table(found)}\n{told_apart(found)}\n")


class Told(NamedTuple):
    """What a study says of its model, and what is true.

    Attributes:
        value, low, high: F1 and the ends of its interval.
        elsewhere, here: the model's F1 on other regions, and on other patches of the same ones.
    """

    value: float
    low: float
    high: float
    elsewhere: float
    here: float


def plain(table: np.ndarray) -> tuple[float, float, float]:
    """F1 of counts `(N, 3)` and the percentile interval of patches resampled, as lsml had it."""
    drawn = np.concatenate([f1(weights @ table) for weights in patch_weights(len(table), seed=0)])
    return float(f1(table.sum(axis=0))), *np.quantile(drawn, [0.025, 0.975]).tolist()


def tables_of(counts: Sequence) -> list[PatchCounts]:
    """Tables of counts `(R, N, 3)`."""
    return [PatchCounts(tuple(map(str, range(len(table)))), np.array(table)) for table in counts]


def candidates_of(row: dict) -> list[Candidate]:
    """The base and the tuned configurations that were confirmed."""
    return [
        Candidate(str(index), tables_of(tables), CONFIGURATIONS[index].parameters, CONFIGURATIONS[index].differing)
        for index, tables in zip(row["confirmed"], row["tables"], strict=True)
    ]


def told(row: dict) -> dict[str, Told]:
    """What is said of a study's model in each way."""
    search, candidates = tables_of(row["search"]), candidates_of(row)
    best = max(search, key=lambda table: f1(table.confusion.sum(axis=0)))
    chosen = choose(candidates).chosen
    score = corrected(candidates[chosen].tables, search, base=0)
    return {
        "best of the search, as before": Told(*plain(best.confusion), *row["found"]),
        "confirmed, chosen and corrected": Told(score.value, *score.interval, *row["truth"][chosen]),
        "the base, not chosen": Told(*plain(sum(each.confusion for each in candidates[0].tables)), *row["truth"][0]),
    }


def scores_table(found: Sequence[dict]) -> str:
    """How far what is said is from the truth, as a Markdown table."""
    studies = [told(row) for row in found]
    columns = ["said", "true", "bias on new ground", "interval holds it", "on patches of the same regions", "width"]
    lines = [f"| F1 of {len(found)} studies | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for way in studies[0]:
        said, low, high, elsewhere, here = np.array([study[way] for study in studies]).T
        bias = said - elsewhere
        error = 1.96 * bias.std(ddof=1) / np.sqrt(len(bias))
        cells = [
            *(f"{values.mean():.3f}" for values in (said, elsewhere)),
            f"{bias.mean():+.3f} ({bias.mean() - error:+.3f} to {bias.mean() + error:+.3f})",
            *(f"{np.mean((low <= truth) & (truth <= high)):.1%}" for truth in (elsewhere, here)),
            f"{np.median(high - low):.3f}",
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told_apart(found: Sequence[dict]) -> str:
    """What choosing brought on new ground, and how far apart two scores must be for twelve patches to tell."""
    paired, scores, better = [], [], []
    for row in found:
        base, *tuned = candidates_of(row)
        index, compared = choose([base, *tuned])
        paired += [(each.ahead.interval.high - each.ahead.interval.low) / 2 for each in compared]
        interval = corrected(base.tables, base.tables[:1]).interval
        scores.append((interval.high - interval.low) / 2)
        if index:
            better.append(row["truth"][index][0] - row["truth"][0][0])
    search = np.mean([row["found"][0] - row["truth"][0][0] for row in found])
    return (
        f"A tuned configuration was chosen in {len(better)} of {len(found)} studies. On new ground it was better than "
        f"the base in {sum(gain > 0 for gain in better)} of these, by {np.mean(better or 0):+.3f} in the mean; the "
        f"best of the search by {search:+.3f} in the mean of all. Half of an interval is, in the median, "
        f"{np.median(paired):.3f} wide for a difference on the same patches, and "
        f"{np.sqrt(2) * np.median(scores):.3f} for one between twelve patches and twelve others."
    )


if __name__ == "__main__":
    main()
