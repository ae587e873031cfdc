"""A trial function that trains nothing: its scores follow from its configuration, so a rerun can be compared."""

import contextlib
import hashlib
import itertools
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lsml.data.splits import FoldedData, Steps
from lsml.models.export import ModelFile
from lsml.names import Artifact
from lsml.scoring.metrics import PatchScore, to_csv
from lsml.scoring.regions import patch_rows
from lsml.study.trial import train_trial
from lsml.study.trial_queue import fresh_seed
from lsml.training.device import within_memory
from lsml.training.outcome import CvSummary, Panel, Report, StepEvent, TrialFunctions, TrialOutcome, TrialTask
from tests.bands import SENSOR
from tests.processes import PATIENCE, wait_until
from tests.training.starved import spare

EPOCHS = 4
BASE_WEIGHT = 0.5
_MODEL = b"not a model: nobody loads it in these tests"
_MODEL_FILE = ModelFile(_MODEL, hashlib.sha256(_MODEL).hexdigest(), SENSOR)


LUCK = "LSML_TEST_LUCK"
"""Set in the environment, tuned configurations score high in the search and low with any other seed."""


def score(task: TrialTask, epoch: int) -> float:
    """A smooth function of the configuration that grows with the epochs."""
    config = task.config
    if LUCK in os.environ and config.seed == fresh_seed(0) and config.loss.jaccard != BASE_WEIGHT:
        return 0.1
    return 0.3 + 0.3 * config.loss.jaccard - 0.2 * config.model.dropout + 0.02 * epoch


def costs(task: TrialTask) -> dict[str, float]:
    """A thousand weights, and as many again for each tenth of the loss that scores."""
    parameters = 1000.0 + round(10_000 * task.config.loss.jaccard)
    return {"parameters": parameters, "latency_ms": parameters / 1000}


def tables(task: TrialTask, f1: float) -> dict[str, str]:
    """Of every scored patch 1,000 landslide pixels, of which so many are found, and as many others called so."""
    hits = round(1000 * f1)
    others = 1000 - hits
    scores = [PatchScore(name, 0.1, hits, others, others, f1) for name in task.data.splits[-1].ids]
    found = {Artifact.VALIDATION_PATCHES: to_csv(patch_rows(scores))}
    if isinstance(task.data, FoldedData):
        repeats = range(1, task.data.repeats + 1)
        repeated = [{"repeat": repeat, **row} for repeat in repeats for row in patch_rows(scores)]
        found[Artifact.VALIDATION_REPEATS] = to_csv(repeated)
    return found


def sleeping(task: TrialTask, report: Report) -> TrialOutcome:
    """Reports four epochs, writing the last one into the checkpoint as a real training does."""
    done = int(task.checkpoint.read_text()) if task.checkpoint and task.checkpoint.exists() else 0
    assert task.checkpoint
    stopped = "finished"
    epoch = 0
    for epoch in range(1, EPOCHS + 1):
        if epoch > done:
            time.sleep(0.05)
            task.checkpoint.write_text(str(epoch))
        _maybe_die(epoch)
        if not report(StepEvent(epoch, {"loss": 1 / epoch, "val_f1": score(task, epoch)}, epoch <= done)):
            stopped = "pruned"
            break
    return TrialOutcome(
        value=score(task, epoch),
        stopped=stopped,  # type: ignore[arg-type]
        steps=Steps("epoch", epoch),
        best_epoch=epoch,
        threshold=0.5,
        metrics={"val_f1": score(task, epoch)},
        model=None if isinstance(task.data, FoldedData) else _MODEL_FILE,
        panels=(Panel("validation/image_1", np.zeros((8, 32, 3), np.uint8)),),
        environment={"backend": "tensorflow", "device": "none"},
        costs=costs(task),
        tables=tables(task, score(task, epoch)),
    )


def meeting(task: TrialTask, report: Report) -> TrialOutcome:
    """As `sleeping`, once another trial has come to this as well."""
    assert task.checkpoint
    here = task.checkpoint.parents[3] / "meeting"
    here.mkdir(exist_ok=True)
    (here / task.checkpoint.name).touch()
    wait_until(lambda: len(list(here.iterdir())) > 1)
    return sleeping(task, report)


def unhurried(task: TrialTask, report: Report) -> TrialOutcome:
    """As `sleeping`, after three seconds more."""
    time.sleep(3)
    return sleeping(task, report)


def worse(task: TrialTask, report: Report) -> TrialOutcome:
    """As `sleeping`, with a table of patches that is a hundredth lower."""
    return replace(sleeping(task, report), tables=tables(task, score(task, EPOCHS) - 0.01))


def better(task: TrialTask, report: Report) -> TrialOutcome:
    """As `sleeping`, with a table of patches that is a hundredth higher."""
    return replace(sleeping(task, report), tables=tables(task, score(task, EPOCHS) + 0.01))


def pruning_resnets(task: TrialTask, report: Report) -> TrialOutcome:
    """As `sleeping`, and says of each network of that architecture that it was pruned, .01 below its best epoch."""
    outcome = sleeping(task, report)
    pruned = replace(outcome, stopped="pruned", value=outcome.value + 0.01)
    return pruned if task.config.model.architecture == "resnet_unet" else outcome


