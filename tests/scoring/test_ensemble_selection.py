"""Greedy selection by hand, its honesty on patches that it did not see, and the probabilities that trials keep."""

import numpy as np
import pytest

from lsml.scoring.ensemble_selection import StoredProbabilities, _mean_of, _select, _split_half_f1, quantise, restore

# Of four pixels, the first two landslide.
TRUTH = [1, 1, 0, 0]
A, B, C = [0.2, 0.7, 0.2, 0.5], [0.9, 0.1, 0.7, 0.2], [0.1, 0.7, 0.4, 0.1]


def _levels(*patches: list[float]) -> np.ndarray:
    """Patches of one row each."""
    return quantise(np.array(patches, np.float32)[:, None])


def _masks(*patches: list[int]) -> np.ndarray:
    return np.array(patches, np.uint8)[:, None]


def test_the_greedy_selection_by_hand() -> None:
    """Each model alone is as good as the others, A and B are better, and A counted twice is right everywhere.

    A, B, C       each 2/3: at its highest probability but A's second 1 hit, 1 miss; at its lowest 2 hits, 2 alarms
    best 1        A, the one given first: .667
    best 2        A + B       .55 .4  .45 .35    at .4   2 hits, 1 alarm      .8
    best 3        A + B + C   .4  .5  .43 .27    at .4   2 hits, 1 alarm      .8, no better: the start is A + B
    and A         2 A + B     .43 .5  .37 .4     at .43  2 hits, no alarm    1, which is taken
    and B         A + 2 B     .67 .3  .53 .3     at .67  1 hit, 1 miss        .667
    and C         as best 3                                                   .8
    Nothing is above 1: the end.
    """
    models, truth = [_levels(A), _levels(B), _levels(C)], _masks(TRUTH)
    chosen = _select(models, truth, max_members=8)
    assert chosen.weights == (2, 1, 0)
    assert chosen.course == pytest.approx((2 / 3, 0.8, 1.0))
    assert chosen.f1 == 1
    # The weakest landslide pixel, (2 * .2 + .9) / 3.
    assert chosen.threshold == pytest.approx(0.4333, abs=0.01)
    np.testing.assert_allclose(_mean_of(models, chosen.weights)[0, 0], [0.4333, 0.5, 0.3667, 0.4], atol=0.01)


def test_no_more_members_than_asked_for() -> None:
    """Two members are A and B, one is the best model alone, the first of equals; a perfect one needs no other."""
    models, truth = [_levels(A), _levels(B), _levels(C)], _masks(TRUTH)
    assert _select(models, truth, max_members=2).weights == (1, 1, 0)
    assert _select(models, truth, max_members=1).weights == (1, 0, 0)
    assert _select([*models, _levels([0.9, 0.9, 0.1, 0.1])], truth, max_members=8).weights == (0, 0, 0, 1)


def test_what_it_was_not_selected_on_scores_it() -> None:
    """Two equal halves choose alike, and rightly for each other; two contrary ones choose wrong for each other.

    Alike: each half chooses 2 A + B, which is right on the other (F1 1), and of the models alone A at .7, which hits
    one of two pixels there: 2 hits, 2 misses: 4/6.
    Contrary: each half has one model that is right on it and wrong on the other, where it misses the one landslide and
    calls the one background: F1 0, while the selection on both halves thinks of 4/6.
    """
    twice = [_levels(model, model) for model in (A, B, C)]
    assert _split_half_f1(twice, _masks(TRUTH, TRUTH), max_members=8) == pytest.approx((1.0, 2 / 3))

    right, wrong = [0.9, 0.1], [0.1, 0.9]
    contrary = [_levels(right, wrong), _levels(wrong, right)]
    truth = _masks([1, 0], [1, 0])
    assert _split_half_f1(contrary, truth, max_members=8) == (0, 0)
    assert _select(contrary, truth, max_members=8).f1 == pytest.approx(4 / 6)


def test_nothing_is_split_half_f1_where_a_half_has_no_landslide() -> None:
    """Such a half has nothing to choose by; nor has a single patch a second half."""
    assert _split_half_f1([_levels(A, A)], _masks(TRUTH, [0, 0, 0, 0]), max_members=2) is None
    assert _split_half_f1([_levels(A)], _masks(TRUTH), max_members=2) is None


def test_nothing_to_select_from_is_refused() -> None:
    """No models, no members, and masks of another shape."""
    for models, members in (([], 2), ([_levels(A)], 0), ([_levels(A, A)], 2)):
        with pytest.raises(ValueError, match="nothing to select"):
            _select(models, _masks(TRUTH), max_members=members)


def test_probabilities_come_back_from_a_byte_to_the_nearest_level() -> None:
    """Levels are 16/255 of a logit apart, .0157 at .5: they are wrong by .0079 at most, and levels not at all."""
    probability = np.linspace(0, 1, 100_001, dtype=np.float32)
    levels = quantise(probability)
    assert levels.dtype == np.uint8
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert np.abs(restore(levels) - probability).max() < 0.0079
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(restore(every)), every)
    # The ends stand for sigmoid(-8) = .000335 and sigmoid(8).
    np.testing.assert_allclose(restore(quantise(np.array([0.0, 1.0]))), [0.000335, 0.999665], atol=1e-6)


def test_kept_probabilities_come_back_with_their_patches() -> None:
    """Ids, fingerprint and levels; a damaged or foreign file is a ValueError."""
    probability = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    content = StoredProbabilities.pack(["image_1", "image_2", "image_10"], "ab" * 32, probability)
    kept = StoredProbabilities.unpack(content)
    assert (kept.ids, kept.fingerprint) == (("image_1", "image_2", "image_10"), "ab" * 32)
    np.testing.assert_array_equal(kept.levels, quantise(probability))
    for broken in (
        b"",
        b"hello",
        content[:100],
        content[:-30],
        StoredProbabilities.pack(["image_1"], "ab" * 32, probability),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 (the reason is NumPy's own)
            StoredProbabilities.unpack(broken)
