"""Checks that a stored model, in a process that has nothing but its file, predicts what its run recorded."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsml.data.pack import PackedSplit
from lsml.errors import ModelError
from lsml.evaluation.evaluate import Patch, evaluate_predictions, predictions
from lsml.scoring.comparison import PatchCounts
from lsml.training.device import Device, load_keras

_SAME_ARITHMETIC, _OTHER_ARITHMETIC = 1e-5, 1e-3
"""The share of pixels that a reloaded model may classify otherwise than its run did: on the backend and device that the
run had, where only the size of batches differs, and on others, whose last digits differ.

TensorFlow and JAX on one processor, and batches of 2 and 16, agreed on all of 196,608 pixels for six networks; the room
is for GPUs, which may round the factors of a float32 convolution to TF32.
"""


class ReloadedScores(NamedTuple):
    """What a stored model predicted in a process of its own.

    Attributes:
        counts: each patch's pixels at the model's threshold.
        backend, device_name: what it ran on, as `lsml.training.device.Device` has them.
    """

    counts: PatchCounts
    backend: str
    device_name: str

    @staticmethod
    def of_file(path: Path, split: PackedSplit, threshold: float) -> "ReloadedScores":
        """Loads a model file in a new process and scores it on a split there.

        Raises:
            ModelError: the file is refused, its probabilities are not in 0..1, or the process died of it.
        """
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
                return pool.submit(_score_file, path, split, threshold).result()
        except BrokenProcessPool:
            raise ModelError(f"model file {path}", "the process that loaded it died", "see its output above") from None

    def verify(self, recorded: PatchCounts, split: PackedSplit, *, name: str, arithmetic: tuple[str, str]) -> str:
        """Compares the reloaded model's classification of pixels with the recorded one; describes how far they agree.

        Args:
            name: of the model, for people.
            arithmetic: the backend and the device of the recorded scores.

        Raises:
            ModelError: they are of other patches, or differ in more pixels than rounding explains.
        """
        if self.counts.ids != recorded.ids:
            raise ModelError(name, "its table names other patches than there are", "train it again")
        pixels = len(split) * split.mask(0).size
        here = (self.backend, self.device_name)
        # Of a landslide pixel classified otherwise TP and FN change, of another one FP.
        changed = int(np.abs(self.counts.confusion - recorded.confusion)[:, :2].sum())
        if changed > (_SAME_ARITHMETIC if here == arithmetic else _OTHER_ARITHMETIC) * pixels:
            raise ModelError(
                name,
                f"in a fresh process it classifies {changed} of {pixels} validation pixels otherwise than its run says",
                "train it again",
            )
        return f"loads, and classifies {changed} of {pixels} validation pixels otherwise ({', '.join(here)})"


def _score_file(path: Path, split: PackedSplit, threshold: float) -> ReloadedScores:
    load_keras()
    # Here, because it imports Keras, whose start-up messages `load_keras` holds back.
    from lsml.models.export import load_file

    predict = load_file(path, split.sensor).predict_on_batch
    try:
        evaluation = evaluate_predictions(predictions(predict, Patch.of_split(split)), threshold)
    except ValueError:
        raise ModelError("the model", "gives probabilities that are not in 0..1", "train it again") from None
    here = Device.current()
    return ReloadedScores(PatchCounts.read(evaluation.patch_table), here.backend, here.name)
