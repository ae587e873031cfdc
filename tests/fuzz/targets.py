"""The readers that are fuzzed, each with sound inputs that it makes itself: the functions behind the commands."""

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from lsml.config.experiment import load_experiment
from lsml.data.description import describe
from lsml.data.formats import look, raster_centre, raster_size, read_image, read_mask
from lsml.data.formats.hdf5 import encode
from lsml.data.layout import PatchFiles
from lsml.data.listing import SPLITS
from lsml.data.pack import MANIFEST, PackedSplit, digest_of
from lsml.data.packing import pack_split
from lsml.data.scan import Scan
from lsml.data.sensor import LANDSLIDE4SENSE, RGB, Sensor
from lsml.errors import DataError
from lsml.names import Tag
from lsml.training.outcome import Checkpoint
from tests.fuzz.mutators import Mutator, changed_tree, of_bytes, of_members, of_text
from tests.fuzz.running import Target
from tests.processes import ROOT

_STORED = ROOT / "tests" / "stored"
_SIDE = 16


def _stored_bands() -> np.ndarray:
    """float64 `(16, 16, 14)`."""
    return np.random.default_rng(0).integers(0, 60, (_SIDE, _SIDE, len(LANDSLIDE4SENSE))) / 20


def _half_landslide() -> np.ndarray:
    return (np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE) % 3 == 0).astype(np.uint8)


def _any_accepted(*reads: Callable[[], object]) -> bool:
    """Whether one of the ways to read a file accepts it; the others may refuse it."""
    accepted = False
    for read in reads:
        try:
            read()
            accepted = True
        except DataError as error:
            if len(str(error).splitlines()) != 1:
                raise ValueError(f"of several lines: {error!r}") from error
    return accepted


def _hdf5_files(_: Path) -> list[bytes]:
    """As published, compressed in each way that is allowed, channels first, in a group, and with both arrays."""
    bands, mask = _stored_bands(), _half_landslide()
    held = [encode("img", bands), encode("mask", mask)]
    for options in (
        {"chunks": (8, 8, 14), "compression": "gzip", "shuffle": True},
        {"chunks": (16, 16, 2), "compression": "lzf"},
        {"chunks": (8, 16, 14), "fletcher32": True},
    ):
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file.create_dataset("img", data=bands.astype(np.float32), **options)
            file.create_group("more").create_dataset("mask", data=mask, chunks=(8, 8), compression="gzip")
            file.attrs["note"] = "text"
        held.append(content.getvalue())
    latest = io.BytesIO()
    with h5py.File(latest, "w", libver="latest", userblock_size=512) as file:
        file["image"] = np.moveaxis(bands, -1, 0)
        file["label"] = mask[None]
    return [*held, latest.getvalue()]


def _read_hdf5(folder: Path) -> bool:
    path = folder / "image_1.h5"
    return _any_accepted(
        lambda: read_image(path, LANDSLIDE4SENSE), lambda: read_mask(path, LANDSLIDE4SENSE), lambda: look(path)
    )


def _raster(driver: str, array: np.ndarray, **options: Any) -> bytes:
    """A file of an array `(C, H, W)`."""
    count, height, width = array.shape
    shape = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.MemoryFile() as held, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        palette = options.pop("palette", None)
        with held.open(driver=driver, **shape, **options) as file:
            file.write(array)
            if palette:
                file.write_colormap(1, palette)
        return bytes(held.read())


def _colours(bands: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (bands, _SIDE, 2 * _SIDE), np.uint8)


_PALETTE = {0: (0, 0, 0, 255), 1: (255, 0, 0, 255), 2: (0, 0, 255, 255)}


def _tiff_files(_: Path) -> list[bytes]:
    """Plain, compressed in several ways, tiled, of floats with nodata, with a palette, placed on Earth, BigTIFF."""
    colours, floats = _colours(), _colours(5).astype(np.float32)
    indices = _half_landslide()[None]
    on_ground = {"crs": "EPSG:32645", "transform": from_origin(300_000, 3_000_000, 10, 10)}
    files = [_raster("GTiff", colours, compress=name) for name in ("none", "deflate", "lzw", "packbits", "zstd")]
    files += [
        _raster("GTiff", np.repeat(colours, 8, axis=2), compress="jpeg", photometric="ycbcr"),
        _raster("GTiff", floats, nodata=-9999, compress="deflate", predictor=3, **on_ground),
        _raster("GTiff", colours, tiled=True, blockxsize=16, blockysize=16, interleave="band", **on_ground),
        _raster("GTiff", indices, palette=_PALETTE),
        _raster("GTiff", colours.astype(np.uint16), BIGTIFF="YES", compress="deflate", predictor=2),
        _raster("GTiff", _colours(4), alpha="yes"),
        _raster("GTiff", indices, nbits=1, compress="ccittfax4"),
    ]
    return files


