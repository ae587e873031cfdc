"""Scenes: patches of them to train on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lsml.data.description import describe
from lsml.data.layout import DESCRIPTION
from lsml.errors import DataError
from lsml.scenes.patches import TiledScenes, tile_scenes
from lsml.scenes.polygons import check_installed
from lsml.scenes.reading import Values
from lsml.workspace import Progress


def tile(
    scenes: Sequence[Path],
    landslides: Sequence[Path],
    out: Path,
    *,
    size: int,
    dems: Sequence[Path],
    mapped: Path | None,
    layer: str | None,
    like: Path | None,
    bands: Mapping[str, int],
    values: Values,
    gap: int,
    progress: Progress,
) -> TiledScenes:
    """Makes a dataset of scenes and polygons, see `tile_scenes`.

    Args:
        like: the folder of a dataset whose bands the patches get; None for those of the first scene.

    Raises:
        ConfigError: numbers that cannot be, a mistake in a `dataset.yaml`, or a package is missing.
        DataError: a file cannot be used, or `out` holds something or cannot be written.
    """
    check_installed()
    if like and not (like / DESCRIPTION).is_file():
        raise DataError(f"dataset {like}", f"has no {DESCRIPTION}", "give one that has, or leave --like out")
    sensor = describe((like,), ()) if like else None
    return tile_scenes(
        scenes,
        landslides,
        out,
        size=size,
        layer=layer,
        mapped=mapped,
        dems=dems,
        sensor=sensor,
        bands=bands,
        values=values,
        gap=gap,
        progress=progress,
    )
