"""Maps a scene in a process that is killed in the middle; `test_maps.py` starts it."""

import os
import signal
from pathlib import Path

import numpy as np

from lsml.data.sensor import RGB
from lsml.scenes.maps import PLAIN, Unfinished, predict_rows
from lsml.scenes.reading import Scene
from lsml.scenes.tiling import Tiling


def blurred(images: np.ndarray) -> np.ndarray:
    """A probability of the mean over 9 x 9 pixels of the first band, darker at a tile's edges: tiles disagree there."""
    padded = np.pad(np.nan_to_num(images[..., 0]) / 255, [(0, 0), (4, 4), (4, 4)])
    sums = padded.cumsum(1).cumsum(2)
    sums = np.pad(sums, [(0, 0), (1, 0), (1, 0)])
    mean = (sums[:, 9:, 9:] - sums[:, 9:, :-9] - sums[:, :-9, 9:] + sums[:, :-9, :-9]) / 81
    return mean[..., None].clip(0, 1).astype(np.float32)


def map_scene(
    path: Path, folder: Path, *, kill_at: int = 0, identity: str = "one", layers: tuple[str, ...] = PLAIN
) -> Unfinished:
    """Predicts a scene of three colours in tiles of 128; is killed with SIGKILL instead of the n-th call, from 1.

    A second layer has half of the first.
    """
    calls = 0

    def predict(images: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.concatenate([blurred(images) / 2**layer for layer in range(len(layers))], axis=-1)

    with Scene.of(path, RGB, dem=None, bands={}) as scene:
        tiling = Tiling.of(*scene.file.shape, tile=128, overlap=64)
        unfinished = Unfinished(folder, {"of": identity}, scene.file.shape, layers)
        predict_rows(scene, tiling, predict, unfinished, lambda done, total: None)
    return unfinished


def map_and_be_killed(path: Path, folder: Path, kill_at: int, noted: bool, layers: tuple[str, ...] = PLAIN) -> None:
    """As `map_scene`, for a process of its own; or killed when it is to note that the n-th row of tiles is finished."""
    note = Unfinished._note

    def killed(unfinished: Unfinished, finished: int) -> None:
        if finished == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        note(unfinished, finished)

    if noted:
        Unfinished._note = killed
    map_scene(path, folder, kill_at=0 if noted else kill_at, layers=layers)
