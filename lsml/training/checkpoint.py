"""One file that holds all of a training run after an epoch, replaced atomically and read only if it is whole."""

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsml.errors import StorageError
from lsml.workspace import sync_file, sync_folder

_MAGIC = b"lsml checkpoint 1\n"
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Checkpoint:
    """A training run after an epoch.

    Attributes:
        key: names what is trained; a checkpoint serves only the run with the same key.
        history: metrics of every epoch so far.
        arrays: groups of variables, each in the order of the network or optimizer that they belong to.
    """

    key: str
    history: Sequence[Mapping[str, float]]
    arrays: Mapping[str, Sequence[np.ndarray]]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint at `path`; a process killed at any moment leaves the old one or the new one.

    Raises:
        StorageError: the file cannot be written; the last checkpoint is still there.
    """
    content = _encode(checkpoint)
    unfinished = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            sync_file(file)
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise StorageError(
            f"checkpoint {path}",
            f"{error.strerror or error} ({len(content):,} bytes to write)",
            "free space there; the same command goes on from the last epoch that was saved",
        ) from None


def load(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none, it is not whole, or its key is another."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[len(_MAGIC) :][:_DIGEST_BYTES], content[len(_MAGIC) + _DIGEST_BYTES :]
    if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        return None
    checkpoint = _decode(body)
    return checkpoint if checkpoint.key == key else None


def _encode(checkpoint: Checkpoint) -> bytes:
    header = {
        "key": checkpoint.key,
        "history": [dict(metrics) for metrics in checkpoint.history],
        "groups": {name: len(arrays) for name, arrays in checkpoint.arrays.items()},
    }
    body = io.BytesIO()
    named = {f"{name}.{i}": array for name, arrays in checkpoint.arrays.items() for i, array in enumerate(arrays)}
    np.savez(body, allow_pickle=False, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **named)
    return _MAGIC + hashlib.sha256(body.getbuffer()).digest() + body.getbuffer()


def _decode(body: bytes) -> Checkpoint:
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        groups = {name: tuple(arrays[f"{name}.{i}"] for i in range(count)) for name, count in header["groups"].items()}
    return Checkpoint(header["key"], tuple(header["history"]), groups)
