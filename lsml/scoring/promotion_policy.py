"""When a model may become champion: it must not be worse than the champion, as far as the validation patches can tell.

Both are scored on the same patches, so what counts is the difference of their F1, with its interval by patches
resampled. A model is called worse, and refused, where one of two things holds:

- **The whole 95 % interval of the difference lies below 0.** Then it is worse on patches like these, not by the luck
  of which ones were drawn.
- **It falls short of the best champion so far by more than `MARGIN`.** On few patches the interval is wide and would
  let nearly anything pass, so the difference itself has a bound: without evidence that a model is no worse, the
  champion stays. The bound is on the sum of what was given away since the best champion: if each new one could be
  a little worse than the last, many would be worse by much.

It does not have to be better: a smaller model, or the same one trained on more patches, may take the place at equal F1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lsml.scoring.bootstrap import Difference
from lsml.scoring.comparison import ScoredModel, mean_f1_above

MARGIN = 0.005
"""Half a point of F1: the first three of the 2022 competition are .0055 and .0049 apart (`lsml.scoring.comparison`)."""

_SEED_STREAM = 4


class Decision(NamedTuple):
    """Whether a model becomes champion.

    Attributes:
        not_worse: whether it does.
        shortfall: by how much F1 falls short of the best champion so far, 0 or more.
        why: the reason, for people.
        ahead: F1 above the champion's; None where there is no champion.
        repeats: the same of the mean over fresh seeds, where there are any.
    """

    not_worse: bool
    shortfall: float
    why: str
    ahead: Difference | None = None
    repeats: Difference | None = None


def decide(
    challenger: ScoredModel,
    champion: ScoredModel | None,
    *,
    shortfall: float = 0.0,
    repeats: Sequence[ScoredModel] = (),
    champion_repeats: Sequence[ScoredModel] = (),
    called: str = "champion",
) -> Decision:
    """Compares the challenger with the champion, and its mean over fresh seeds with the champion's.

    A trial was chosen for its score, which is therefore optimistically biased; fresh seeds were not. The model itself
    is what is promoted, so both must not be worse.

    Args:
        shortfall: the champion's own.
        repeats: the challenger's configuration trained with fresh seeds.
        champion_repeats: the champion's; where there are none the champion itself counts.
        called: what the champion is, where the two are compared for another alias.

    Raises:
        DataError: the scores are not comparable.
    """
    if champion is None:
        return Decision(True, 0.0, "the first champion: there is none to compare it with")
    theirs = list(champion_repeats) or [champion]
    champion.check_comparable((challenger, *repeats, *(theirs if repeats else ())), split="validation")
    own = _decide_by_difference(
        mean_f1_above([challenger.counts], [champion.counts]), shortfall=shortfall, called=called
    )
    if not repeats:
        return own
    mean = mean_f1_above([model.counts for model in repeats], [model.counts for model in theirs])
    by_seeds = _decide_by_difference(mean, shortfall=0.0, called=called)
    if own.not_worse and not by_seeds.not_worse:
        own = own._replace(not_worse=False, why=f"over fresh seeds {by_seeds.why}")
    return own._replace(repeats=mean)


def _decide_by_difference(ahead: Difference, *, shortfall: float, called: str) -> Decision:
    """Decides by how much a challenger's F1 is above the champion's.

    Args:
        shortfall: the champion's own.
    """
    own = max(0.0, shortfall - ahead.value)
    if ahead.interval.high < 0:
        return Decision(False, own, "worse: the whole 95 % interval of the difference lies below 0", ahead)
    if own > MARGIN:
        best = f"the best {called} so far" if shortfall else f"the {called}"
        return Decision(False, own, f"worse: {own:.4f} below {best}, more than the margin of {MARGIN:g}", ahead)
    if ahead.value < 0:
        return Decision(
            True, own, f"not worse: within the margin of {MARGIN:g}, and the 95 % interval reaches 0", ahead
        )
    return Decision(True, own, "not worse: its F1 is as high or higher", ahead)


def repeat_seed(seed: int, number: int) -> int:
    """The seed of the repeat of that number, from 1, of a training with `seed`; in 0..2**31-1."""
    return int(np.random.SeedSequence(seed, spawn_key=(_SEED_STREAM, number)).generate_state(1)[0] >> 1)
