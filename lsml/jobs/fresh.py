"""A model file in a process that had no part in its training: does it load, and what does it say of patches?"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from lsml.comparison import PatchCounts, read_counts
from lsml.data.pack import PackedSplit
from lsml.errors import ModelError
from lsml.tables import to_csv


class FreshScores(NamedTuple):
    """What a model said in a process of its own.

    Attributes:
        counts: each patch's pixels at the model's threshold.
        backend, device_name: what it ran on, as `lsml.device` has them.
    """

    counts: PatchCounts
    backend: str
    device_name: str


def judged_afresh(path: Path, split: PackedSplit, threshold: float) -> FreshScores:
    """Loads a model file in a new process and scores it on a split there.

    Raises:
        ModelError: the file is refused, its probabilities are not in 0..1, or the process died of it.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            return pool.submit(_judged, path, split, threshold).result()
    except BrokenProcessPool:
        raise ModelError(f"model file {path}", "the process that loaded it died", "see what it said above") from None


def _judged(path: Path, split: PackedSplit, threshold: float) -> FreshScores:
    from lsml import backend

    backend.load_keras()
    from lsml.device import describe_device
    from lsml.evaluate import score_split
    from lsml.models.files import load_file

    scores = score_split(load_file(path).predict_on_batch, split, threshold)
    device = describe_device()
    counts = read_counts(to_csv([score._asdict() for score in scores]))
    return FreshScores(counts, device.backend, device.name)
