"""Temperature scaling: temperatures known beforehand, pixels at the threshold, and where there is nothing to fit."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.metrics import f1_score, log_loss

from lsml.scoring.calibration import HIGHEST, LOWEST, STEEPEST, calibrate, rescale_threshold
from lsml.scoring.metrics import PooledCounts


def _counts(truth: np.ndarray, logits: np.ndarray) -> PooledCounts:
    counts = PooledCounts()
    counts.update(truth, expit(logits.astype(np.float32)))
    return counts


def _overconfident(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and the logits that it was drawn from times the temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(-2, 1.5, 200_000)
    return (random.random(logits.size) < expit(logits)).astype(np.uint8), logits * temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_logits_were_multiplied_by_is_found(temperature: float) -> None:
    """Also scikit-learn's cross-entropy of every pixel is lowest there, and the calibration error all but vanishes."""
    truth, logits = _overconfident(temperature)
    found = calibrate(_counts(truth, logits), 0.4)
    # The standard error of a slope fitted to 200,000 pixels is about 1 %.
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    each = minimize_scalar(lambda t: log_loss(truth, expit(logits / t)), bounds=(0.3, 3), method="bounded")
    assert found.temperature == pytest.approx(each.x, rel=2e-3)
    assert found.error < 0.005
    if temperature != 1:
        assert found.error < _counts(truth, logits).calibration_error() / 5


def test_f1_at_the_moved_threshold_is_what_it_was() -> None:
    """Scores of float32 probabilities before and after are equal to 1e-6."""
    truth, logits = (side[:20_000] for side in _overconfident(2.0))
    counts = _counts(truth, logits)
    threshold = counts.best_threshold()
    found = calibrate(counts, threshold)
    narrow = logits.astype(np.float32)
    before = f1_score(truth, expit(narrow) >= threshold)
    after = f1_score(truth, expit(narrow * np.float32(1 / found.temperature)) >= found.threshold)
    assert after == pytest.approx(before, abs=1e-6)
    assert found.threshold == pytest.approx(expit(logit(threshold) / found.temperature))


def test_a_threshold_moves_by_hand() -> None:
    """Of .9 the odds are 9, at T = 2 they are 3, so .75; .5 stays, and so do the ends."""
    assert rescale_threshold(0.9, 2.0) == pytest.approx(0.75)
    assert rescale_threshold(0.5, 7.0) == 0.5
    assert (rescale_threshold(0.0, 2.0), rescale_threshold(1.0, 2.0), rescale_threshold(0.3, 1.0)) == (0.0, 1.0, 0.3)


@pytest.mark.parametrize("truth", [0, 1])
def test_pixels_of_one_class_fit_no_temperature(truth: int) -> None:
    """Without landslide, or without background, nothing is changed."""
    counts = _counts(np.full(9, truth), np.linspace(-4, 4, 9))
    assert calibrate(counts, 0.3) == (1.0, 0.3, counts.calibration_error())


def test_separable_pixels_end_at_the_bound() -> None:
    """Cross-entropy would fall for ever: T stays above .1, and above what would move the threshold beyond logit 8."""
    truth, logits = np.array([0, 0, 1, 1]), np.array([-3.0, -2.0, 2.0, 3.0])
    assert calibrate(_counts(truth, logits), 0.5).temperature == pytest.approx(LOWEST, rel=1e-3)
    high = calibrate(_counts(truth, logits), float(expit(1.6)))
    assert high.temperature == pytest.approx(1.6 / STEEPEST, rel=1e-3)
    assert 0.999 < high.threshold < 1
    # The other way round the best that there is says nothing: the highest temperature.
    assert calibrate(_counts(1 - truth, logits), 0.5).temperature == pytest.approx(HIGHEST, rel=1e-3)
