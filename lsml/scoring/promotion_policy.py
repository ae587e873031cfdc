"""When a model may take the champion's place: it must not be worse, as far as the validation patches can tell.

Both are judged on the same patches, so what counts is the difference of their F1, with its interval by patches
resampled. A model is called worse, and stays out, where one of two things holds:

- **The whole 95 % interval of the difference lies below 0.** Then it is worse on patches like these, not by the luck
  of which ones were drawn.
- **It falls short of the best champion so far by more than `MARGIN`.** On few patches the interval is wide and would
  let nearly anything pass, so the difference itself has a bound: without evidence that a model is no worse, the one
  that is known stays. The bound is on the sum of what was given away since the best champion: if each new one could be
  a little worse than the last, many would be worse by much.

It does not have to be better: a smaller model, or the same one trained on more patches, may take the place at equal F1.
"""

from typing import NamedTuple

from lsml.scoring.bootstrap import Difference

MARGIN = 0.005
"""Half a point of F1: the first three of the 2022 competition are .0055 and .0049 apart (`lsml.scoring.comparison`)."""


class Verdict(NamedTuple):
    """What the gate says.

    Attributes:
        not_worse: whether the model may take the place.
        shortfall: by how much F1 falls short of the best champion so far, 0 or more.
        why: in words.
    """

    not_worse: bool
    shortfall: float
    why: str


def verdict(ahead: Difference, *, shortfall: float) -> Verdict:
    """Judges a challenger by how much its F1 is above the champion's.

    Args:
        shortfall: the champion's own.
    """
    own = max(0.0, shortfall - ahead.value)
    if ahead.interval.high < 0:
        return Verdict(False, own, "worse: the whole 95 % interval of the difference lies below 0")
    if own > MARGIN:
        best = "the best champion so far" if shortfall else "the champion"
        return Verdict(False, own, f"worse: {own:.4f} below {best}, more than the margin of {MARGIN:g}")
    if ahead.value < 0:
        return Verdict(True, own, f"not worse: within the margin of {MARGIN:g}, and the 95 % interval reaches 0")
    return Verdict(True, own, "not worse: its F1 is as high or higher")
