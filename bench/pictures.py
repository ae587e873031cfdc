"""A study's best configuration on colour pictures against segmentation_models.pytorch's U-Net, on the same split.

    python bench/pictures.py --data PICTURES --run RUN [--seeds 3] [--smoke]

`make bench-peers` makes the environment of the other side, whose recipe is in bench/peers/pictures.py: it trains on the
first 70 % of the pictures, for 40 epochs of as many squares of one size as they are cut into here, and keeps the epoch
of the best F1 on the next 15 %. lsml trains as its study does: in folds of both, of whose networks the mean is taken,
with the threshold of the pictures that each had not seen. Both are trained anew for each seed and predict the last 15 %
whole. F1 is pooled over their pixels; the interval is that of the difference, by pictures resampled. Reads the test
split: for the last word, not to choose by. `--smoke` takes pictures of its own.
"""

import argparse
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from timing import machine

from lsml.config.experiment import load_experiment
from lsml.config.schema import TrainConfig, with_values
from lsml.data.holdout import training_splits
from lsml.data.sealed import test_split
from lsml.data.splits import FoldedData
from lsml.data.tiles import tiled
from lsml.evaluation.evaluate import (
    Evaluation,
    Patch,
    PredictedPatch,
    StoredPatches,
    choose_threshold,
    evaluate_predictions,
    predictions,
)
from lsml.scoring.bootstrap import difference
from lsml.scoring.metrics import f1
from lsml.tracking.store import find_run, open_client
from lsml.training.device import load_keras
from lsml.workflows.sources import ExperimentData
from lsml.workspace import pack_cache

ROOT = Path(__file__).resolve().parents[1]
PEER = [str(ROOT / ".venv-peers" / "bin" / "python"), str(ROOT / "bench" / "peers" / "pictures.py")]
RGB = ROOT / "experiments" / "rgb.yaml"


def main() -> None:
    """Trains both sides and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", help="in MLflow; without it, the base of experiments/rgb.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="tiny pictures, one epoch")
    given = parser.parse_args()
    load_keras()
    with tempfile.TemporaryDirectory() as folder:
        compare(given, Path(folder))


def compare(given: argparse.Namespace, folder: Path) -> None:
    """One row a seed."""
    config = load_experiment(RGB).base
    if given.run:
        config = TrainConfig.from_parameters(find_run(open_client(), given.run).data.params)
    if given.smoke:
        given.data, given.seeds = draw_pictures(folder / "drawn"), 1
        config = with_values(config, {"training.epochs": 1, "model.filters": 4, "model.depth": 1})
    entry = load_experiment(RGB).data.model_copy(update={"path": str(given.data)})
    data = ExperimentData(entry, None, lambda what, done, total: None).prepare(pack_cache()).patches
    assert isinstance(data, FoldedData)
    splits = training_splits(given.data)
    whole = {
        split: [*StoredPatches(files, "valid", splits.sensor, lambda what, done, total: None)]
        for split, files in (
            ("train", splits.train),
            ("validation", splits.validation),
            ("test", test_split(given.data)),
        )
    }
    np.savez(folder / "pictures.npz", **arrays(whole))
    print(f"{', '.join(f'{len(found)} {split}' for split, found in whole.items())} pictures; {machine()}\n")
    print("| seed | lsml | its own threshold | segmentation_models.pytorch | at .5 | difference |\n|" + "---|" * 6)
    if not Path(PEER[0]).exists():
        ours = trained(config, data, whole["test"])
        print(
            f"| {config.seed} | {ours.metrics['f1']:.3f} | {ours.threshold:.2f} | not there: `make bench-peers` | | |"
        )
        return
    rows = [row(seed, config, data, whole, folder) for seed in range(given.seeds)]
    means = [statistics.fmean(scores) for scores in zip(*rows, strict=True)]
    print(f"| mean | **{means[0]:.3f}** | | **{means[1]:.3f}** | {means[2]:.3f} | {means[0] - means[1]:+.3f} |")


def row(
    seed: int, config: TrainConfig, data: FoldedData, whole: dict[str, list[Patch]], folder: Path
) -> tuple[float, float, float]:
    """Prints a seed's row; F1 of lsml, and of the other side at its best validation threshold and at .5."""
    ours = trained(with_values(config, {"seed": seed}), data, whole["test"])
    share = len(whole["train"]) / (len(whole["train"]) + len(whole["validation"]))
    squares = round(share * len(data.train))
    options = [f"--batch={config.training.batch_size}", f"--crops={squares}", f"--seed={seed}"]
    options += ["--epochs=1"] if config.training.epochs == 1 else []
    out = folder / f"{seed}.npz"
    subprocess.run([*PEER, str(folder / "pictures.npz"), str(out), *options], check=True)
    predicted = {split: [*theirs(out, split, whole[split])] for split in ("validation", "test")}
    peer = evaluate_predictions(predicted["test"], choose_threshold(predicted["validation"]))
    plain = evaluate_predictions(predicted["test"], 0.5)
    ahead = difference(ours.confusion, peer.confusion, f1).describe(3)
    scores = ours.metrics["f1"], peer.metrics["f1"], plain.metrics["f1"]
    print(
        f"| {seed} | {scores[0]:.3f} | {ours.threshold:.2f} | {scores[1]:.3f} | {scores[2]:.3f} | {ahead} |", flush=True
    )
    return scores


def trained(config: TrainConfig, data: FoldedData, test: list[Patch]) -> Evaluation:
    """The test scores of the mean of the folds' networks."""
    from lsml.models.unet import with_probability
    from lsml.training.crossval import cross_validate
    from lsml.training.network import KeptNetwork

    learner = KeptNetwork(config)
    result = cross_validate(
        learner, data.train, seed=config.seed, folds=data.folds, repeats=1, report=lambda event: True, partition=1
    )
    squares, tile = with_probability(learner.mean(result.networks)).predict_on_batch, data.train.sensor.tile
    predict = tiled(squares, tile) if tile else squares
    return evaluate_predictions(predictions(predict, test), result.threshold)


def theirs(out: Path, split: str, patches: list[Patch]) -> list[PredictedPatch]:
    """What the other side predicted."""
    stored = np.load(out)
    return [PredictedPatch(patch.id, patch.mask, stored[f"{split}_{n}"]) for n, patch in enumerate(patches)]


def arrays(whole: dict[str, list[Patch]]) -> dict[str, np.ndarray]:
    """As bench/peers/pictures.py reads them."""
    found: dict[str, np.ndarray] = {}
    for split, patches in whole.items():
        for number, patch in enumerate(patches):
            found[f"{split}_{number}"] = patch.image.astype(np.uint8)
            found[f"{split}_mask_{number}"] = patch.mask
    return found


def draw_pictures(folder: Path) -> Path:
    """Eight small pictures of green noise with a brown square each, and their masks."""
    import cv2

    for number in range(8):
        random = np.random.default_rng(number)
        picture = random.integers(40, 90, (64, 64, 3)).astype(np.uint8)
        picture[..., 1] += 60
        mask = np.zeros(picture.shape[:2], np.uint8)
        picture[8:40, 8 + number : 40], mask[8:40, 8 + number : 40] = (60, 100, 160), 255
        for kind, array in (("images", picture), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{number}.png"), array)
    return folder


if __name__ == "__main__":
    main()
