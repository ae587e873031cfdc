"""The tables of docs/results.md: tuned configurations against plainer ones, over several seeds, in Markdown.

    python bench/results.py demo --unet RUN --resnet-unet RUN [--seeds 5]
    python bench/results.py few-patches --data DIR [--run RUN] [--seeds 3]

`demo` takes the runs of a finished study of experiments/demo.yaml, which `lsml tune` prints: the best of each
architecture. Each row is trained anew for each seed on the same patches for the same epochs; the threshold comes from
validation, F1 is pooled over the pixels of the test split. `few-patches` cross-validates a run's configuration, or the
base of experiments/few_patches.yaml, in its folds, beside the public recipe and classifiers of single pixels.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lsml.config.experiment import load_experiment
from lsml.config.fields import Scalar
from lsml.config.schema import LOSS_COMPONENTS, PUBLIC_RECIPE, TrainConfig, with_values
from lsml.data.formats import read_image, read_mask
from lsml.data.sealed import test_split
from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.splits import FoldedData, TrainingData
from lsml.evaluation.evaluate import Patch, Predict, choose_threshold, evaluate_predictions, predictions
from lsml.tracking.store import find_run, open_client
from lsml.training.crossval import Learner, cross_validate
from lsml.training.device import load_keras
from lsml.workflows.sources import ExperimentData
from lsml.workspace import pack_cache

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
CROSS_ENTROPY: dict[str, Scalar] = {f"loss.{name}": float(name == "cross_entropy") for name in LOSS_COMPONENTS}
NO_AUGMENTATION: dict[str, Scalar] = {"augment.strength": 0.0}


def main() -> None:
    """Trains what was asked for and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    demo_options = commands.add_parser("demo")
    demo_options.add_argument("--unet", required=True)
    demo_options.add_argument("--resnet-unet", required=True)
    demo_options.add_argument("--seeds", type=int, default=5)
    demo_options.set_defaults(command=demo)
    few_options = commands.add_parser("few-patches")
    few_options.add_argument("--data", type=Path, required=True)
    few_options.add_argument("--run")
    few_options.add_argument("--seeds", type=int, default=3)
    few_options.set_defaults(command=few_patches)
    given = parser.parse_args()
    load_keras()
    given.command(given)


def demo(given: argparse.Namespace) -> None:
    """Test F1 of both tuned configurations, as they are and made plainer in one thing."""
    entry = load_experiment(EXPERIMENTS / "demo.yaml").data
    source = ExperimentData(entry, None, _progress)
    data = source.prepare(pack_cache())
    assert isinstance(data, TrainingData)
    files, sensor = test_split(source.root), LANDSLIDE4SENSE
    test = [
        Patch(p.id, read_image(p.image, sensor).astype(np.float32), read_mask(p.mask, sensor), sensor)
        for p in files
        if p.mask
    ]
    rows: dict[str, Callable[[int], float]] = {}
    for title, run_id in (("U-Net", given.unet), ("ResNet + U-Net", given.resnet_unet)):
        tuned = _configuration(run_id)
        rows[f"{title}, tuned"] = _network_score(tuned, data, test)
        rows[f"{title}, cross-entropy alone"] = _network_score(with_values(tuned, CROSS_ENTROPY), data, test)
        rows[f"{title}, without augmentation"] = _network_score(with_values(tuned, NO_AUGMENTATION), data, test)
    rows["logistic regression on single pixels"] = _baseline_score(data, test)
    _table("test F1", rows, range(given.seeds))


def few_patches(given: argparse.Namespace) -> None:
    """Out-of-fold F1 of a configuration, the public recipe and classifiers of single pixels."""
    from lsml.training.baselines import PixelLearner
    from lsml.training.network import Network

    experiment = load_experiment(EXPERIMENTS / "few_patches.yaml")
    data = ExperimentData(experiment.data, given.data, _progress).prepare(pack_cache())
    assert isinstance(data, FoldedData)
    config = _configuration(given.run) if given.run else experiment.base
    rows = {
        f"few_patches, {'tuned' if given.run else 'base'}": _fold_score(Network(config), data),
        "six-input U-Net of public notebooks": _fold_score(Network(PUBLIC_RECIPE), data),
        "logistic regression on single pixels": _fold_score(PixelLearner(), data),
        "gradient boosting on single pixels": _fold_score(PixelLearner("boosting"), data),
    }
    _table(f"out-of-fold F1, {data.folds} folds x {data.repeats} repeats", rows, range(1, given.seeds + 1))


def _configuration(run_id: str) -> TrainConfig:
    """What a run in MLflow trained."""
    return TrainConfig.from_parameters(find_run(open_client(), run_id).data.params)


def _network_score(config: TrainConfig, data: TrainingData, test: list[Patch]) -> Callable[[int], float]:
    """By seed, the test F1 of the network that was best on validation."""
    from lsml.models.export import load_bytes
    from lsml.training.fit import fit

    def score(seed: int) -> float:
        result = fit(with_values(config, {"seed": seed}), data, lambda event: True)
        return _test_f1(load_bytes(result.model.content, result.model.sensor).predict_on_batch, result.threshold, test)

    return score


def _baseline_score(data: TrainingData, test: list[Patch]) -> Callable[[int], float]:
    """By seed of the pixels drawn, the test F1 of the logistic regression."""
    from lsml.training.baselines import fit_pixel_baseline

    def score(seed: int) -> float:
        fitted = fit_pixel_baseline(data.train, seed=seed)
        threshold = choose_threshold(predictions(fitted.predict, Patch.of_split(data.validation), batch=1))
        return _test_f1(fitted.predict, threshold, test)

    return score


def _test_f1(predict: Predict, threshold: float, test: list[Patch]) -> float:
    return evaluate_predictions(predictions(predict, test), threshold).metrics["f1"]


def _fold_score(learner: Learner, data: FoldedData) -> Callable[[int], float]:
    """By seed, F1 over all out-of-fold pixels."""

    def score(seed: int) -> float:
        found = cross_validate(
            learner, data.train, seed=seed, folds=data.folds, repeats=data.repeats, report=lambda event: True
        )
        return found.value

    return score


def _table(what: str, rows: Mapping[str, Callable[[int], float]], seeds: range) -> None:
    """One row a learner: mean, standard deviation over the seeds, each seed, and wins against the first."""
    found = {title: list(_scores(title, score, seeds)) for title, score in rows.items()}
    first = next(iter(found.values()))
    _print(f"| {what} | mean | standard deviation | {' | '.join(f'seed {seed}' for seed in seeds)} | below the first |")
    _print("|---" * (len(seeds) + 4) + "|")
    for title, scores in found.items():
        below = sum(score < best for score, best in zip(scores, first, strict=True))
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        each = " | ".join(f"{score:.4f}" for score in scores)
        compared = "" if scores is first else f"{below} of {len(scores)}"
        _print(f"| {title} | **{statistics.fmean(scores):.4f}** | {deviation:.4f} | {each} | {compared} |")


def _scores(title: str, score: Callable[[int], float], seeds: range) -> Iterator[float]:
    for seed in seeds:
        found = score(seed)
        sys.stderr.write(f"{title}, seed {seed}: {found:.4f}\n")
        yield found


def _progress(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"{what} {done}/{total}\n" if done == total else "")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
