"""Applies a model to a folder of patches: masks, probabilities and pictures; test-time augmentation."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from lsml.data.formats import read_image
from lsml.data.formats.hdf5 import encode
from lsml.data.layout import HDF5, PatchFiles
from lsml.data.sensor import Sensor
from lsml.errors import DataError
from lsml.evaluation.evaluate import Predict
from lsml.plots.patches import prediction_panel
from lsml.workspace import replace_whole

if TYPE_CHECKING:
    import pandas

Augmentation = Literal["none", "d4"]
"""At test time: none, or the mean over the eight symmetries of the square, see `over_symmetries`."""

_BATCH = 16


class Prediction(NamedTuple):
    """One patch in short: its id and the share of its pixels called landslide, in 0..1."""

    id: str
    landslide_share: float


@dataclass(frozen=True)
class PredictResult:
    """What was predicted.

    Attributes:
        predictions: one a patch, in the order of their numbers.
        threshold: the probability from which a pixel counts as landslide, in 0..1.
        model_run_id: the run whose model predicted.
    """

    predictions: tuple[Prediction, ...]
    threshold: float
    model_run_id: str

    def to_frame(self) -> "pandas.DataFrame":
        """One row a patch: its id, and the share of its pixels that are landslide, in 0..1."""
        import pandas

        return pandas.DataFrame(self.predictions, columns=list(Prediction._fields))


def predict_patches(
    predict: Predict,
    patches: Sequence[PatchFiles],
    threshold: float,
    out: Path,
    *,
    sensor: Sensor,
    pictures: int,
    progress: Callable[[int, int], None],
) -> tuple[Prediction, ...]:
    """Writes the predictions for each patch below `out`, a batch at a time, and pictures of a few.

    `mask/mask_N.h5` holds `mask`, uint8 (H, W), 1 where the probability is at least `threshold`: the format of the
    benchmark's masks and submissions; of other files than HDF5 it is `mask/NAME.png` of 0 and 255.
    `probability/probability_N.h5` holds `probability`, float32 (H, W). `panel/NAME.png` shows both, of the `pictures`
    patches with the largest share of landslide: drawing one takes many times as long as predicting it. Pictures of an
    earlier call are removed. A file is written beside its name and then renamed, so none is ever half there.

    Raises:
        DataError: a patch that cannot be read, or `out` that cannot be written.
    """
    results: list[Prediction] = []
    shown: list[tuple[Prediction, PatchFiles, np.ndarray]] = []
    _remove_pictures(out / "panel", patches)
    together = 1 if sensor.tile else _BATCH
    groups = [patches[start : start + together] for start in range(0, len(patches), together)]
    for group, images in _read_ahead(groups, sensor):
        for patch, probability in zip(group, predict(images)[: len(group), ..., 0], strict=True):
            mask = (probability >= threshold).astype(np.uint8)
            number = patch.id.removeprefix("image_")
            if patch.image.suffix.lower() in HDF5:
                _write(out / "mask" / f"mask_{number}.h5", encode("mask", mask))
            else:
                _write(out / "mask" / f"{patch.id}.png", cv2.imencode(".png", 255 * mask)[1].tobytes())
            _write(out / "probability" / f"probability_{number}.h5", encode("probability", probability.astype("f4")))
            results.append(Prediction(patch.id, float(mask.mean())))
            shown.append((results[-1], patch, probability))
            progress(len(results), len(patches))
        shown = sorted(shown, key=lambda entry: -entry[0].landslide_share)[:pictures]
    for _, patch, probability in shown:
        image = read_image(patch.image, sensor)
        _write(out / "panel" / f"{patch.id}.png", prediction_panel(image, probability, threshold, sensor))
    return tuple(results)


def _read_ahead(
    groups: Sequence[Sequence[PatchFiles]], sensor: Sensor
) -> Iterator[tuple[Sequence[PatchFiles], np.ndarray]]:
    """Each group with its images float32 `(B, H, W, C)`, the next being read while one is used.

    A short last one repeats patches to have the shape of the others, so that nothing is compiled for it.
    """
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(_images, group, sensor, len(groups[0])) for group in groups[:1]]
        for number, group in enumerate(groups):
            images = coming.pop().result()
            later = groups[number + 1 : number + 2]
            coming = [reader.submit(_images, following, sensor, len(groups[0])) for following in later]
            yield group, images


def _images(group: Sequence[PatchFiles], sensor: Sensor, size: int) -> np.ndarray:
    read = [read_image(patch.image, sensor).astype(np.float32) for patch in group]
    return np.stack([read[place % len(read)] for place in range(size)])


def _remove_pictures(folder: Path, patches: Sequence[PatchFiles]) -> None:
    """Those that an earlier call may have drawn, and no other."""
    for path in {*folder.glob("image_*.png"), *(folder / f"{patch.id}.png" for patch in patches)}:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"picture {path}", f"cannot be removed: {error.strerror}", "give another --out") from None


def _write(path: Path, content: bytes) -> None:
    try:
        replace_whole(path, [content])
    except OSError as error:
        raise DataError(
            f"prediction {path}",
            f"cannot be written ({len(content):,} bytes): {error.strerror}",
            "free space or give another --out; the same command resumes",
        ) from None


def check_output_folder(
    out: Path, inputs: Iterable[Path], names: Collection[str] = ("mask", "probability", "panel")
) -> None:
    """Whether a folder holds nothing but what is written into it, under these names, or is not there.

    Raises:
        DataError: it is a file, holds other things, one of these is a link, or an input, by its real path, is in it.
    """
    for path in inputs:
        if out.resolve() in Path(os.path.realpath(path)).parents:
            why = f"is in {out}, which this command writes to"
            raise DataError(f"file {path}", why, "choose another --out, or leave it out")
    if out.exists() and not out.is_dir():
        raise DataError(f"folder {out}", "is a file", "choose another --out")
    for name in names:
        if (out / name).is_symlink():
            raise DataError(f"folder {out / name}", "is a link, which leads out of --out", "choose another --out")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    # What a kill left of a file that was being written.
    strangers = {name for name in found if name.partition(".partial")[0] not in names}
    if strangers:
        raise DataError(
            f"folder {out}",
            f"contains other files ({sorted(strangers)[0]})",
            "choose an empty folder with --out",
        )


def over_symmetries(predict: Predict) -> Predict:
    """A predictor that gives the mean probability over the eight symmetries of the square (the group D4).

    Each patch is mirrored or not and turned by 0, 90, 180 and 270 degrees, and its prediction is turned
    and mirrored back. The mean no longer depends on orientation: of a turned patch it is the turned mean. It costs
    eight predictions. A patch that is not square is turned into one of `(W, H)`, which `predict` has to take.
    """

    def mean(images: np.ndarray) -> np.ndarray:
        total = np.zeros((*images.shape[:3], 1))
        for probability in _orientations(predict, images):
            total += probability
        return (total / 8).astype(np.float32)

    return mean


def with_deviation(predict: Predict, members: Predict) -> Predict:
    """A predictor of a probability and of how uncertain it is, `(B, H, W, 2)`, the second in 0...5.

    The second is the standard deviation of what each member says of each of the eight symmetries of the square, all
    counted alike: over members it is what the training data leave open (deep ensembles: Lakshminarayanan et al. 2017,
    https://arxiv.org/abs/1612.01474), over symmetries what the image does (Wang et al. 2019,
    https://doi.org/10.1016/j.neucom.2019.01.103).

    Args:
        predict: stored bands `(B, H, W, C)` to the probability `(B, H, W, 1)`.
        members: the same to that of each member, `(B, H, W, members)`.
    """

    def both(images: np.ndarray) -> np.ndarray:
        sums, squares, number = np.zeros(images.shape[:3]), np.zeros(images.shape[:3]), 0
        for probabilities in _orientations(members, images):
            number += probabilities.shape[-1]
            sums += probabilities.sum(axis=-1, dtype=np.float64)
            squares += np.square(probabilities, dtype=np.float64).sum(axis=-1)
        variance = squares / number - (sums / number) ** 2
        deviation = np.sqrt(variance.clip(0, None)).astype(np.float32)
        return np.concatenate([predict(images), deviation[..., None]], axis=-1)

    return both


def _orientations(predict: Predict, images: np.ndarray) -> Iterator[np.ndarray]:
    """What is predicted of each of the eight symmetries of images, turned back."""
    for mirrored in (False, True):
        for quarters in range(4):
            probability = predict(np.ascontiguousarray(_turned(images, mirrored, quarters)))
            yield _turned_back(np.asarray(probability), mirrored, quarters)


def _turned(images: np.ndarray, mirrored: bool, quarters: int) -> np.ndarray:
    return np.rot90(images[:, :, ::-1] if mirrored else images, quarters, axes=(1, 2))


def _turned_back(images: np.ndarray, mirrored: bool, quarters: int) -> np.ndarray:
    upright = np.rot90(images, -quarters, axes=(1, 2))
    return upright[:, :, ::-1] if mirrored else upright
