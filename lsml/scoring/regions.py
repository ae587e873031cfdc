"""Scores by region: how far a score holds in each of the places that patches come from."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from lsml.scoring.bootstrap import with_interval
from lsml.scoring.comparison import PatchCounts, PooledScore
from lsml.scoring.metrics import PatchScore

_LONGEST_NAME = 150
"""Letters of a region in the name of a metric, for which MLflow takes 250 in all."""


class RegionScore(NamedTuple):
    """What was scored in one region.

    Attributes:
        region: its name.
        patches: how many it has.
        landslide_share: the mean of its patches' shares of landslide pixels, 0..1.
        scores: of `METRICS`, pooled over its pixels, each with its interval by its patches resampled.
    """

    region: str
    patches: int
    landslide_share: float
    scores: Mapping[str, PooledScore]

    def record(self) -> dict[str, float | str]:
        """As a row of plain values, with the ends of the intervals."""
        ends = {
            f"{name}{end}": value
            for name, score in self.scores.items()
            for end, value in (("", score.value), ("_low", score.interval.low), ("_high", score.interval.high))
        }
        return {"region": self.region, "patches": self.patches, "landslide_share": self.landslide_share, **ends}

    def metrics(self, prefix: str) -> dict[str, float]:
        """Metrics of a run, `{prefix}_region_nepal_f1`; what such a name cannot have becomes `_`."""
        name = re.sub(r"[^\w. -]", "_", self.region)[:_LONGEST_NAME]
        values = {key: value for key, value in self.record().items() if isinstance(value, float)}
        return {f"{prefix}_region_{name}_{key}": value for key, value in values.items()}

    def describe(self) -> str:
        """Its F1 with the interval, in words."""
        return f"{self.region}, F1 {with_interval(*self.scores['f1'])} over {self.patches_in_words}"

    @property
    def patches_in_words(self) -> str:
        """`1 patch` or `7 patches`."""
        return f"{self.patches:,} patch{'es' * (self.patches != 1)}"

    @classmethod
    def of_patches(cls, patches: Iterable[PatchScore]) -> tuple[Self, ...]:
        """The scores of each region, in the order of their names; none where regions are not known."""
        by_region: dict[str, list[PatchScore]] = {}
        for patch in patches:
            if patch.region:
                by_region.setdefault(patch.region, []).append(patch)
        return tuple(cls._of(region, by_region[region]) for region in sorted(by_region))

    @classmethod
    def _of(cls, region: str, patches: Sequence[PatchScore]) -> Self:
        counts = np.array([(patch.hits, patch.false_alarms, patch.misses) for patch in patches], np.int64)
        scores = PatchCounts(tuple(patch.id for patch in patches), counts).scores()
        return cls(region, len(patches), float(np.mean([patch.landslide_share for patch in patches])), scores)

    @classmethod
    def read(cls, text: str) -> tuple[Self, ...]:
        """The scores of each region, out of a table of `patch_rows` as CSV.

        Raises:
            ValueError: it is no such table.
        """
        try:
            return cls.of_patches(_patch(row) for row in csv.DictReader(io.StringIO(text)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no table of patches: {error}") from None

    @staticmethod
    def worst(regions: Iterable["RegionScore"]) -> "RegionScore | None":
        """That of the lowest F1 among those with landslides; None where there is none."""
        with_landslides = [each for each in regions if each.landslide_share]
        return min(with_landslides, key=lambda each: each.scores["f1"].value, default=None)


def _patch(row: Mapping[str, str]) -> PatchScore:
    hits, misses, alarms = (int(row[name]) for name in ("hits", "misses", "false_alarms"))
    return PatchScore(row["id"], float(row["landslide_share"]), hits, misses, alarms, None, row.get("region", ""))


def patch_rows(patches: Iterable[PatchScore]) -> list[dict[str, object]]:
    """A table of patches; it has a column `region` where regions are known."""
    rows = [patch._asdict() for patch in patches]
    if any(row["region"] for row in rows):
        return rows
    return [{name: value for name, value in row.items() if name != "region"} for row in rows]