def confirming(task: TrialTask, report: Report) -> TrialOutcome:
    """As `sleeping`, and hands back a model."""
    return replace(sleeping(task, report), model=_MODEL_FILE)


def refitting(task: TrialTask, report: Report, *, summary: CvSummary) -> TrialOutcome:
    """Reports the epochs that the folds summary, and hands back a model."""
    for epoch in range(1, summary.epochs + 1):
        report(StepEvent(epoch, {"loss": 1 / epoch}))
    return TrialOutcome(
        value=summary.value,
        stopped="finished",
        steps=Steps("epoch", summary.epochs),
        best_epoch=summary.epochs,
        threshold=summary.threshold,
        metrics={"val_f1": summary.value, "val_threshold": summary.threshold},
        model=_MODEL_FILE,
        environment={"backend": "tensorflow", "device": "none"},
    )


def simple(task: TrialTask, report: Report) -> TrialOutcome:
    """A baseline that scores .4 in every fold."""
    report(StepEvent(1, {"val_f1": 0.4}))
    return TrialOutcome(
        value=0.4,
        stopped="finished",
        steps=Steps("fold", 1),
        best_epoch=1,
        threshold=0.3,
        metrics={"val_f1": 0.4},
        environment={"backend": "none", "device": "none"},
        tables=tables(task, 0.4),
    )


def strong(task: TrialTask, report: Report) -> TrialOutcome:
    """A baseline with a model that scores .9."""
    outcome = replace(simple(task, report), value=0.9, metrics={"val_f1": 0.9})
    return replace(outcome, model=_MODEL_FILE, tables=tables(task, 0.9))


def counting_threads(task: TrialTask, report: Report) -> TrialOutcome:
    """Scores a hundredth for each thread that its process was given for one operation, or 0 where none were set."""
    threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) / 100
    report(StepEvent(1, {"loss": 1.0, "val_f1": threads}))
    return replace(sleeping(task, lambda *_: True), value=threads)


def failing(task: TrialTask, report: Report) -> TrialOutcome:
    """Fails the way a real trial would whose loss is not a number."""
    report(StepEvent(1, {"loss": 1.0, "val_f1": 0.1}))
    raise ValueError("loss is nan in epoch 2")


def starved(task: TrialTask, report: Report) -> TrialOutcome:
    """Does not fit, but for the configuration that the study begins with."""
    if task.config.loss.jaccard == BASE_WEIGHT:
        return sleeping(task, report)
    return starving(task, report)


def starving(task: TrialTask, report: Report) -> TrialOutcome:
    """Does not fit, whatever the configuration: NumPy cannot have so much."""
    return within_memory(lambda: np.empty(10**18, np.uint8), task.config)  # type: ignore[return-value]


def narrow(task: TrialTask, report: Report) -> TrialOutcome:
    """Really trains; where there are more filters than four, with 100 MB to spare."""
    with spare(100) if task.config.model.filters > 4 else contextlib.nullcontext():
        return train_trial(task, report)


def stuck(task: TrialTask, report: Report) -> TrialOutcome:
    """Reports one epoch and then works on for longer than anybody waits."""
    report(StepEvent(1, {"loss": 1.0, "val_f1": 0.1}))
    time.sleep(10 * PATIENCE)
    raise AssertionError


def endless(task: TrialTask, report: Report) -> TrialOutcome:
    """Reports one epoch after the other while it is answered, and notes each in a file of the working folder."""
    assert task.checkpoint
    for epoch in itertools.count(1):
        time.sleep(0.05)
        with (task.checkpoint.parents[3] / "endless").open("a") as file:
            file.write(f"{epoch}\n")
        report(StepEvent(epoch, {"loss": 1.0, "val_f1": 0.1}))
    raise AssertionError


def stuck_at_first(task: TrialTask, report: Report) -> TrialOutcome:
    """Stuck where the configuration is the one that the study begins with."""
    return (stuck if task.config.loss.jaccard == BASE_WEIGHT else sleeping)(task, report)


def late_at_first(task: TrialTask, report: Report) -> TrialOutcome:
    """Takes five seconds before the first epoch, where the configuration is the one that the study begins with."""
    if task.config.loss.jaccard == BASE_WEIGHT:
        time.sleep(5)
    return sleeping(task, report)


def _maybe_die(epoch: int) -> None:
    """Kills this worker, or stops it, as often as the file named by `LSML_TEST_DEATHS` has lines left, in epoch 2."""
    deaths = Path(os.environ["LSML_TEST_DEATHS"]) if "LSML_TEST_DEATHS" in os.environ else None
    if deaths is None or epoch != 2 or not (left := deaths.read_text().splitlines()):
        return
    deaths.write_text("\n".join(left[1:]))
    os.kill(os.getpid(), signal.SIGSTOP if left[0] == "stop" else signal.SIGKILL)


FUNCTIONS = TrialFunctions(
    search=sleeping,
    confirm=confirming,
    refit=refitting,
    baselines={"simple": simple, "broken": failing},
    fold_baselines={},
)
"""For studies with and without folds."""
