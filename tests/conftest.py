"""What tests of several rooms share: statistics of made-up bands."""

import numpy as np
import pytest

from lsml.data.statistics import PERCENTS, BandStatistics


@pytest.fixture(scope="session")
def statistics() -> BandStatistics:
    """Bands with means 1..2.3 and standard deviation .5, from 0 to 4, but a last one that is always 3."""
    bands = np.arange(14)
    return BandStatistics(
        mean=(*(1 + bands[:13] / 10).tolist(), 3.0),
        std=(*[0.5] * 13, 0.0),
        minimum=(*[0.0] * 13, 3.0),
        maximum=(*[4.0] * 13, 3.0),
        median=(*(0.9 + bands[:13] / 10).tolist(), 3.0),
        quantiles=tuple((*[percent / 25] * 13, 3.0) for percent in PERCENTS),
    )
