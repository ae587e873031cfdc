"""Reads back what a study left in MLflow: how runs were judged, what they took, what was drawn."""

import json
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.config.schema import OBJECTIVE, from_parameters
from lsml.report.summary import Contender, DataFacts, Evaluated, JudgedRun, SpentTime, SplitFacts
from lsml.scoring.calibration import moved
from lsml.scoring.comparison import read_counts
from lsml.scoring.metrics import PooledCounts
from lsml.tracking.runs import BEST_METRIC, DATA_ROOT, DATA_SOURCE, FOLDS, NOTE, PARENT, ROLE, SLOT, STATE, STUDY
from lsml.tracking.scores import patch_table, picture_files, pictures, pixel_table, score_kind
from lsml.tracking.store import storage_errors

_ENVIRONMENT = {
    "Device": "lsml.device_name",
    "Precision": "lsml.precision",
    "XLA": "lsml.xla",
    "Backend": "lsml.backend",
    "Keras": "lsml.keras",
    "lsml": "lsml.version",
    "Python": "lsml.python",
    "Machine": "lsml.machine",
    "Code commit": "mlflow.source.git.commit",
}
_CURVES = (OBJECTIVE, "val_loss")
_STATES = {"RUNNING": "under way, or lost", "KILLED": "interrupted", "FAILED": "failed", "FINISHED": "finished"}
_TEST_SCORES = {
    "F1": "f1",
    "IoU": "iou",
    "precision": "precision",
    "recall": "recall",
    "average precision": "average_precision",
    "F1 with 8 orientations": "tta_f1",
}


def child_runs(client: MlflowClient, parent: Run) -> list[Run]:
    """All runs below a study's, of every stage.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    query = f"tags.`{PARENT}` = '{parent.info.run_id}'"
    with storage_errors("runs of the study"):
        return list(client.search_runs([parent.info.experiment_id], query, max_results=5000))


def state_in_words(parent: Run) -> str:
    """How a study stands by the status of its run."""
    return _STATES.get(parent.info.status, str(parent.info.status).lower())


def description_of(parent: Run) -> str:
    """What the experiment says of itself, which is the first line of the note of a study's run."""
    first = parent.data.tags.get(NOTE, "").split("\n\n")[0].strip()
    return first.removeprefix(f"**{parent.data.tags.get(STUDY, '')}**:").strip()


def data_facts(parent: Run) -> DataFacts:
    """What a study's run says of its patches."""
    tags, inputs = parent.data.tags, parent.inputs.dataset_inputs if parent.inputs else []
    splits = []
    for entry in inputs:
        name = entry.dataset.name.removeprefix("landslide4sense-")
        profile = json.loads(entry.dataset.profile or "{}")
        splits.append(
            SplitFacts(
                name,
                int(profile.get("patches", 0)),
                profile.get("patches_without_landslide"),
                profile.get("landslide_share"),
                tags.get(f"lsml.data.{name}", entry.dataset.digest),
            )
        )
    ordered = sorted(splits, key=lambda split: split.name)
    return DataFacts(tags.get(DATA_ROOT, ""), tags.get(DATA_SOURCE, ""), score_kind(tags, "validation").split, ordered)


def judged_run(client: MlflowClient, run: Run, name: str) -> JudgedRun:
    """How a training was judged on patches that it did not see.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    run_id, params, tags = run.info.run_id, run.data.params, run.data.tags
    patches, pixels = patch_table(client, run_id, "validation"), pixel_table(client, run_id)
    return JudgedRun(
        name=name,
        run_id=run_id,
        f1=run.data.metrics.get(BEST_METRIC, 0.0),
        config=from_parameters(params) if "model.architecture" in params else None,
        threshold=_threshold(run),
        counts=read_counts(patches) if patches else None,
        pixels=PooledCounts.read(pixels) if pixels else None,
        environment={words: tags[tag] for words, tag in _ENVIRONMENT.items() if tag in tags},
    )


def _threshold(run: Run) -> float | None:
    """What the tables of a run are counted at: a trial's model has a temperature, the networks in folds have none."""
    threshold = run.data.metrics.get("best_val_threshold")
    if threshold is None or FOLDS in run.data.tags:
        return threshold
    return moved(threshold, run.data.metrics.get("best_val_temperature", 1.0))


def baselines(children: Sequence[Run]) -> dict[str, str]:
    """The simple models that came to their end beside the trials: names by run id."""
    return {
        run.info.run_id: run.data.params.get("baseline") or str(run.info.run_name)
        for run in children
        if (run.data.tags.get(ROLE), run.data.tags.get(STATE)) == ("baseline", "complete")
    }


def contender(client: MlflowClient, run: Run, name: str, most_pictures: int) -> Contender:
    """The course of a trial, and its pictures of validation patches.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    run_id = run.info.run_id
    curves = {}
    with storage_errors(f"metrics of run {run_id}"):
        for metric in _CURVES:
            points = sorted(client.get_metric_history(run_id, metric), key=lambda point: (point.step, point.timestamp))
            # An attempt that went on reports its earlier epochs again, with the same values.
            values = {point.step: point.value for point in points}
            if values:
                curves[metric] = (tuple(values), tuple(values.values()))
    patches = sorted(picture_files(client, run_id, "validation"), key=lambda patch: (len(patch), patch))
    return Contender(
        name=name,
        f1=run.data.metrics.get(BEST_METRIC, 0.0),
        noun="fold" if "folds" in run.data.metrics else "epoch",
        curves=curves,
        pictures=pictures(client, run_id, "validation", patches[:most_pictures]),
    )


def spent_time(client: MlflowClient, children: Sequence[Run]) -> list[SpentTime]:
    """How long each run below a study's took; of one that was lost or is under way, up to its last epoch."""
    return [
        SpentTime(
            run.data.tags.get(ROLE, "trial"),
            int(run.data.tags.get(SLOT, 0)),
            run.data.tags.get(STATE, "running"),
            _seconds(client, run),
        )
        for run in sorted(children, key=lambda run: run.info.start_time)
    ]


def _seconds(client: MlflowClient, run: Run) -> float:
    end = run.info.end_time
    if end is None or run.data.tags.get(STATE) == "superseded":
        # Such a run is closed when the study goes on, which may be days later.
        with storage_errors(f"metrics of run {run.info.run_id}"):
            steps = client.get_metric_history(run.info.run_id, OBJECTIVE)
        end = max((point.timestamp for point in steps), default=run.info.start_time)
    return max(end - run.info.start_time, 0) / 1000


def evaluated(client: MlflowClient, runs: Mapping[str, Run]) -> list[Evaluated]:
    """The scores of those runs, by name, that were judged on the test split.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    return [
        _evaluated_run(client, run, name)
        for name, run in runs.items()
        if "test_f1" in run.data.metrics
    ]  # fmt: skip


def _evaluated_run(client: MlflowClient, run: Run, name: str) -> Evaluated:
    metrics = run.data.metrics
    scores = {
        words: (metrics[f"test_{key}"], metrics.get(f"test_{key}_low"), metrics.get(f"test_{key}_high"))
        for words, key in _TEST_SCORES.items()
        if f"test_{key}" in metrics
    }
    table = patch_table(client, run.info.run_id, "test")
    counts = read_counts(table) if table else None
    return Evaluated(name, run.info.run_id, counts, scores, metrics.get("test_pixel_baseline_f1"))
