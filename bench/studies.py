"""Commands that only read, beside a study of many trials, each in a process of its own, and what they may take.

    python bench/studies.py [--trials 2012] [--rounds 5] [--smoke]

The floor is an interpreter that imports Optuna and opens its storage, MLflow too for `study show`, and Keras's backend
for `doctor`. On two idle cores `study list` may take a second, a name that nothing has two, and what needs MLflow or
the backend a second more than to load it.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from timing import Took, arguments, median, show

STORAGE = "sqlite:///optuna.db"
OPEN = f"import optuna; optuna.storages.RDBStorage({STORAGE!r})"
LIMITS = {
    "study list": (1.0, ""),
    "clean": (1.0, ""),
    "evaluate, a name that nothing has": (2.0, ""),
    "study show": (1.0, "Optuna opens, MLflow loads"),
    "doctor": (1.0, "MLflow and Keras load"),
}
"""Seconds of the clock at most, by themselves or beyond what takes the place behind."""


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, trials=2012)
    if given.smoke:
        given.trials = 4
    lsml = [sys.executable, "-m", "lsml"]
    ways = {
        "Optuna opens": [sys.executable, "-c", OPEN],
        "study list": [*lsml, "study", "list"],
        "clean": [*lsml, "clean"],
        "evaluate, a name that nothing has": [*lsml, "evaluate", "none-000"],
        "Optuna opens, MLflow loads": [sys.executable, "-c", f"{OPEN}; import mlflow"],
        "study show": [*lsml, "study", "show", "many"],
        "MLflow and Keras load": [sys.executable, "-c", f"{OPEN}; import mlflow, keras"],
        "doctor": [*lsml, "doctor"],
    }
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), given.trials)
        took: dict[str, list[Took]] = {name: [] for name in ways}
        for number in range(given.rounds + 1):
            for name, command in ways.items():
                seconds = run(command, Path(folder))
                if number:
                    took[name].append(seconds)
    walls = {name: median(seconds).wall for name, seconds in took.items()}
    rows = [
        [name, *median(seconds), LIMITS[name][0] + walls.get(LIMITS[name][1], 0.0) if name in LIMITS else ""]
        for name, seconds in took.items()
    ]
    show(f"Beside a study of {given.trials} trials", ["", "CPU s", "wall s", "wall s, at most"], rows)


def run(command: list[str], folder: Path) -> Took:
    """One process."""
    import resource
    import time

    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # 4 is that of a name that nothing has, and of a machine that `doctor` finds wanting.
    assert done.returncode in (0, 4), done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(cpu, time.perf_counter() - started)


def fill(folder: Path, trials: int) -> None:
    """A study of complete trials in the folder's database, and a run of it in MLflow."""
    import mlflow
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import create_trial

    from lsml.names import Attribute, Tag
    from lsml.study.database import make_study

    os.chdir(folder)
    drawn: dict[str, tuple[BaseDistribution, Callable[[random.Random], object]]] = {
        "model.architecture": (
            CategoricalDistribution(["unet", "resnet_unet"]),
            lambda r: r.choice(["unet", "resnet_unet"]),
        ),
        "model.filters": (CategoricalDistribution([8, 16, 32]), lambda r: r.choice([8, 16, 32])),
        "training.learning_rate": (FloatDistribution(1e-4, 1e-2, log=True), lambda r: 10 ** r.uniform(-4, -2)),
        "loss.cross_entropy": (FloatDistribution(0.0, 1.0), lambda r: r.random()),
        "model.dropout": (FloatDistribution(0.0, 0.5), lambda r: r.uniform(0, 0.5)),
        "augment.strength": (FloatDistribution(0.0, 1.0), lambda r: r.random()),
    }
    study, source = make_study(STORAGE, "many", pruner=optuna.pruners.NopPruner()), random.Random(0)
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    run_of_study = client.create_run(client.create_experiment("lsml"), tags={Tag.STUDY: "many"})
    study.set_user_attr(Attribute.PARENT, run_of_study.info.run_id)
    for slot in range(trials):
        params = {name: draw(source) for name, (_, draw) in drawn.items()}
        f1 = 0.5 + 0.2 * params["augment.strength"] + source.gauss(0, 0.02)
        study.add_trial(
            create_trial(
                params=params,
                distributions={name: distribution for name, (distribution, _) in drawn.items()},
                value=f1,
                user_attrs={Attribute.SLOT: slot, Attribute.ORDINAL: 1, Attribute.RUN_ID: f"{slot:032x}"},
                intermediate_values=dict.fromkeys(range(1, 9), f1),
            )
        )


if __name__ == "__main__":
    main()
