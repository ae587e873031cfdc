"""The six-input U-Net of public notebooks: its size by hand, and that the project's experiment is the same."""

from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.experiment import load_experiment
from lsml.config.schema import PUBLIC_RECIPE
from lsml.data.statistics import BandStatistics
from lsml.models.unet import build_network
from tests.bands import N_BANDS

pytestmark = pytest.mark.landslide4sense("the public notebooks' six inputs are of its bands")

ROOT = Path(__file__).parents[2]


def test_the_network_has_the_size_of_the_notebooks(statistics: BandStatistics) -> None:
    """1,941,537 weights in 19 convolutions and 4 transposed ones, dropout of .1 to .3, no normalisation."""
    network = build_network(PUBLIC_RECIPE, statistics)
    # A convolution has (9 in + 1) out weights. Encoder, two each: 3,200 + 13,888 + 55,424 + 221,440 + 885,248.
    encoder = sum(
        (9 * before + 1) * width + (9 * width + 1) * width
        for before, width in ((6, 16), (16, 32), (32, 64), (64, 128), (128, 256))
    )
    assert encoder == 1_179_200
    # Decoder: a transposed one (4 in + 1 weights for each filter), then two on twice the filters and on the filters:
    # 573,824 + 143,552 + 35,936 + 9,008. The head: 16 + 1.
    decoder = 573_824 + 143_552 + 35_936 + 9_008
    assert network.count_params() == encoder + decoder + 17 == 1_941_537
    kinds = [type(layer) for layer in network.layers]
    assert (kinds.count(keras.layers.Conv2D), kinds.count(keras.layers.Conv2DTranspose)) == (19, 4)
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    # .1 at the finest level, .05 more for each of the four below it, and up again.
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.25, 0.2, 0.15, 0.1])
    assert not any("Normalization" in kind.__name__ for kind in kinds)


def test_it_sees_six_inputs_alone(statistics: BandStatistics) -> None:
    """A red edge that is twice as bright changes no logit; another red does."""
    network = build_network(PUBLIC_RECIPE, statistics)
    stored = np.random.default_rng(0).uniform(0.5, 1.5, (1, 32, 32, N_BANDS)).astype("float32")
    red_edge, red = stored.copy(), stored.copy()
    red_edge[..., 4] *= 2
    red[..., 3] = red[:, ::-1, :, 3]
    before, other_edge, other_red = (np.asarray(network.predict_on_batch(x)) for x in (stored, red_edge, red))
    np.testing.assert_array_equal(before, other_edge)
    assert np.abs(before - other_red).max() > 1e-3


def test_the_projects_experiment_begins_with_it() -> None:
    """What is tuned as an experiment of its own is what other experiments are measured against."""
    assert load_experiment(ROOT / "experiments" / "seed_recipe.yaml").base == PUBLIC_RECIPE
