"""A map's accuracy and the area of landslides, of points that people looked at."""

from pathlib import Path

from lsml.scenes.assessment import Mask
from lsml.scoring.area import MapAccuracy, allocate, assess, sample_size


def draw_sample(
    mask: Path, *, out: Path, points: int | None, standard_error: float, expected: tuple[float, float], seed: int
) -> tuple[int, int]:
    """Draws a stratified random sample of the places of a mask into a GeoJSON of points without labels.

    Args:
        points: how many; None for as many as give the overall accuracy the standard error.
        standard_error: see `lsml.scoring.area.sample_size`, as `expected`, of landslide and of the rest.

    Returns:
        How many lie on what the mask calls landslide, and how many on the rest.

    Raises:
        DataError: no mask with both classes, or `out` is there already or cannot be written.
    """
    opened = Mask.of(mask)
    total = points if points is not None else max(sample_size(opened.areas, expected, standard_error), 4)
    return opened.write_points(out, allocate(total, opened.areas), seed=seed)


def estimate(mask: Path, labelled: Path) -> MapAccuracy:
    """Accuracy of a mask and areas in square metres, landslide first, of the labels of all points of a sample.

    Raises:
        DataError: no mask, or no sample of it with a label of each point.
    """
    opened = Mask.of(mask)
    return assess(opened.count_labels(labelled), opened.areas)
