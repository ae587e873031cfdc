"""What was found in a scene at a glance: a picture with the landslides outlined, and a page to look at each."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from matplotlib.colors import to_rgb

from lsml.errors import DataError
from lsml.plots import VERMILLION, page_templates
from lsml.plots.patches import true_colour
from lsml.scenes.degrees import middle_of
from lsml.scenes.polygons import Landslide
from lsml.scenes.reading import Scene
from lsml.workspace import replace_whole

QUICKLOOK, PAGE = "quicklook.png", "map.html"

_SIDE = 2048
"""Pixels of a side of the picture at most."""
_LISTED = 1000
"""Landslides in the page, the largest ones, so that a browser stays quick."""
_SHIFT = 4
"""Bits of a fraction of a pixel in which outlines are drawn."""
_TOLERANCE = 0.4
"""Pixels of the picture by which an outline in the page may be off."""
_QUALITY = 85


def draw_overview(scene: Scene) -> np.ndarray:
    """The scene in true colour as in pictures of patches, uint8 `(h, w, 3)`, at most 2,048 pixels a side; nodata black.

    Raises:
        DataError: the scene cannot be read.
    """
    return true_colour(*scene.overview(_SIDE))


def write_quicklook(
    picture: np.ndarray,
    landslides: Sequence[Landslide],
    out: Path,
    *,
    grid: Mapping[str, Any],
    facts: Mapping[str, str],
) -> None:
    """Writes `quicklook.png` and `map.html` into a folder that is there.

    The page holds the picture and the landslides, loads nothing, and can be read without JavaScript, with which it
    pans, zooms and tells of a landslide that is clicked.

    Args:
        picture: see `draw_overview`.
        landslides: the largest first.
        grid: the scene's size, coordinate system and transform.
        facts: what the files say of themselves.

    Raises:
        DataError: they cannot be written.
    """
    to_picture = _to_picture(picture, grid)
    png = _encode(".png", _outlined(picture, landslides, to_picture))
    page = _page(picture, landslides, to_picture, grid, facts).encode()
    for name, content in ((QUICKLOOK, png), (PAGE, page)):
        try:
            replace_whole(out / name, [content])
        except OSError as error:
            why = f"cannot be written ({len(content):,} bytes): {error.strerror}"
            fix = "free space or give another --out; the same command resumes"
            raise DataError(f"map {out / name}", why, fix) from None


def _to_picture(picture: np.ndarray, grid: Mapping[str, Any]) -> rasterio.Affine:
    """From the scene's coordinates to columns and rows of the picture."""
    scale = rasterio.Affine.scale(picture.shape[1] / grid["width"], picture.shape[0] / grid["height"])
    return scale @ ~grid["transform"]


def _encode(kind: str, picture: np.ndarray, *options: int) -> bytes:
    """A file of red, green and blue."""
    return cv2.imencode(kind, picture[..., ::-1], options)[1].tobytes()


def _outlined(picture: np.ndarray, landslides: Sequence[Landslide], to_picture: rasterio.Affine) -> np.ndarray:
    outlined = picture.copy()
    colour = tuple(round(255 * part) for part in to_rgb(VERMILLION))
    # One by one: the places of all would take as much memory as the landslides.
    for each in landslides:
        # OpenCV's places are those of pixels' middles.
        places = [np.rint((ring - 0.5) * 2**_SHIFT).astype(np.int32) for ring in _rings(each.own, to_picture)]
        cv2.polylines(outlined, places, True, colour, thickness=1, lineType=cv2.LINE_AA, shift=_SHIFT)
    return outlined


def _rings(polygon: Any, to_picture: rasterio.Affine) -> list[np.ndarray]:
    """The outlines of a polygon or of several and of their holes, columns and rows `(N, 2)` in the picture."""
    import shapely

    rings = []
    for part in shapely.get_parts(polygon):
        for ring in (part.exterior, *part.interiors):
            rings.append(np.column_stack(to_picture @ tuple(shapely.get_coordinates(ring).T)))
    return rings


def _page(
    picture: np.ndarray,
    landslides: Sequence[Landslide],
    to_picture: rasterio.Affine,
    grid: Mapping[str, Any],
    facts: Mapping[str, str],
) -> str:
    """The page as HTML."""
    content = base64.b64encode(_encode(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, _QUALITY)).decode()
    rows = [
        each.properties(number) | {"path": _path(each.own, to_picture), "middle": middle_of(each.degrees)}
        for number, each in enumerate(landslides[:_LISTED], start=1)
    ]
    return (
        page_templates("lsml.scenes")
        .get_template("map.html")
        .render(
            scene=facts["scene"],
            facts=facts,
            count=len(landslides),
            hectares=sum(each.area for each in landslides) / 10_000,
            size=(grid["height"], grid["width"]),
            height=picture.shape[0],
            width=picture.shape[1],
            picture=f"data:image/jpeg;base64,{content}",
            landslides=rows,
            uncertain=bool(rows) and "mean_uncertainty" in rows[0],
        )
    )


def _path(polygon: Any, to_picture: rasterio.Affine) -> str:
    """A polygon as the path of an SVG, to a tenth of a pixel."""
    import shapely

    parts = []
    for ring in _rings(polygon, to_picture):
        simple = shapely.get_coordinates(shapely.simplify(shapely.linearrings(ring), _TOLERANCE))
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in simple[:-1]) + "Z")
    return "".join(parts)
