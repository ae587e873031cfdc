"""Spectral indices as features: normalised differences of reflectances, computed in the graph."""

from typing import NamedTuple

from keras import KerasTensor, ops

from lsml.bands import BLUE, GREEN, NEAR_INFRARED, RED, SHORT_WAVE_INFRARED_2

RED_EDGE, SHORT_WAVE_INFRARED_1 = 4, 10

LEAST_SUM = 1.0
"""The least denominator: one step of the published integers, a reflectance of .0001; below it all is dark."""


class Index(NamedTuple):
    """`(a - b) / (a + b)`, where `a` and `b` are sums of the reflectances of the bands in `more` and `less`."""

    name: str
    more: tuple[int, ...]
    less: tuple[int, ...]


NDVI = Index("NDVI", (NEAR_INFRARED,), (RED,))
"""Vegetation: Rouse et al. 1974, "Monitoring vegetation systems in the Great Plains with ERTS"."""

NDRE = Index("NDRE", (NEAR_INFRARED,), (RED_EDGE,))
"""Chlorophyll, by the red edge at 705 nm: Gitelson & Merzlyak 1994, J. Photochem. Photobiol. B 22."""

NDWI = Index("NDWI", (GREEN,), (NEAR_INFRARED,))
"""Open water: McFeeters 1996, Int. J. Remote Sensing 17 (7)."""

NDMI = Index("NDMI", (NEAR_INFRARED,), (SHORT_WAVE_INFRARED_1,))
"""Water in leaves: Gao 1996, Remote Sensing of Environment 58 (who calls it NDWI)."""

NBR = Index("NBR", (NEAR_INFRARED,), (SHORT_WAVE_INFRARED_2,))
"""Burnt or otherwise bared ground: Key & Benson 2006, USDA RMRS-GTR-164-CD."""

BSI = Index("BSI", (SHORT_WAVE_INFRARED_1, RED), (NEAR_INFRARED, BLUE))
"""Bare soil: Rikimaru et al. 2002, Tropical Ecology 43 (1)."""

SETS: dict[str, tuple[Index, ...]] = {
    "none": (),
    "vegetation": (NDVI, NDRE),
    "all": (NDVI, NDRE, NDWI, NDMI, NBR, BSI),
}
"""The values of `input.indices`."""


def spectral_index(reflectance: KerasTensor, index: Index) -> KerasTensor:
    """An index of reflectances `(B, H, W, 14)`, none of them below 0: `(B, H, W, 1)` in -1..1, 0 where all is dark."""
    more, less = _sum(reflectance, index.more), _sum(reflectance, index.less)
    return (more - less) / ops.maximum(more + less, LEAST_SUM)


def _sum(reflectance: KerasTensor, bands: tuple[int, ...]) -> KerasTensor:
    # Not slices: what a model file says of those looks like a class, and is refused.
    first, *rest = (ops.take(reflectance, [band], axis=-1) for band in bands)
    return sum(rest, start=first)
