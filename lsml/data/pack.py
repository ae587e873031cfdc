"""A packed split: one memory-mapped array of images and one of masks, checksummed and fingerprinted.

A pack is a folder with `images.npy` (uint16 where every stored value is an integer over its band's divisor, float32
where not), `masks.npy` (uint8) and `manifest.json`; `lsml.data.packing` makes it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsml.data.arrays import mapped
from lsml.data.sensor import Sensor, landslide_share
from lsml.data.statistics import BandStatistics
from lsml.errors import DataError
from lsml.workspace import PACKS_VARIABLE, pack_cache, sha256_of

IMAGES, MASKS, MANIFEST = "images.npy", "masks.npy", "manifest.json"
_AGAIN = "remove that folder: it is made again at the next start"


_IMAGE_TYPES, _MASK_TYPES = ("uint16", "float32"), ("uint8",)


class _File(NamedTuple):
    """What the manifest says of a file."""

    bytes: int
    sha256: str


class PackedSplit:
    """A pack opened for reading; pickled as its path, so it costs nothing to send to another process.

    Sizes and the manifest are checked here, contents by `verify`.

    Attributes:
        path: the folder.
        name: `train`, `validation` or `test`.
        ids: of each patch, such as `image_12`.
        regions: of each patch; empty where they are not known.
        fingerprint: SHA-256 in hex over ids and packed contents, whatever the folder and the files' times.
        nonfinite: how many NaN and inf were replaced, for each band's name.
        sensor: what the bands are.
        statistics: of the finite values of this split.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError where `path` is no pack, or its files are not the size that the manifest says."""
        self.path = path
        manifest = _read_manifest(path)
        try:
            self.name: str = manifest["name"]
            self.ids: tuple[str, ...] = tuple(manifest["ids"])
            self.regions: tuple[str, ...] = tuple(manifest.get("regions", ()))
            self.fingerprint: str = manifest["fingerprint"]
            self.nonfinite: dict[str, int] = dict(manifest["nonfinite"])
            height, width = manifest["size"]
            self.sensor = Sensor.from_dict(manifest["sensor"])
            self.statistics = BandStatistics.from_dict(manifest["statistics"], self.sensor)
            self._files = {name: _File(**manifest["files"][name]) for name in (IMAGES, MASKS)}
            if self.regions and len(self.regions) != len(self.ids):
                raise ValueError(f"a region for each of {len(self.ids)} patches")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"pack {path}", f"the manifest lacks {error}", _AGAIN) from None
        self._masks = self._open(MASKS, (height, width), _MASK_TYPES)
        self._images = self._open(IMAGES, (height, width, len(self.sensor)), _IMAGE_TYPES)

    def _open(self, name: str, shape: tuple[int, ...], dtypes: Sequence[str]) -> np.ndarray:
        path, expected, whole = self.path / name, self._files[name].bytes, (len(self.ids), *shape)
        try:
            size = path.stat().st_size
            if size != expected:
                raise DataError(f"pack {path}", f"truncated: {size} of {expected} bytes", _AGAIN)
            array = mapped(path)
        except OSError as error:
            raise DataError(f"pack {path}", f"cannot be opened: {error.strerror}", _AGAIN) from None
        except DataError as error:
            raise DataError(f"pack {path}", error.why, _AGAIN) from None
        if array.shape != whole or array.dtype not in dtypes:
            found, wanted = f"{array.dtype} {array.shape}", f"{' or '.join(dtypes)} {whole}"
            raise DataError(f"pack {path}", f"holds {found}, expected {wanted}", _AGAIN)
        return array

    def __reduce__(self) -> tuple[Callable[[Path], "PackedSplit"], tuple[Path]]:
        return _reopen, (self.path,)

    def __repr__(self) -> str:
        return f"PackedSplit({str(self.path)!r})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dtype(self) -> np.dtype:
        """uint16 or float32: how the images are held on disk."""
        return self._images.dtype

    def verify(self) -> None:
        """Reads all of the pack and compares it with the SHA-256 of its manifest.

        Raises:
            DataError: a file cannot be read, or differs from what was written.
        """
        for name, recorded in self._files.items():
            path = self.path / name
            try:
                found = sha256_of(path)
            except OSError as error:
                raise DataError(f"pack {path}", f"cannot be read: {error.strerror}", _AGAIN) from None
            if found != recorded.sha256:
                raise DataError(f"pack {path}", "checksum differs from the manifest", _AGAIN)

    def image(self, index: int) -> np.ndarray:
        """float32 `(H, W, C)`: stored values, always finite."""
        return self.sensor.as_stored(self._images[index])

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`, 0, 1 or `lsml.data.sensor.IGNORED`."""
        return np.array(self._masks[index])

    def region(self, index: int) -> str:
        """Of a patch; empty where it is not known."""
        return self.regions[index] if self.regions else ""

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, H, W, C)` and masks float32 `(B, H, W, 1)`."""
        chosen = np.asarray(indices, np.intp)
        return self.sensor.as_stored(self._images[chosen]), self._masks[chosen, ..., None].astype(np.float32)

    def repeats(self, other: "PackedSplit") -> list[tuple[int, int]]:
        """Which images are in another pack too, to the last bit: index here, first index there.

        Images of one value a band, such as gaps, are left out.
        """
        found = [other.index_of(self.image(index)) for index in range(len(self))]
        return [(here, there) for here, there in enumerate(found) if there is not None]

    def index_of(self, image: np.ndarray) -> int | None:
        """The first patch with this image, to the last bit; None where there is none, or where it is a gap.

        Args:
            image: stored values float32 `(H, W, C)`.
        """
        return self._first_same(image, self._by_outline.get(_outline(image[::_OUTLINED]), []))

    @cached_property
    def first_alike(self) -> np.ndarray:
        """int64 `(N,)`: the first patch with the same image to the last bit, a patch itself where there is no other.

        An image of one value a band, such as a gap, has no other.
        """
        first = np.arange(len(self))
        for alike in self._by_outline.values():
            for place, index in enumerate(alike):
                there = self._first_same(self.image(index), alike[:place]) if place else None
                first[index] = index if there is None else there
        return first

    def _first_same(self, image: np.ndarray, among: Sequence[int]) -> int | None:
        """The first of some patches that has this image, to the last bit; None of a gap."""
        if not among or (image == image[0, 0]).all():
            return None
        return next((index for index in among if np.array_equal(image, self.image(index))), None)

    @cached_property
    def _by_outline(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for index, image in enumerate(self._images):
            found.setdefault(_outline(self.sensor.as_stored(image[::_OUTLINED])), []).append(index)
        return found

    @cached_property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""
        return np.array([landslide_share(mask) for mask in self._masks])


_OUTLINED = 16
"""Every sixteenth row tells most images apart, in a fraction of the time of all."""


def _outline(rows: np.ndarray) -> bytes:
    """Of stored values float32."""
    return hashlib.sha256(rows.tobytes()).digest()


def _reopen(path: Path) -> PackedSplit:
    """The pack that another process has at a path; one of that name in `LSML_PACKS`, where this process has that."""
    return PackedSplit(pack_cache() / path.name if os.environ.get(PACKS_VARIABLE) else path)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DataError(f"pack {path}", f"no {MANIFEST} in it", "give the folder of a pack") from None
    except (OSError, ValueError) as error:
        raise DataError(f"pack {path}", f"unreadable manifest: {error}", _AGAIN) from None
    if not isinstance(tree, dict) or not isinstance(tree.get("pack"), dict):
        raise DataError(f"pack {path}", "the manifest describes no pack", _AGAIN)
    if digest_of(tree["pack"]) != tree.get("sha256"):
        raise DataError(f"pack {path}", "the manifest's checksum differs from its content", _AGAIN)
    return tree["pack"]


def digest_of(value: object) -> str:
    """SHA-256 of plain data, 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
