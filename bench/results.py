"""The tables of docs/results.md: tuned configurations against plainer ones, over several seeds, in Markdown.

    python bench/results.py demo [--unet RUN] [--resnet-unet RUN] [--seeds 5]
    python bench/results.py few-patches --data DIR [--run RUN] [--seeds 3]
    python bench/results.py revisions [--before REVISION] [--seeds 5]
    python bench/results.py search [--seeds 5] [--first 0]

`demo` takes the runs of the best U-Net and the best ResNet + U-Net of a study on the demo's patches, which `lsml tune`
prints; without them, the base of experiments/demo.yaml with either. Each row is trained anew for each seed on the same
patches for the same epochs; the threshold comes from validation, F1 is pooled over the pixels of the test split.
`few-patches` cross-validates a run's configuration, or the base of experiments/few_patches.yaml, in its folds, beside
the public recipe and classifiers of single pixels. `revisions` trains the demo's base by `lsml train` as it was at a
revision of git and as it is now: the best epoch's F1 over the pixels of validation, and how far the curves of one seed
lie apart. `search` runs the demo's whole study with each seed, from `--first` on, and compares the best of it with its
base on validation and on test.
With `--smoke` all is as small as can be.
"""

import argparse
import contextlib
import io
import os
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lsml.config.experiment import load_experiment
from lsml.config.fields import Scalar, format_value
from lsml.config.schema import LOSS_COMPONENTS, PUBLIC_RECIPE, TrainConfig, with_values
from lsml.config.study import DataEntry, SyntheticData
from lsml.data.sealed import test_split
from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.splits import FoldedData, TrainingData
from lsml.evaluation.evaluate import Patch, Predict, StoredPatches, choose_threshold, evaluate_predictions, predictions
from lsml.names import ScoredSplit
from lsml.scoring.bootstrap import Difference
from lsml.tracking.store import find_run, open_client
from lsml.training.crossval import Learner, cross_validate
from lsml.training.device import load_keras
from lsml.workflows.compare import compare
from lsml.workflows.evaluate import evaluate
from lsml.workflows.sources import ExperimentData
from lsml.workflows.tune import tune
from lsml.workspace import pack_cache

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
CROSS_ENTROPY: dict[str, Scalar] = {f"loss.{name}": float(name == "cross_entropy") for name in LOSS_COMPONENTS}
NO_AUGMENTATION: dict[str, Scalar] = {"augment.strength": 0.0}

TINY: dict[str, Scalar] = {"training.epochs": 1, "training.batch_size": 2, "model.filters": 4, "model.depth": 1}
TINY_DATA = DataEntry(synthetic=SyntheticData(train=4, validation=2, test=2))
TINY_FOLDS = DataEntry(synthetic=SyntheticData(train=4, validation=2, test=2), folds=2, repeats=1)


