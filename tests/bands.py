"""The bands that tests make patches of: Landslide4Sense's, and the places of some of them."""

from lsml.data.sensor import LANDSLIDE4SENSE

SENSOR = LANDSLIDE4SENSE
BANDS = SENSOR.bands
N_BANDS = len(SENSOR)
CONSTANTS = tuple(SENSOR.divisors.tolist())
PATCH_SIZE = 128
PATCH_SHAPE = (PATCH_SIZE, PATCH_SIZE, N_BANDS)
PIXEL_METRES = 10.0

BLUE, GREEN, RED, NEAR_INFRARED = map(SENSOR.place, ("blue", "green", "red", "near_infrared"))
RED_EDGE = SENSOR.place("red_edge_705")
SHORT_WAVE_INFRARED_1, SHORT_WAVE_INFRARED_2 = map(SENSOR.place, ("short_wave_infrared_1", "short_wave_infrared_2"))
SLOPE, ELEVATION = map(SENSOR.place, ("slope", "elevation"))
