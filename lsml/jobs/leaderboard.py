"""A run beside the published results, where it was judged on the official split."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from lsml.comparison import PatchCounts, PooledScore, pooled_scores
from lsml.data.provenance import OWN, POOLED, ScoredSplit
from lsml.errors import DataError
from lsml.jobs.compare import counts_of
from lsml.published import OFFICIAL_PATCHES, PUBLISHED, PublishedScore


class Board(NamedTuple):
    """One official split.

    Attributes:
        f1: the run's.
        published: results on the same split with the same averaging, the highest first.
        place: the run's among them, from 1.
    """

    split: ScoredSplit
    patches: int
    f1: PooledScore
    published: tuple[PublishedScore, ...]
    place: int


@dataclass(frozen=True)
class Leaderboard:
    """A run on every official split that it was judged on.

    Attributes:
        run_id: the run whose scores these are; of a study that of what it registered.
        boards: test first.
        apart: published results of another split or averaging, which no run is ranked beside.
    """

    run_id: str
    boards: tuple[Board, ...]
    apart: tuple[PublishedScore, ...]


def leaderboard(run_id: str) -> Leaderboard:
    """Sets a run beside the published results.

    Which patches a run was judged on is read off its tags and its table: a split in a folder of its own, not
    synthetic, with as many patches as the official one. What is in the files cannot be compared: official checksums
    are not known.

    Raises:
        DataError: it was judged on no official split.
        StorageError: no such run.
    """
    from lsml.tracking.runs import find_run
    from lsml.tracking.scores import has_table
    from lsml.tracking.store import open_client
    from lsml.tracking.study import model_run_id

    client = open_client()
    run = find_run(client, model_run_id(find_run(client, run_id)))
    found = run.info.run_id
    judged: dict[ScoredSplit, PatchCounts] = {
        split: counts_of(client, run, split) for split in ("test", "validation") if has_table(client, found, split)
    }
    reasons = {split: _why_not(run, split, counts) for split, counts in judged.items()}
    boards = tuple(_board(split, counts) for split, counts in judged.items() if reasons[split] is None)
    if not boards:
        why = "; ".join(str(reason) for reason in reasons.values()) or "it has no scores by patch"
        raise DataError(
            f"run {found}",
            why,
            "only a run that was judged on the official splits has a place beside published results",
        )
    apart = tuple(score for score in PUBLISHED if score.averaging != POOLED or score.split not in OFFICIAL_PATCHES)
    return Leaderboard(found, boards, apart)


def _why_not(run: Any, split: ScoredSplit, counts: PatchCounts) -> str | None:
    """Why the run's score of that split stands beside no published one; None where it does."""
    from lsml.tracking.scores import score_kind

    kind = score_kind(run.data.tags, split)
    if kind.split != OWN:
        return f"its {split} patches are not the official ones: {kind.split}"
    if kind.averaging != POOLED:
        return f"its {split} score is not {POOLED}: {kind.averaging}"
    wanted = OFFICIAL_PATCHES[split]
    return None if len(counts.ids) == wanted else f"it has {len(counts.ids)} {split} patches, the official {wanted}"


def _board(split: ScoredSplit, counts: PatchCounts) -> Board:
    f1 = pooled_scores(counts)["f1"]
    published = sorted(
        (score for score in PUBLISHED if score.split == split and score.averaging == POOLED),
        key=lambda score: -score.f1,
    )
    better = sum(score.f1 > f1.value for score in published)
    return Board(split, len(counts.ids), f1, tuple(published), better + 1)
