"""The STAC item of what was made of a scene: its required fields, place, time and files."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from jsonschema import Draft7Validator
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.local_validator import get_local_schema_cache
from rasterio.transform import Affine
from referencing import Registry, Resource
from shapely.geometry import shape

from lsml.errors import DataError
from lsml.scenes.stac import time_of, write_item
from tests.scenes.made import NORTH_UP, write_scene

FACTS = {"scene": "valley 7.tif", "model_sha256": "0123456789abcdef", "threshold": "0.5"}
TIME = ("2023-02-15T05:00:11Z", "TIFFTAG_DATETIME")


def written(folder: Path, *, crs: Any = "EPSG:32645", transform: Affine = NORTH_UP, side: int = 100) -> dict[str, Any]:
    """The item of two files, of a square of pixels."""
    for name in ("mask.tif", "landslides.geojson"):
        (folder / name).write_bytes(name.encode())
    grid = {"height": side, "width": side, "crs": crs, "transform": transform}
    write_item(folder, ["mask.tif", "landslides.geojson"], grid=grid, facts=FACTS, time=TIME)
    return json.loads((folder / "item.json").read_text())


def test_an_item_has_what_stac_requires(tmp_path: Path) -> None:
    """The fields of STAC 1.1.0, and of the extensions that it names."""
    item = written(tmp_path)
    required = {"type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties", "links", "assets"}
    assert item.keys() == required
    assert (item["type"], item["stac_version"], item["id"], item["links"]) == (
        "Feature",
        "1.1.0",
        "valley 7-01234567",
        [],
    )
    assert [url.split("/")[3] for url in item["stac_extensions"]] == ["projection", "file"]
    told = item["properties"]
    assert (told["datetime"], told["lsml:datetime_from"], told["lsml:threshold"]) == (*TIME, "0.5")
    assert (told["proj:code"], told["proj:shape"]) == ("EPSG:32645", [100, 100])
    assert told["proj:transform"] == [10, 0, 500_000, 0, -10, 3_100_000]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32645", NORTH_UP),
        ("EPSG:4326", Affine(0.01, 0, 179.5, 0, -0.01, -10)),
        ("EPSG:32661", Affine(4000, 0, 1_800_000, 0, -4000, 2_200_000)),
        ("+proj=laea +lat_0=28 +lon_0=87.3 +ellps=WGS84", Affine(10, 0, 0, 0, -10, 0)),
    ],
    ids=["usual", "antimeridian", "pole", "no code"],
)
def test_an_item_is_valid(tmp_path: Path, crs: str, transform: Affine) -> None:
    """By STAC's own JSON schemas, which pystac holds; and pystac reads what the extensions say."""
    item = written(tmp_path, crs=rasterio.CRS.from_user_input(crs), transform=transform)
    schemas = get_local_schema_cache()
    registry = Registry().with_resources([(uri, Resource.from_contents(schema)) for uri, schema in schemas.items()])
    (schema,) = (schema for uri, schema in schemas.items() if uri.endswith("/item.json"))
    valid = Draft7Validator(schema, registry=registry)
    assert [error.message for error in valid.iter_errors(item)] == []
    # What is no item is told from one.
    assert not valid.is_valid(item | {"properties": {}})
    read = pystac.Item.from_dict(item)
    projection = ProjectionExtension.ext(read)
    assert (projection.code, projection.shape) == (crs if crs.startswith("EPSG") else None, [100, 100])
    assert FileExtension.ext(read.assets["mask"]).size == len(b"mask.tif")


def test_its_files_are_there(tmp_path: Path) -> None:
    """By their links from the item, with size and multihash: 12 for SHA-256, 20 for its 32 bytes."""
    item = written(tmp_path)
    assert item["assets"].keys() == {"mask", "landslides.geojson"}
    for asset in item["assets"].values():
        content = (tmp_path / asset["href"]).read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    assert item["assets"]["mask"]["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert item["assets"]["landslides.geojson"]["type"] == "application/geo+json"
    assert item["assets"]["mask"]["roles"] == ["data"]


def test_its_place_is_in_degrees(tmp_path: Path) -> None:
    """A kilometre from zone 45's middle, 87 degrees, eastward: .0102 degrees; from 28.0252 degrees southward: .0090."""
    item = written(tmp_path)
    assert item["bbox"] == pytest.approx([87, 28.0162, 87.0102, 28.0252], abs=1e-4)
    outline = shape(item["geometry"])
    assert outline.bounds == pytest.approx(item["bbox"], abs=1e-7)
    assert (outline.is_valid, outline.exterior.is_ccw) == (True, True)


def test_across_the_antimeridian_and_around_a_pole(tmp_path: Path) -> None:
    """West is more than east and there are two outlines; around a pole all longitudes, up to 90 degrees.

    Pixels of .01 degrees from 179.5 on, a hundred of them. Of UPS North 200 km each way: the corners are 282.8 km from
    the pole, whose scale is .994, on which a degree is 111,694 m: 2.547 degrees; the middles of sides 1.801 degrees.
    """
    item = written(tmp_path, crs="EPSG:4326", transform=Affine(0.01, 0, 179.5, 0, -0.01, -10))
    assert item["bbox"] == pytest.approx([179.5, -11, -179.5, -10])
    assert sorted(part.bounds for part in shapely.get_parts(shape(item["geometry"]))) == [
        pytest.approx((-180, -11, -179.5, -10)),
        pytest.approx((179.5, -11, 180, -10)),
    ]
    polar = Affine(4000, 0, 1_800_000, 0, -4000, 2_200_000)
    item = written(tmp_path, crs="EPSG:32661", transform=polar)
    assert item["bbox"] == pytest.approx([-180, 90 - 2.547, 180, 90], abs=2e-3)
    outline = shape(item["geometry"])
    assert outline.is_valid
    assert outline.contains(shapely.Point(179, 88.3))
    assert not outline.contains(shapely.Point(0, 88))


def test_a_system_without_a_code_is_written_out(tmp_path: Path) -> None:
    """As WKT of 2019; `proj:code` is null then."""
    crs = rasterio.CRS.from_proj4("+proj=laea +lat_0=28 +lon_0=87.3 +ellps=WGS84")
    told = written(tmp_path, crs=crs, transform=Affine(10, 0, 0, 0, -10, 0))["properties"]
    assert told["proj:code"] is None
    assert told["proj:wkt2"].startswith("PROJCRS[")


def test_the_time_is_the_scenes(tmp_path: Path) -> None:
    """By its tag; else when its file was last changed, and the item says which."""
    path = write_scene(tmp_path / "scene.tif", np.ones((1, 4, 4), np.uint8))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    with rasterio.open(path) as file:
        assert time_of(file, path) == ("2023-11-14T22:13:20Z", "last change of the scene's file")
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2022:08:01 10:20:30")
    with rasterio.open(path) as file:
        assert time_of(file, path) == ("2022-08-01T10:20:30Z", "TIFFTAG_DATETIME")


def test_an_item_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "item.json").mkdir()
    with pytest.raises(DataError, match=r"item .*item\.json: cannot be written"):
        written(tmp_path)
