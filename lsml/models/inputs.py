"""The input layers: stored band values to scaled ones and spectral indices, inside the graph and saved with it."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import KerasTensor, ops

from lsml.config.schema import InputConfig
from lsml.data.sensor import (
    BLUE,
    ELEVATION,
    GREEN,
    GROUPS,
    NEAR_INFRARED,
    RED,
    RED_EDGE,
    SHORT_WAVE_INFRARED_1,
    SHORT_WAVE_INFRARED_2,
    SLOPE,
    Sensor,
)
from lsml.data.statistics import BandStatistics
from lsml.errors import ConfigError


class _Index(NamedTuple):
    """`(a - b) / (a + b)`, where `a` and `b` are summed reflectances of the bands of the roles `more`, `less`."""

    name: str
    more: tuple[str, ...]
    less: tuple[str, ...]


NDVI = _Index("NDVI", (NEAR_INFRARED,), (RED,))
"""Vegetation: Rouse et al. 1974, "Monitoring vegetation systems in the Great Plains with ERTS"."""

NDRE = _Index("NDRE", (NEAR_INFRARED,), (RED_EDGE,))
"""Chlorophyll, by the red edge at 705 nm: Gitelson & Merzlyak 1994, J. Photochem. Photobiol. B 22."""

NDWI = _Index("NDWI", (GREEN,), (NEAR_INFRARED,))
"""Open water: McFeeters 1996, Int. J. Remote Sensing 17 (7)."""

NDMI = _Index("NDMI", (NEAR_INFRARED,), (SHORT_WAVE_INFRARED_1,))
"""Water in leaves: Gao 1996, Remote Sensing of Environment 58 (who calls it NDWI)."""

NBR = _Index("NBR", (NEAR_INFRARED,), (SHORT_WAVE_INFRARED_2,))
"""Burnt or otherwise bared ground: Key & Benson 2006, USDA RMRS-GTR-164-CD."""

BSI = _Index("BSI", (SHORT_WAVE_INFRARED_1, RED), (NEAR_INFRARED, BLUE))
"""Bare soil: Rikimaru et al. 2002, Tropical Ecology 43 (1)."""

SETS: dict[str, tuple[_Index, ...]] = {
    "none": (),
    "vegetation": (NDVI, NDRE),
    "all": (NDVI, NDRE, NDWI, NDMI, NBR, BSI),
}
"""The values of `input.indices`."""


def indices_of(name: str, sensor: Sensor) -> list[_Index]:
    """The indices of that value of `input.indices` for which the sensor has the bands."""
    return [index for index in SETS[name] if sensor.has(*index.more, *index.less)]


def spectral_index(reflectance: KerasTensor, index: _Index, sensor: Sensor) -> KerasTensor:
    """An index of reflectances `(B, H, W, C)`, none of them below 0: `(B, H, W, 1)` in -1..1, 0 where all is dark."""
    more, less = (_sum(reflectance, roles, sensor) for roles in (index.more, index.less))
    return (more - less) / ops.maximum(more + less, sensor.least_sum(*index.more, *index.less))


def _sum(reflectance: KerasTensor, roles: tuple[str, ...], sensor: Sensor) -> KerasTensor:
    first, *rest = (_band(reflectance, role, sensor) for role in roles)
    return sum(rest, start=first)


def _band(values: KerasTensor, role: str, sensor: Sensor) -> KerasTensor:
    # Not a slice: what a model file says of those looks like a class, and is refused.
    return ops.take(values, [sensor.place(role)], axis=-1)


LIMITS = {"standard": (-10.0, 10.0), "minmax": (-1.0, 2.0)}
"""Scaled values beyond these are cut off. Ten standard deviations, or one range beyond either end, hold every
value of the real patches but the brightest cirrus; a damaged pixel can't drown its neighbours."""


def features_of(stored: KerasTensor, config: InputConfig, statistics: BandStatistics) -> KerasTensor:
    """What the encoder sees, float32 `(B, H, W, F)`: the chosen bands, scaled, and then the chosen indices;
    or `_six_inputs`.

    Args:
        stored: `(B, H, W, C)`, finite or not.

    Raises:
        ConfigError: no band and no index is chosen, or the sensor lacks a band of the six inputs.
    """
    sensor, finite = statistics.sensor, replace_nonfinite(stored, statistics.median)
    if config.features == "six_inputs":
        return _six_inputs(finite, sensor)
    bands = bands_seen(config, sensor)
    found = []
    if bands:
        scaled = scale(finite, config, statistics)
        found.append(scaled if len(bands) == len(sensor) else ops.take(scaled, bands, axis=-1))
    if indices := indices_of(config.indices, sensor):
        physical = reflectance(finite, sensor)
        found.extend(spectral_index(physical, index, sensor) for index in indices)
    if not found:
        raise ConfigError("input", "all bands and indices are off", "switch one on, such as input.visible=true")
    return found[0] if len(found) == 1 else ops.concatenate(found, axis=-1)


_SIX_ROLES = (RED, GREEN, BLUE, NEAR_INFRARED, SLOPE, ELEVATION)


