"""A study's best configuration on colour pictures against segmentation_models.pytorch's U-Net, on the same split.

    python bench/pictures.py --data PICTURES [--blocks 3 [--without NAME…]] [--run RUN] [--seeds 3] [--epochs N]

`make bench-peers` makes the environment of the other side, whose recipe is in bench/peers/pictures.py: it trains on the
first 70 % of the pictures, for as many epochs of as many squares of one size as they are cut into here, and keeps the
epoch of the best F1 on the next 15 %. lsml trains as its study does: in folds of both, of whose networks the mean is
taken, with the threshold of the pictures that each had not seen. Both are trained anew for each seed and predict the
last 15 % whole. F1 is pooled over their pixels; the interval is that of the difference, by pictures resampled. Reads
the test split: for the last word, not to choose by. `--smoke` takes pictures of its own.

With `--blocks` each of so many blocks of pictures, in the order of their names, is the test split in turn, so that F1
is over all pictures, by networks that have not seen their block; the last 15 % of the others validate. `--without`
leaves out pictures that overlap those of another block.
"""

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    parser.add_argument("--epochs", type=int, help="of both sides; without it, those of the configuration")
    parser.add_argument("--blocks", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], help="names of pictures, without what follows the point")
    parser.add_argument("--smoke", action="store_true", help="tiny pictures, one epoch")
    given = parser.parse_args()
    load_keras()
    with tempfile.TemporaryDirectory() as folder:
        compare(given, Path(folder))


@dataclass(frozen=True)
class _Part:
    """Pictures that are trained on, in folds, and whole by their split.

    Attributes:
        path: of the pictures as the other side reads them.
    """

    data: FoldedData
    whole: dict[str, list[Patch]]
    path: Path

    @classmethod
    def prepare(cls, root: Path, path: Path) -> "_Part":
        """Of a folder of pictures."""
        entry = load_experiment(RGB).data.model_copy(update={"path": str(root)})
        data = ExperimentData(entry, None, lambda what, done, total: None).prepare(pack_cache()).patches
        assert isinstance(data, FoldedData)
        splits = training_splits(root)
        files = {"train": splits.train, "validation": splits.validation, "test": test_split(root)}
        whole = {
            split: [*StoredPatches(found, "valid", splits.sensor, lambda what, done, total: None)]
            for split, found in files.items()
        }
        np.savez(path, **arrays(whole))
        return cls(data, whole, path)


def compare(given: argparse.Namespace, folder: Path) -> None:
    """One row a seed."""
    config = load_experiment(RGB).base
    if given.run:
        config = TrainConfig.from_parameters(find_run(open_client(), given.run).data.params)
    if given.smoke:
        given.data, given.seeds, given.epochs = draw_pictures(folder / "drawn"), 1, 1
        config = with_values(config, {"model.filters": 4, "model.depth": 1})
    config = with_values(config, {"training.epochs": given.epochs or config.training.epochs})
    roots = list(blocks(given, folder)) if given.blocks else [given.data]
    parts = [_Part.prepare(root, folder / f"{number}.npz") for number, root in enumerate(roots)]
    counts = (" + ".join(str(len(part.whole[split])) for part in parts) + f" {split}" for split in parts[0].whole)
    print(f"{', '.join(counts)} pictures; {config.training.epochs} epochs; {machine()}\n")
    print("| seed | lsml | its own threshold | segmentation_models.pytorch | at .5 | difference |\n|" + "---|" * 6)
    rows = [row(with_values(config, {"seed": seed}), parts, folder) for seed in range(given.seeds)]
    means = [statistics.fmean(scores) for scores in zip(*rows, strict=True)]
    theirs = f"**{means[1]:.3f}** | {means[2]:.3f} | {means[0] - means[1]:+.3f}" if len(means) > 1 else "| |"
    print(f"| mean | **{means[0]:.3f}** | | {theirs} |")


def blocks(given: argparse.Namespace, folder: Path) -> Iterator[Path]:
    """Folders of the same pictures, each with the table of patches that makes another block its test split."""
    listed = sorted(file for file in (given.data / "images").iterdir() if file.stem not in given.without)
    for number, chosen in enumerate(np.array_split(np.arange(len(listed)), given.blocks)):
        root = folder / f"block_{number}"
        for kind in ("images", "masks"):
            (root / kind).mkdir(parents=True)
            for file in (given.data / kind).iterdir():
                if file.stem not in given.without:
                    (root / kind / file.name).symlink_to(file.resolve())
        (root / "dataset.yaml").write_text("patches: patches.csv\n")
        lines = (f"images/{file.name},{'test' if n in chosen else 'train'}" for n, file in enumerate(listed))
        (root / "patches.csv").write_text("\n".join(["patch,split", *lines]) + "\n")
        yield root


def row(config: TrainConfig, parts: Sequence[_Part], folder: Path) -> list[float]:
    """Prints a seed's row; F1 of lsml, and of the other side, if it is there, at its best threshold and at .5."""
    sides = [[trained(config, part) for part in parts]]
    if Path(PEER[0]).exists():
        sides += zip(*(peer(config, part, folder / "theirs.npz") for part in parts), strict=True)
    counts = [np.concatenate([each.confusion for each in side]) for side in sides]
    scores = [float(f1(each.sum(axis=0))) for each in counts]
    thresholds = " ".join(f"{each.threshold:.2f}" for each in sides[0])
    theirs = "not there: `make bench-peers` | |"
    if len(scores) > 1:
        theirs = f"{scores[1]:.3f} | {scores[2]:.3f} | {difference(counts[0], counts[1], f1).describe(3)}"
    print(f"| {config.seed} | {scores[0]:.3f} | {thresholds} | {theirs} |", flush=True)
    return scores


def peer(config: TrainConfig, part: _Part, out: Path) -> tuple[Evaluation, Evaluation]:
    """The other side's test scores at its best validation threshold and at .5."""
    share = len(part.whole["train"]) / (len(part.whole["train"]) + len(part.whole["validation"]))
    options = {
        "batch": config.training.batch_size,
        "crops": round(share * len(part.data.train)),
        "seed": config.seed,
        "epochs": config.training.epochs,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    subprocess.run([*PEER, str(part.path), str(out), *given], check=True)
    predicted = {split: [*theirs(out, split, part.whole[split])] for split in ("validation", "test")}
    best = evaluate_predictions(predicted["test"], choose_threshold(predicted["validation"]))
    return best, evaluate_predictions(predicted["test"], 0.5)


def trained(config: TrainConfig, part: _Part) -> Evaluation:
    """The test scores of the mean of the folds' networks."""
    from lsml.models.unet import with_probability
    from lsml.training.crossval import cross_validate
    from lsml.training.network import KeptNetwork

    learner, data = KeptNetwork(config), part.data
    result = cross_validate(
        learner, data.train, seed=config.seed, folds=data.folds, repeats=1, report=lambda event: True, partition=1
    )
    squares, tile = with_probability(learner.mean(result.networks)).predict_on_batch, data.train.sensor.tile
    predict = tiled(squares, tile) if tile else squares
    return evaluate_predictions(predictions(predict, part.whole["test"]), result.threshold)


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