def main() -> None:
    """Trains what was asked for and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    demo_options = commands.add_parser("demo")
    demo_options.add_argument("--unet")
    demo_options.add_argument("--resnet-unet")
    demo_options.add_argument("--seeds", type=int, default=5)
    demo_options.set_defaults(command=demo)
    few_options = commands.add_parser("few-patches")
    few_options.add_argument("--data", type=Path)
    few_options.add_argument("--run")
    few_options.add_argument("--seeds", type=int, default=3)
    few_options.set_defaults(command=few_patches)
    revision_options = commands.add_parser("revisions")
    revision_options.add_argument("--before", default="HEAD")
    revision_options.add_argument("--seeds", type=int, default=5)
    revision_options.set_defaults(command=revisions)
    search_options = commands.add_parser("search")
    search_options.add_argument("--seeds", type=int, default=5)
    search_options.add_argument("--first", type=int, default=0)
    search_options.set_defaults(command=search)
    for options in (demo_options, few_options, revision_options, search_options):
        options.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if not given.smoke:
        given.command(given)
        return
    given.seeds = 1
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        given.command(given)


def demo(given: argparse.Namespace) -> None:
    """Test F1 of both tuned configurations, as they are and made plainer in one thing."""
    load_keras()
    experiment = load_experiment(EXPERIMENTS / "demo.yaml")
    source = ExperimentData(TINY_DATA if given.smoke else experiment.data, None, _progress)
    data = source.prepare(pack_cache()).patches
    assert isinstance(data, TrainingData)
    test = [*StoredPatches(test_split(source.root), "test", LANDSLIDE4SENSE, _progress)]
    rows: dict[str, Callable[[int], float]] = {}
    for title, run_id, architecture in (
        ("U-Net", given.unet, "unet"),
        ("ResNet + U-Net", given.resnet_unet, "resnet_unet"),
    ):
        base = with_values(experiment.base, {"model.architecture": architecture} | (TINY if given.smoke else {}))
        tuned = _configuration(run_id) if run_id else base
        rows[f"{title}, {'tuned' if run_id else 'base'}"] = _network_score(tuned, data, test)
        rows[f"{title}, cross-entropy alone"] = _network_score(with_values(tuned, CROSS_ENTROPY), data, test)
        rows[f"{title}, without augmentation"] = _network_score(with_values(tuned, NO_AUGMENTATION), data, test)
    rows["logistic regression on single pixels"] = _baseline_score(data, test)
    _table("test F1", rows, range(given.seeds))


def few_patches(given: argparse.Namespace) -> None:
    """Out-of-fold F1 of a configuration, the public recipe and classifiers of single pixels."""
    load_keras()
    from lsml.training.baselines import PixelLearner
    from lsml.training.network import Network

    experiment = load_experiment(EXPERIMENTS / "few_patches.yaml")
    entry = TINY_FOLDS if given.smoke else experiment.data
    data = ExperimentData(entry, given.data, _progress).prepare(pack_cache()).patches
    assert isinstance(data, FoldedData)
    config, recipe = _configuration(given.run) if given.run else experiment.base, PUBLIC_RECIPE
    if given.smoke:
        config, recipe = with_values(config, TINY), with_values(recipe, TINY)
    rows = {
        f"few_patches, {'tuned' if given.run else 'base'}": _fold_score(Network(config), data),
        "six-input U-Net of public notebooks": _fold_score(Network(recipe), data),
        "logistic regression on single pixels": _fold_score(PixelLearner(), data),
        "gradient boosting on single pixels": _fold_score(PixelLearner("boosting"), data),
    }
    _table(f"out-of-fold F1, {data.folds} folds x {data.repeats} repeats", rows, range(1, given.seeds + 1))


def revisions(given: argparse.Namespace) -> None:
    """Validation F1 of the demo's base, trained by lsml of another revision and by this one."""
    curves: dict[str, list[list[float]]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", given.before], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(Path(folder) / "source", filter="data")
        for seed in range(given.seeds):
            for name, source in (("before", Path(folder) / "source"), ("now", ROOT)):
                curves[name].append(_trained_curve(source, Path(folder) / name, seed, TINY if given.smoke else {}))
    best = {f"{name}, base of the demo": [max(curve) for curve in each] for name, each in curves.items()}
    _table("validation F1", {name: scores.__getitem__ for name, scores in best.items()}, range(given.seeds))
    for seed, (before, now) in enumerate(zip(*curves.values(), strict=True)):
        # One of them may have stopped earlier.
        apart = [abs(one - other) for one, other in zip(before, now, strict=False)]
        _print(
            f"\nSeed {seed}: {len(before)} and {len(now)} epochs; their val_f1 differs by "
            f"{statistics.median(apart):.4f} in the median epoch and by {max(apart):.4f} at most."
        )


def search(given: argparse.Namespace) -> None:
    """How far the best of the demo's study is ahead of its base on validation and on test, by the study's seed."""
    experiment = load_experiment(EXPERIMENTS / "demo.yaml")
    if given.smoke:
        experiment = experiment.with_fields(dict(TINY)).with_settings(trials=2)
        experiment = experiment.model_copy(update={"data": TINY_DATA})
    splits: tuple[ScoredSplit, ...] = ("validation", "test")
    _print("| seed | best | " + " | ".join(f"base, {split} | best, {split} | ahead by" for split in splits) + " |")
    _print("|---" * 8 + "|")
    ahead: dict[str, list[float]] = {split: [] for split in splits}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for seed in range(given.first, given.first + given.seeds):
            result = tune(experiment.with_settings(seed=seed), study=f"seed{seed}")
            slots = {trial["slot"]: trial for trial in result.trials}
            # A baseline may be registered in the place of the best network.
            run_id = result.network["run_id"] if result.network else result.best_run_id
            (best,) = (trial for trial in slots.values() if trial["run_id"] == run_id)
            differing = [name for name in experiment.space.dimensions if best.get(name) != slots[0].get(name)]
            values = ", ".join(f"{name} {format_value(best.get(name))}" for name in differing)
            cells = [str(seed), f"trial {best['slot']}: {values}" if differing else "the base"]
            for split in splits:
                scores, above = _above(str(best["run_id"]), str(slots[0]["run_id"]), split)
                ahead[split].append(above.value if above else 0.0)
                cells += [*scores, above.describe() if above else ""]
            _print(f"| {' | '.join(cells)} |")
    for split, found in ahead.items():
        count = sum(value > 0 for value in found)
        _print(f"\nOn {split} ahead with {count} of {len(found)} seeds, by {statistics.fmean(found):+.4f} in the mean.")


def _above(best: str, base: str, split: ScoredSplit) -> tuple[list[str], Difference | None]:
    """F1 of two runs on a split, the base first, and by how much the best is higher; None where they are one run."""
    if best == base:
        return ["", ""], None
    if split == "test":
        for run_id in (base, best):
            evaluate(run_id=run_id)
    compared = compare([base, best], study=None, top=2, split=split, out=Path(f"{split}.png"))
    runs = {run.run_id: run for run in compared.runs}
    return [f"{runs[run_id].scores['f1'].value:.4f}" for run_id in (base, best)], runs[best].ahead


def _trained_curve(source: Path, folder: Path, seed: int, values: Mapping[str, Scalar]) -> list[float]:
    """`val_f1` by epoch of the demo's base but for `values`, trained by the lsml in `source`."""
    folder.mkdir(exist_ok=True)
    database = folder / f"seed{seed}.db"
    environment = {"PYTHONPATH": str(source), "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    command = [sys.executable, "-m", "lsml", "train", str(EXPERIMENTS / "demo.yaml"), "--seed", str(seed)]
    command += [f"--set={name}={value}" for name, value in values.items()]
    subprocess.run(command, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)
    with contextlib.closing(sqlite3.connect(database)) as runs:
        rows = runs.execute("SELECT value FROM metrics WHERE key = 'val_f1' ORDER BY step").fetchall()
    sys.stderr.write(f"{source}, seed {seed}: {max(rows)[0]:.4f}\n")
    return [value for (value,) in rows]


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