def _png_files(_: Path) -> list[bytes]:
    colours, indices = _colours(), _half_landslide()[None]
    return [
        *(_raster("PNG", array) for array in (colours, _colours(4), indices, colours.astype(np.uint16))),
        _raster("PNG", indices, palette=_PALETTE),
    ]


def _jpeg_files(_: Path) -> list[bytes]:
    return [_raster("JPEG", _colours()), _raster("JPEG", _colours(1)), _raster("JPEG", _colours(), progressive=True)]


def _reads_raster(name: str) -> Callable[[Path], bool]:
    def read(folder: Path) -> bool:
        path = folder / name
        return _any_accepted(
            lambda: raster_size(path),
            lambda: raster_centre(path),
            lambda: read_image(path, RGB),
            lambda: read_mask(path, RGB),
            lambda: look(path),
        )

    return read


def _numpy_files(_: Path) -> list[bytes]:
    held = []
    for array in (
        _stored_bands(),
        _half_landslide(),
        _colours(),
        np.asfortranarray(_stored_bands().astype(np.float32)),
    ):
        content = io.BytesIO()
        np.save(content, array)
        held.append(content.getvalue())
    return held


def _archives_of_arrays(_: Path) -> list[bytes]:
    held = []
    for save in (np.savez, np.savez_compressed):
        content = io.BytesIO()
        save(content, image=_colours(), mask=_half_landslide())
        held.append(content.getvalue())
    return held


def _experiments(_: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "experiments").glob("*.yaml"))]


_BANDS = "bands: [{name: r, role: red}, {name: g, role: green, valid: [0, 1], nodata: 0}, {name: b, unit: metres}]\n"


