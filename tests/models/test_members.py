"""Networks trained side by side: their mean, their loss, their weights, and where they stop being one network."""

import numpy as np
import pytest

from lsml.config.fields import Scalar
from lsml.config.schema import LossConfig, TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.losses import CompoundLoss
from lsml.models.ensemble import MembersLoss, mean_logits, member_seeds
from lsml.models.unet import build_model, build_network, build_networks
from tests.bands import N_BANDS


def _config(members: int, **model: Scalar) -> TrainConfig:
    chosen = {"members": members, "filters": 4, "depth": 2} | model
    return with_values(TrainConfig(), {f"model.{name}": value for name, value in chosen.items()})


def _bands() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, (2, 16, 24, N_BANDS)).astype("float32")


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, "float64")))


@pytest.mark.parametrize(
    ("members", "mean"),
    [
        # Probabilities .5 and .9 have the mean .7, whose odds are 7 / 3.
        ([0.0, np.log(9)], np.log(7 / 3)),
        # Certain of one and of the other: .5.
        ([60.0, -60.0], 0.0),
        # Float32 has no probability between 1 - 6e-8 and 1: at logit 60 only the logarithms tell.
        ([60.0, 60.0, 60.0], 60.0),
        # 1 and 1 - e^-40: half as far from 1.
        ([90.0, 40.0], 40 + np.log(2)),
    ],
)
def test_the_mean_of_probabilities_by_hand(members: list[float], mean: float) -> None:
    """Also where a member is as good as certain."""
    logits = [np.full((1, 2, 2, 1), logit, "float32") for logit in members]
    found = np.asarray(mean_logits(logits))
    assert found.shape == (1, 2, 2, 1)
    np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_mean_of_the_members_losses() -> None:
    """Cross-entropy of logits 0 and 2 where all is landslide, ln 2 and .126928, and of their mean neither."""
    loss = MembersLoss(CompoundLoss(LossConfig(jaccard=0.0)), 2)
    # Two patches of the first member, then two of the second.
    logits = np.zeros((4, 4, 4, 1), "float32")
    logits[2:] = 2
    # (0.693147 + 0.126928) / 2 = 0.410038; the mean probability (.5 + .880797) / 2 would have -ln .690399 = .370486.
    assert float(loss(np.ones((4, 4, 4, 1), "float32"), logits)) == pytest.approx(0.410038, abs=1e-5)
    # Without landslide in the second member's patches: (0.693147 + 2.126928) / 2.
    truth = np.concatenate([np.ones((2, 4, 4, 1)), np.zeros((2, 4, 4, 1))]).astype("float32")
    assert float(loss(truth, logits)) == pytest.approx(1.410038, abs=1e-5)


@pytest.mark.parametrize("supervised", [False, True])
def test_the_network_is_the_mean_of_its_members(supervised: bool, statistics: BandStatistics) -> None:
    """The exported model gives the mean of the members' probabilities; trained is each on patches of its own."""
    config = _config(3, deep_supervision=supervised)
    inference, trained, members, _ = build_networks(config, statistics)
    single = [_sigmoid(member(_bands())) for member in members]
    assert np.abs(single[0] - single[1]).max() > 0.01
    model = build_model(config, statistics)
    np.testing.assert_allclose(np.asarray(model(_bands())), np.mean(single, axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(_sigmoid(inference(_bands())), np.mean(single, axis=0), rtol=0, atol=1e-6)
    # Depth 2: two levels with deep supervision.
    random = np.random.default_rng(1)
    batches = [random.uniform(0, 4, (2, 16, 24, N_BANDS)).astype("float32") for _ in members]
    logits = np.asarray(trained(batches))
    assert logits.shape == (6, 16, 24, 2 if supervised else 1)
    for number, (member, own) in enumerate(zip(members, batches, strict=True)):
        np.testing.assert_allclose(logits[2 * number : 2 * number + 2, ..., :1], member(own), rtol=0, atol=1e-5)


def test_each_member_starts_as_the_network_of_its_seed(statistics: BandStatistics) -> None:
    """The first member's seed is the configuration's, the others' derive from it alone, and none is another's."""
    seeds = member_seeds(5, 4)
    assert seeds[0] == 5
    assert seeds[:2] == member_seeds(5, 2)
    assert len({*seeds, *member_seeds(6, 4)}) == 8
    networks = build_networks(with_values(_config(2), {"seed": 5}), statistics)
    for seed, member in zip(seeds, networks.members, strict=False):
        alone = build_network(with_values(_config(1), {"seed": seed}), statistics)
        for one, two in zip(alone.get_weights(), member.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    assert networks.inference_model.count_params() == 2 * alone.count_params()
