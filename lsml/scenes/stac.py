"""What was made of a scene as a STAC item, which catalogues list and QGIS finds: one JSON beside the files."""

import datetime
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import WktVersion
from rasterio.warp import transform as to_system

from lsml.errors import DataError
from lsml.scenes.degrees import as_geojson, box_of, continuous
from lsml.workspace import replace_whole, sha256_of

ITEM = "item.json"

_VERSION = "1.1.0"
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]
_TYPES = {
    ".tif": ("image/tiff; application=geotiff; profile=cloud-optimized", "data"),
    ".gpkg": ("application/geopackage+sqlite3", "data"),
    ".geojson": ("application/geo+json", "data"),
    ".png": ("image/png", "overview"),
    ".html": ("text/html", "overview"),
}
"""Media type and role of files by their ending."""
_POINTS, _STRAIGHT = 32, 1e-5
"""Of each side of the footprint, which is curved in degrees; those that are this near to the line between others go."""
_SHA256 = "1220"
"""What a multihash of SHA-256 begins with: its code, and 32 bytes."""


def time_of(file: "rasterio.DatasetReader", path: Path) -> tuple[str, str]:
    """When an open scene was taken, in UTC as RFC 3339 has it, and what says so.

    That is its tag TIFFTAG_DATETIME; without one, the file's last change stands for it, as an item needs a time.
    """
    said = re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", file.tags().get("TIFFTAG_DATETIME", "").strip())
    if said:
        return f"{said[1]}-{said[2]}-{said[3]}T{said[4]}Z", "TIFFTAG_DATETIME"
    changed = datetime.datetime.fromtimestamp(int(path.stat().st_mtime), datetime.UTC)
    return changed.strftime("%Y-%m-%dT%H:%M:%SZ"), "last change of the scene's file"


def write_item(
    out: Path, names: Sequence[str], *, grid: Mapping[str, Any], facts: Mapping[str, str], time: tuple[str, str]
) -> None:
    """Writes `item.json`, by STAC 1.1.0 with the extensions projection and file, into a folder of finished files.

    Args:
        names: of the files there that it lists.
        grid: size, coordinate system and transform.
        facts: what the files say of themselves; they become properties `lsml:NAME`.
        time: see `time_of`.

    Raises:
        DataError: it cannot be written.
    """
    footprint = continuous(_footprint(grid)).simplify(_STRAIGHT)
    crs = rasterio.CRS.from_user_input(grid["crs"])
    code = f"EPSG:{number}" if (number := crs.to_epsg()) else None
    properties: dict[str, Any] = {"datetime": time[0], "lsml:datetime_from": time[1], "proj:code": code}
    properties |= {} if code else {"proj:wkt2": crs.to_wkt(version=WktVersion.WKT2_2019)}
    properties |= {"proj:shape": [grid["height"], grid["width"]], "proj:transform": list(grid["transform"])[:6]}
    item = {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": _EXTENSIONS,
        "id": f"{Path(facts['scene']).stem}-{facts['model_sha256'][:8]}",
        "geometry": as_geojson(footprint),
        "bbox": list(box_of(footprint)),
        "properties": properties | {f"lsml:{name}": value for name, value in facts.items()},
        "links": [],
        "assets": {Path(name).stem if name.endswith(".tif") else name: _asset(out / name) for name in names},
    }
    try:
        replace_whole(out / ITEM, [json.dumps(item, indent=1).encode()])
    except OSError as error:
        fix = "free space or give another --out; the same command resumes"
        raise DataError(f"item {out / ITEM}", f"cannot be written: {error.strerror}", fix) from None


def _footprint(grid: Mapping[str, Any]) -> Any:
    """The edge of a grid in longitude and latitude, as it comes out of the transformation."""
    import shapely

    height, width = grid["height"], grid["width"]
    corners = [(0, 0), (0, height), (width, height), (width, 0), (0, 0)]
    sides = [np.linspace(start, end, _POINTS, endpoint=False) for start, end in itertools.pairwise(corners)]
    columns, rows = np.concatenate(sides).T
    x, y = grid["transform"] @ (columns, rows)
    longitudes, latitudes = to_system(grid["crs"], "EPSG:4326", x, y)
    return shapely.Polygon(np.column_stack([longitudes, latitudes]))


def _asset(path: Path) -> dict[str, Any]:
    kind, role = _TYPES[path.suffix]
    checksum = _SHA256 + sha256_of(path)
    size = path.stat().st_size
    return {"href": f"./{path.name}", "type": kind, "roles": [role], "file:size": size, "file:checksum": checksum}
