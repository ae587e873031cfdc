"""The U-Net's own proportions; what holds for every network is in `tests/contracts/test_models.py`."""

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.models.unet import build_network
from tests.bands import N_BANDS


def test_filters_double_with_depth(statistics: BandStatistics) -> None:
    """The deepest level of depth 2 has four times the filters of the first, at a quarter of the resolution."""
    values = {"model.filters": 4, "model.depth": 2, "model.normalization": "none", "model.dropout": 0.0}
    network = build_network(with_values(TrainConfig(), values), statistics)
    assert network.get_layer("encoder2_conv2").output.shape == (None, None, None, 16)
    # 3x3 kernels and biases, encoder: C>4 36 C + 4, 4>4 148, 4>8 296, 8>8 584, 8>16 1168, 16>16 2320;
    # decoder: up 16>8 520, 16>8 1160, 8>8 584, up 8>4 132, 8>4 292, 4>4 148; logits 4>1 5
    assert (
        network.count_params()
        == 9 * N_BANDS * 4 + 4 + 148 + 296 + 584 + 1168 + 2320 + 520 + 1160 + 584 + 132 + 292 + 148 + 5
    )
