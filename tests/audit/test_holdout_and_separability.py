"""The measures of the audit on numbers made for them: flattery and separability that are there, or are not."""

import numpy as np
import pytest

from lsml.audit.facts import TrainPixels
from lsml.audit.splits import Holdout, _auc, _separability, holdout
from lsml.scoring.bootstrap import Difference, Interval
from tests.bands import N_BANDS


def silent(what: str, done: int, total: int) -> None:
    pass


def regions(*, patches: int, turn: bool) -> TrainPixels:
    """Patches of 24 pixels with two features: which of ten contiguous regions, and a number.

    Landslide is where the number is above 1, or, with `turn`, in every other region where it is below -1: what tells
    a landslide has then to be learnt in the region itself.
    """
    rng = np.random.default_rng(0)
    region = np.repeat(np.arange(10), patches // 10)[:, None] * np.ones((1, 24))
    number = rng.standard_normal((patches, 24))
    sign = np.where(turn & (region % 2 == 1), -1, 1)
    return TrainPixels(np.stack([region, number], axis=-1).astype(np.float32), sign * number > 1)


def test_regions_that_differ_flatter_a_random_holdout() -> None:
    """Random parts leave patches of every region to learn from, blocks of two regions do not: F1 falls, surely.

    With 16 % of the pixels of either sign, nothing better is known of an unseen region than a guess between its
    neighbours' two rules, one of which calls only background landslide.
    """
    counted = []
    found = holdout(regions(patches=60, turn=True), seed=0, progress=lambda *step: counted.append(step))
    assert found is not None
    assert (found.patches, found.pixels, len(found.random), len(found.blocks)) == (60, 1440, 3, 3)
    assert min(found.random) > 0.8 > 0.75 > max(found.blocks)
    assert found.optimism.interval.low > 0.1
    assert found.optimism.value == pytest.approx(np.mean(found.random) - np.mean(found.blocks), abs=0.02)
    assert found.sentence.startswith(
        f"A random hold-out of these patches is optimistically biased by {found.optimism.value:.3f} of F1"
    )
    assert counted[-1] == ("hold-outs", 6, 6)


def test_patches_that_are_all_alike_do_not_flatter() -> None:
    """With one rule everywhere both ways find it, and nothing can be told from chance."""
    found = holdout(regions(patches=60, turn=False), seed=0, progress=silent)
    assert found is not None
    assert min(*found.random, *found.blocks) > 0.9
    assert abs(found.optimism.value) < 0.02


def test_the_sentence_says_no_more_than_the_interval() -> None:
    """Flattery, none that could be told from chance, and the reverse."""
    says = {
        "A random hold-out of these patches is optimistically biased by 0.100 of F1": Interval(0.05, 0.15),
        "No optimistic bias of a random hold-out can be told from chance here": Interval(-0.05, 0.25),
    }
    for sentence, interval in says.items():
        assert Holdout(10, 100, (), (), Difference(0.1, interval, 0.9)).sentence.startswith(sentence)
    reverse = Holdout(10, 100, (), (), Difference(-0.1, Interval(-0.2, -0.05), 0.0)).sentence
    assert reverse.startswith("Contiguous blocks come out 0.100 of F1 higher")


def test_too_little_to_hold_out_is_not_measured() -> None:
    """Nine patches, or pixels of one class."""
    pixels = regions(patches=60, turn=False)
    assert holdout(TrainPixels(pixels.features[:9], pixels.labels[:9]), seed=0, progress=silent) is None
    assert holdout(TrainPixels(pixels.features, np.zeros_like(pixels.labels)), seed=0, progress=silent) is None


def test_auc_counts_pairs() -> None:
    """Of 1, 2, 3 below and 2, 4 above: 2 beats 1 and ties 2, 4 beats all three; 4.5 of 6 pairs."""
    assert _auc(np.array([1, 2, 3]), np.array([2, 4])) == 4.5 / 6
    assert _auc(np.array([1.0]), np.array([1.0])) == 0.5


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.35, 0.65), (2.0, 0.95, 1.0)])
def test_a_shifted_split_is_told_apart_and_one_of_the_same_region_is_not(
    shift: float, least: float, most: float
) -> None:
    """56 normal numbers a patch, the first two of the second split shifted by so many standard deviations."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((80, 56)), rng.standard_normal((40, 56))
    second[:, :2] += shift
    found = _separability("train", first, "test", second, bands=N_BANDS, seed=0)
    assert least <= found.auc <= most
    assert found.interval.low <= found.auc <= found.interval.high
    assert (found.interval.low > 0.5) == (shift > 0)
    # Two standard deviations apart, one normal number is above another with probability .92.
    assert np.abs(found.bands[:2] - (0.92 if shift else 0.5)).max() < 0.12
    assert np.abs(found.bands[2:] - 0.5).max() < 0.2
    again = _separability("train", first, "test", second, bands=N_BANDS, seed=0)
    assert (again.auc, again.interval) == (found.auc, found.interval)