def _dataset(folder: Path, *regions: str) -> list[str]:
    """Empty files, four in each folder of a region; names are all that is looked at. The paths below each kind's."""
    names = [f"{region}{number}.png" for region in regions for number in range(4)]
    for path in (folder / kind / name for kind in ("images", "masks") for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return names


def _descriptions(folder: Path) -> list[bytes]:
    rows = [f"images/{name},train" for name in _dataset(folder, "a/", "b/")]
    (folder / "table.csv").write_text("\n".join(["patch,split", *rows]))
    said = (
        f"name: mine\npixel_metres: 10\ntile: 64\n{_BANDS}regions: folders\n"
        "mask: {landslide: [255, [255, 0, 0]], ignore: [7]}\n",
        f"{_BANDS}mask:\n  at_least: 0.5\narrays: {{image: a, mask: b}}\nregions: folders\nregion_metres: 2e4\n",
        _BANDS + "images: 'images/{region}/{id}.png'\nmasks: 'masks/{region}/{id}.*'\n",
        _BANDS + "images: '*/{region}/{id}.p*g'\nmasks: 'masks/{region}/{id}.png'\n",
        _BANDS + "images: 'images/{region}/{id}.png'\nmasks: 'masks/{region}/{id}.png'\npatches: table.csv\n",
        (_STORED / "five" / "dataset.yaml").read_text() + "regions: folders\n",
    )
    return [text.encode() for text in said]


def _read_description(folder: Path) -> Sensor:
    scan = Scan.of(folder, SPLITS)
    return describe((scan.root, scan.base), scan.images)


def _tables(folder: Path) -> list[bytes]:
    (folder / "dataset.yaml").write_text(_BANDS + "patches: table.csv\n")
    rows, splits = _dataset(folder, "", "1"), ["train", "valid", "test", "Training"] * 2
    return [
        "\n".join(["patch,split", *map(",".join, zip(rows, splits, strict=True))]).encode(),
        "\n".join(
            ["\ufeffPatch;region".replace(";", ","), *(f'"{row}","north ""{row[0]}"""' for row in rows)]
        ).encode(),
        "\r\n".join(["region,patch,split,more", *(f"{row[0]},images/{row},train,1" for row in rows)]).encode(),
    ]


def _read_table(folder: Path) -> bool:
    return not Scan.of(folder, SPLITS).faults


def _packed(folder: Path) -> Path:
    """A pack of two small patches."""
    files = []
    for number in range(2):
        image, mask = folder / f"image_{number}.h5", folder / f"mask_{number}.h5"
        image.write_bytes(encode("img", _stored_bands()))
        mask.write_bytes(encode("mask", _half_landslide()))
        files.append(PatchFiles(f"image_{number}", image, mask, "north"))
    return pack_split("train", files, folder / "packs", LANDSLIDE4SENSE, fill=None).path


def _beside(folder: Path, changed: str) -> list[bytes]:
    """Puts a pack's files into a folder, and gives the one that is changed."""
    pack = _packed(folder)
    for path in pack.iterdir():
        path.rename(folder / path.name)
    return [(folder / changed).read_bytes()]


def _read_pack(folder: Path) -> bool:
    pack = PackedSplit(folder)
    _ = pack.batch(range(len(pack))), pack.landslide_fractions, pack.region(0), pack.mask(0)
    pack.verify()
    return True


def _of_manifest(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Other bytes, or another content with the checksum that goes with it."""
    if random.random() < 0.2:
        return of_bytes(random, corpus)
    content = changed_tree(random, json.loads(corpus[0])["pack"])
    return json.dumps({"sha256": digest_of(content), "pack": content}).encode()


def _checkpoints(folder: Path) -> list[bytes]:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.int64), np.zeros((), np.float32)]
    Checkpoint("key", [{"loss": 0.5, "val_f1": 0.25}], {"network": arrays, "kept": arrays[:1]}).save(folder / "saved")
    return [(folder / "saved").read_bytes()]


_SIZE, _SHA = 8, 32


def _of_checkpoint(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Other bytes, or another header with the checksum that goes with it."""
    if random.random() < 0.3:
        return of_bytes(random, corpus)
    magic, rest = corpus[0][: corpus[0].index(b"\n") + 1], corpus[0][corpus[0].index(b"\n") + 1 :]
    length = int.from_bytes(rest[_SHA : _SHA + _SIZE])
    tree = changed_tree(random, json.loads(rest[_SHA + _SIZE :][:length]))
    header = json.dumps(tree).encode()
    sized = len(header).to_bytes(_SIZE) + header
    return magic + hashlib.sha256(sized).digest() + sized + rest[_SHA + _SIZE + length :]


def _networks(_: Path) -> list[bytes]:
    """Small ones of each architecture, as lsml exports them."""
    from lsml.training.device import load_keras

    load_keras()
    import keras

    from lsml.models.export import export

    bands = keras.Input((None, None, 3), name="bands")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(keras.layers.Rescaling(0.5)(bands))
    low = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.MaxPooling2D(2)(x))
    joined = keras.layers.Concatenate()([x, keras.layers.UpSampling2D(2)(keras.layers.BatchNormalization()(low))])
    made = keras.ops.clip(keras.layers.Conv2D(1, 1, activation="sigmoid")(joined), 0.0, 1.0)
    return [export(keras.Model(bands, made), RGB).content]


def _read_network(folder: Path) -> object:
    from lsml.models.export import load_file

    return load_file(folder / "model.keras", RGB, name="model")


def _weights(_: Path) -> list[bytes]:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for layer in ("conv2d", "batch_normalization"):
            variables = file.create_group(f"layers/{layer}/vars")
            for number, shape in enumerate(((3, 3, 3, 4), (4,))):
                variables[str(number)] = np.ones(shape, np.float32)
        file.create_group("optimizer/vars")
    return [content.getvalue()]


def _read_weights(folder: Path) -> int:
    from lsml.data.formats.hdf5 import count_weights

    return count_weights(folder / "model.weights.h5")


def _descriptions_of_models(_: Path) -> list[bytes]:
    """As MLflow has one; and with a sensor."""
    text = (_STORED / "model" / "MLmodel").read_text().replace("@FOLDER@", "/runs")
    sensor = json.dumps(json.dumps(RGB.to_dict()))
    return [text.encode(), text.replace("metadata:\n", f"metadata:\n  lsml.sensor: {sensor}\n").encode()]


def _read_model_description(folder: Path) -> Sensor:
    from lsml.tracking import models

    metadata = models._metadata(folder / "MLmodel", "model")
    models._threshold(str(metadata.get(Tag.MODEL_THRESHOLD, "")), "model")
    return models._sensor(metadata, "model")


def _spools(folder: Path) -> list[bytes]:
    from lsml.tracking import spool
    from lsml.tracking.writes import Write

    waiting = spool._Spool(folder / "made.spool")
    for write in (
        Write.of_run("a/b", "1", {"key": "value"}),
        Write.of_values("a/b", metrics={"loss": 1.0}, step=3, params={"depth": 2}, tags={"key": "value"}),
        Write("files", "a/b", {}, {"a.txt": b"text", "b/c.png": b"\x89PNG"}),
        Write.of_end("a/b", "FINISHED"),
    ):
        waiting.append(write)
    waiting.note_sent(1)
    content = (folder / "made.spool").read_bytes()
    waiting.close()
    return [content]


def _read_spool(folder: Path) -> bool:
    from lsml.tracking import spool

    waiting, read = spool._Spool(folder / "waits.spool"), 0
    try:
        while waiting.first():
            waiting.remove_first()
            read += 1
    finally:
        waiting.close()
    return read > 0


def _of_records(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Other bytes, or records left out, repeated, put elsewhere, or with another content and its checksum."""
    from lsml.tracking import spool

    if random.random() < 0.4:
        return of_bytes(random, corpus)
    records = list(_records(corpus[0]))
    for _ in range(random.choice((1, 2))):
        place = random.randrange(len(records))
        match random.randrange(3):
            case 0:
                records.insert(random.randrange(len(records)), records[place])
            case 1 if len(records) > 1:
                del records[place]
            case _:
                size = int.from_bytes(records[place][:_SIZE])
                tree = changed_tree(random, json.loads(records[place][_SIZE:][:size]))
                header = json.dumps(tree).encode()
                records[place] = len(header).to_bytes(_SIZE) + header + records[place][_SIZE + size :]
    return b"".join(spool._framed(content) for content in records)


def _records(content: bytes) -> Iterator[bytes]:
    from lsml.tracking import spool

    while content:
        start = len(spool._MAGIC)
        size = int.from_bytes(content[start : start + _SIZE])
        yield content[spool._HEAD_BYTES :][:size]
        content = content[spool._HEAD_BYTES + size :]


def _target(
    name: str,
    prepare: Callable[[Path], Sequence[bytes]],
    mutate: Mutator,
    file: str,
    read: Callable[[Path], object],
) -> tuple[str, Target]:
    return name, Target(name, prepare, mutate, file, read)


TARGETS = dict(
    (
        _target("hdf5", _hdf5_files, of_bytes, "image_1.h5", _read_hdf5),
        _target("tiff", _tiff_files, of_bytes, "a.tif", _reads_raster("a.tif")),
        _target("png", _png_files, of_bytes, "a.png", _reads_raster("a.png")),
        _target("jpeg", _jpeg_files, of_bytes, "a.jpg", _reads_raster("a.jpg")),
        _target("npy", _numpy_files, of_bytes, "a.npy", _reads_raster("a.npy")),
        _target("npz", _archives_of_arrays, of_members, "a.npz", _reads_raster("a.npz")),
        _target("experiment", _experiments, of_text, "a.yaml", lambda folder: load_experiment(folder / "a.yaml")),
        _target("description", _descriptions, of_text, "dataset.yaml", _read_description),
        _target("table", _tables, of_text, "table.csv", _read_table),
        _target("manifest", lambda folder: _beside(folder, MANIFEST), _of_manifest, MANIFEST, _read_pack),
        _target("pack", lambda folder: _beside(folder, "images.npy"), of_bytes, "images.npy", _read_pack),
        _target("checkpoint", _checkpoints, _of_checkpoint, "saved", lambda f: Checkpoint.load(f / "saved", "key")),
        _target("network", _networks, of_members, "model.keras", _read_network),
        _target("weights", _weights, of_bytes, "model.weights.h5", _read_weights),
        _target("mlmodel", _descriptions_of_models, of_text, "MLmodel", _read_model_description),
        _target("spool", _spools, _of_records, "waits.spool", _read_spool),
    )
)
