"""A trial function that trains nothing: its scores follow from its configuration, so a rerun can be compared."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from lsml.trial import Panel, Report, TrialOutcome, TrialTask

EPOCHS = 4
MODEL = b"not a model: nobody loads it in these tests"


def score(task: TrialTask, epoch: int) -> float:
    """A smooth function of the configuration that grows with the epochs."""
    config = task.config
    return 0.3 + 0.3 * config.loss.jaccard_share - 0.2 * config.model.dropout + 0.02 * epoch


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
        if not report(epoch, {"loss": 1 / epoch, "val_f1": score(task, epoch)}, epoch <= done):
            stopped = "pruned"
            break
    return TrialOutcome(
        value=score(task, epoch),
        stopped=stopped,  # type: ignore[arg-type]
        best_epoch=epoch,
        epochs=epoch,
        threshold=0.5,
        metrics={"val_f1": score(task, epoch)},
        model=MODEL,
        sha256=hashlib.sha256(MODEL).hexdigest(),
        panels=(Panel("validation/image_1", np.zeros((8, 32, 3), np.uint8)),),
        environment={"backend": "tensorflow", "device": "none"},
    )


def failing(task: TrialTask, report: Report) -> TrialOutcome:
    """Fails the way a real trial would whose loss is not a number."""
    report(1, {"loss": 1.0, "val_f1": 0.1}, False)
    raise ValueError("loss is nan in epoch 2")


def stuck(task: TrialTask, report: Report) -> TrialOutcome:
    """Reports one epoch and then works on for longer than anybody waits."""
    report(1, {"loss": 1.0, "val_f1": 0.1}, False)
    time.sleep(3600)
    raise AssertionError


def _maybe_die(epoch: int) -> None:
    """Kills this worker as often as the file named by `LSML_TEST_DEATHS` has lines left, in epoch 2."""
    deaths = Path(os.environ["LSML_TEST_DEATHS"]) if "LSML_TEST_DEATHS" in os.environ else None
    if deaths is None or epoch != 2 or not (left := deaths.read_text().splitlines()):
        return
    deaths.write_text("\n".join(left[1:]))
    os.kill(os.getpid(), 9)
