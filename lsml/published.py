"""Published results on Landslide4Sense, each with what it is a score of and where it was read."""

from typing import NamedTuple

from lsml.data.provenance import POOLED, ScoredSplit

OFFICIAL_PATCHES: dict[ScoredSplit, int] = {"validation": 245, "test": 800}
"""Patches of the official splits (github.com/iarai/Landslide4Sense-2022, "Data Description")."""

_BENCHMARK = "https://github.com/iarai/Landslide4Sense-2022"
_COMPETITION = "https://arxiv.org/abs/2209.02556"
_CLAY = "https://arxiv.org/abs/2606.14081"


class PublishedScore(NamedTuple):
    """One result.

    Attributes:
        split: the official one, or in words another.
        f1: of the landslide class, 0..1.
        spread: what was published about its uncertainty.
        averaging: over what; only `POOLED` is the benchmark's.
        source: where it was read.
    """

    system: str
    split: ScoredSplit | str
    f1: float
    spread: str
    averaging: str
    source: str


PUBLISHED = (
    PublishedScore("2022 competition, first place", "test", 0.7454, "", POOLED, _COMPETITION),
    PublishedScore("2022 competition, second place", "test", 0.7399, "", POOLED, _COMPETITION),
    PublishedScore("2022 competition, third place", "test", 0.7350, "", POOLED, _COMPETITION),
    PublishedScore("U-Net with Clay's features, LoRA", "test", 0.645, "± 0.018 over 3 seeds", POOLED, _CLAY),
    PublishedScore("U-Net baseline", "test", 0.599, "", POOLED, _CLAY),
    PublishedScore("U-Net baseline", "validation", 0.5782, "", POOLED, _BENCHMARK),
    # Five re-runs; the scores of the others lie between these two.
    *(
        PublishedScore(
            "six-input U-Net of public notebooks", "random 20 % of train", f1, f"{which} of five re-runs",
            "mean over batches", "public notebooks",
        )
        for f1, which in ((0.719, "highest"), (0.697, "lowest"))
    ),
)  # fmt: skip