def _six_inputs(stored: KerasTensor, sensor: Sensor) -> KerasTensor:
    """Finite stored bands `(B, H, W, C)` to red, green, blue, NDVI, slope, elevation: `(B, H, W, 6)`, each in -1..1.

    So public notebooks on Landslide4Sense prepare a patch. With m the largest value in that patch, all but NDVI are
    1 - x / (m / 2): the colours with the m of the three of them together, slope and elevation each with its own. NDVI
    is that of the stored values, without the bands' constants. Where a patch is zero throughout, or both bands of NDVI
    are, x and NDVI count as zero.
    """
    if not sensor.has(*_SIX_ROLES):
        raise ConfigError(
            "input.features", f"six_inputs needs {', '.join(_SIX_ROLES)}, which {sensor.name} lacks", "set it to bands"
        )
    red, near_infrared = _band(stored, RED, sensor), _band(stored, NEAR_INFRARED, sensor)
    total = near_infrared + red
    return ops.concatenate(
        [
            _inverted(ops.take(stored, [sensor.place(role) for role in (RED, GREEN, BLUE)], axis=-1)),
            (near_infrared - red) / ops.where(total > 0, total, 1.0),
            _inverted(_band(stored, SLOPE, sensor)),
            _inverted(_band(stored, ELEVATION, sensor)),
        ],
        axis=-1,
    )


def _inverted(x: KerasTensor) -> KerasTensor:
    """1 at zero to -1 at the largest value of the patch, of the shape of `x`."""
    half = ops.max(x, axis=(1, 2, 3), keepdims=True) / 2
    return 1 - x / ops.where(half > 0, half, 1.0)


def bands_seen(config: InputConfig, sensor: Sensor) -> list[int]:
    """The chosen bands, in the order of the features; those without a role always are."""
    off = {role for group, roles in GROUPS.items() if not getattr(config, group) for role in roles}
    return [place for place, band in enumerate(sensor.bands) if band.role not in off]


def reflectance(stored: KerasTensor, sensor: Sensor) -> KerasTensor:
    """Finite stored bands to their physical values, held to what reflectance x 10,000 can be: 0..65,535."""
    return ops.clip(physical(stored, sensor), 0.0, 65535.0)


def physical(stored: KerasTensor, sensor: Sensor) -> KerasTensor:
    """Finite stored bands to their physical values, each in its unit."""
    scaled = stored * sensor.scales.astype("float32")
    return scaled + sensor.offsets.astype("float32") if sensor.offsets.any() else scaled


def replace_nonfinite(stored: KerasTensor, median: Sequence[float]) -> KerasTensor:
    """Stored bands `(B, H, W, C)` with NaN and infinities replaced by their band's train median."""
    return ops.where(ops.isfinite(stored), stored, np.asarray(median, dtype="float32"))


def scale(stored: KerasTensor, config: InputConfig, statistics: BandStatistics) -> KerasTensor:
    """Finite stored bands `(B, H, W, C)` to float32 values of about one, by statistics of the train split.

    `standard` gives zero mean and unit variance; `minmax` gives 0..1 between the train split's extremes. A band
    that is constant in the train split is only shifted. Values are cut off at `LIMITS`.

    With `clip_percentile` they are cut off at these percentiles of the train split first, and the statistics are
    those of what that leaves: B10's brightest cirrus, a hundred standard deviations out, then widens no scale.
    """
    if config.clip_percentile:
        clipped = statistics.clipped(config.clip_percentile)
        low, high = (np.asarray(limit, dtype="float32") for limit in (clipped.minimum, clipped.maximum))
        stored = ops.minimum(ops.maximum(stored, low), high)
    offset, spread = _offset_and_spread(config, statistics)
    scaled = keras.layers.Normalization(
        mean=offset.tolist(), variance=np.square(spread).tolist(), dtype="float32", name=f"scale_{config.scaling}"
    )(stored)
    return ops.clip(scaled, *LIMITS[config.scaling])


def scaled_moments(config: InputConfig, statistics: BandStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the train split of each band as `scale` gives it, float64 `(C,)`.

    The standard deviation of a band that is constant there is 1. What `LIMITS` cut off is left out of account.
    """
    offset, spread = _offset_and_spread(config, statistics)
    known = _known(config, statistics)
    std = np.asarray(known.std)
    return (np.asarray(known.mean) - offset) / spread, np.where(std > 0, std / spread, 1.0)


def _offset_and_spread(config: InputConfig, statistics: BandStatistics) -> tuple[np.ndarray, np.ndarray]:
    """What `scale` subtracts from each band and then divides it by."""
    known = _known(config, statistics)
    if config.scaling == "standard":
        offset, spread = np.asarray(known.mean), np.asarray(known.std)
    else:
        offset = np.asarray(known.minimum)
        spread = np.asarray(known.maximum) - offset
    return offset, np.where(spread > 0, spread, 1.0)


def _known(config: InputConfig, statistics: BandStatistics) -> BandStatistics:
    return statistics.clipped(config.clip_percentile) if config.clip_percentile else statistics
