"""The bands that tests make patches of, and the places of some of them.

They are Landslide4Sense's, or with `LSML_TEST_SENSOR=five` five others of another size, see `tests.patches`.
"""

import os
from pathlib import Path

from lsml.data.description import describe

LANDSLIDE4SENSE, FIVE = "landslide4sense", "five"
SENSOR_NAME = os.environ.get("LSML_TEST_SENSOR", LANDSLIDE4SENSE)
PATCH_SIZE = {LANDSLIDE4SENSE: 128, FIVE: 96}[SENSOR_NAME]
DESCRIPTION = Path(__file__).parent / "stored" / FIVE / "dataset.yaml"
"""Of the five bands; Landslide4Sense's need none."""

SENSOR = describe([DESCRIPTION.parent] if SENSOR_NAME == FIVE else [], [])
BANDS = SENSOR.bands
N_BANDS = len(SENSOR)
CONSTANTS = tuple(SENSOR.divisors.tolist())
PATCH_SHAPE = (PATCH_SIZE, PATCH_SIZE, N_BANDS)
PIXEL_METRES = 10.0


def _place(role: str) -> int:
    """Beyond the last band where there is none of that role, so that asking for it fails."""
    return SENSOR.place(role) if SENSOR.has(role) else N_BANDS


BLUE, GREEN, RED, NEAR_INFRARED = map(_place, ("blue", "green", "red", "near_infrared"))
RED_EDGE = _place("red_edge_705")
SHORT_WAVE_INFRARED_1, SHORT_WAVE_INFRARED_2 = map(_place, ("short_wave_infrared_1", "short_wave_infrared_2"))
SLOPE, ELEVATION = map(_place, ("slope", "elevation"))
