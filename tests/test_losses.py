"""The losses against values worked out by hand."""

import math

import numpy as np
import pytest
from keras import ops

from lsml.config import LossConfig
from lsml.losses import CompoundLoss, soft_jaccard


def _pixels(*rows: list[float]) -> np.ndarray:
    """Patches of one row each, float32 `(B, 1, W, 1)`."""
    return np.array(rows, dtype="float32")[:, None, :, None]


def test_soft_jaccard_of_two_undecided_pixels() -> None:
    """Half a pixel of intersection and one and a half of union give a loss of .4."""
    # p = .5, .5; t = 1, 0: intersection .5, union 1 + 1 - .5 = 1.5; 1 - (.5 + 1) / (1.5 + 1) = .4
    assert float(soft_jaccard(_pixels([1, 0]), _pixels([0, 0]))) == pytest.approx(0.4, abs=1e-7)


def test_soft_jaccard_pools_the_batch() -> None:
    """The sums run over all patches: a false alarm in one weighs against the landslide of another."""
    truth, logits = _pixels([1, 1], [0, 0]), _pixels([100, 100], [100, 100])
    # intersection 2, union 2 + 4 - 2 = 4: 1 - 3/5 = .4; a mean of patches would be (0 + (1 - 1/3)) / 2 = .333
    assert float(soft_jaccard(truth, logits)) == pytest.approx(0.4, abs=1e-7)


@pytest.mark.parametrize(("logit", "expected"), [(-100.0, 0.0), (0.0, 0.8)])
def test_soft_jaccard_without_landslide(logit: float, expected: float) -> None:
    """A batch without landslide costs nothing where nothing is found, and 1 - 1/(sum p + 1) elsewhere."""
    # eight pixels of p = .5: 1 - 1 / (4 + 1) = .8
    assert float(soft_jaccard(_pixels([0] * 8), _pixels([logit] * 8))) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_compound_loss_is_the_mean_by_shares(share: float) -> None:
    """The shares weigh ln 2 of cross-entropy at logit 0 against the .4 of the first test."""
    loss = CompoundLoss(LossConfig(jaccard_share=share))(_pixels([1, 0]), _pixels([0, 0]))
    assert float(loss) == pytest.approx((1 - share) * math.log(2) + share * 0.4, abs=1e-6)


def test_losses_are_float32_under_bfloat16() -> None:
    """Sums over 65,536 pixels keep every one of them although the logits are bfloat16."""
    n = 4 * 128 * 128
    truth, logits = np.ones((4, 128, 128, 1), "float32"), ops.zeros((4, 128, 128, 1), "bfloat16")
    loss = CompoundLoss(LossConfig(jaccard_share=1.0))(truth, logits)
    # p = .5 everywhere: intersection n/2, union n + n/2 - n/2
    assert "float32" in str(loss.dtype)
    assert float(loss) == pytest.approx(1 - (n / 2 + 1) / (n + 1), abs=1e-6)


def test_losses_of_certain_mistakes_are_finite() -> None:
    """Logits of a thousand on the wrong side cost a thousand, not infinity."""
    loss = CompoundLoss(LossConfig(jaccard_share=0.5))(_pixels([1, 0]), _pixels([-1000, 1000]))
    # cross-entropy 1000; intersection 0, union 1 + 1: 1 - 1/3
    assert float(loss) == pytest.approx(0.5 * 1000 + 0.5 * 2 / 3, rel=1e-6)
