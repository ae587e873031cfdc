"""Every name that is stored with a run or a study, once: tags, metrics, artifacts, roles, states, aliases, attributes.

What ends with a dot or an underscore is the beginning of a name, `f"{Tag.DATA}{split}"`; what begins with an underscore
is the end of one.
"""

from typing import Final, Literal

VERSION: Final = "0.1.0"
"""Of lsml, as in `pyproject.toml`."""


class Tag:
    """Tags of runs, registered models and their versions in MLflow; also the metadata of a logged model."""

    PREFIX: Final = "lsml."
    STUDY: Final = "lsml.study"
    STUDY_RUN: Final = "lsml.study_run_id"
    EXPERIMENT: Final = "lsml.experiment"
    IDENTITY: Final = "lsml.identity"
    ENSEMBLE: Final = "lsml.ensemble"
    ROLE: Final = "lsml.role"
    STATE: Final = "lsml.state"
    REASON: Final = "lsml.reason"
    STOPPED: Final = "lsml.stopped"
    SLOT: Final = "lsml.slot"
    ATTEMPT: Final = "lsml.attempt"
    TRIAL: Final = "lsml.trial"
    NUMBER: Final = "lsml.number"
    MEMBERS: Final = "lsml.members"
    BEST_RUN: Final = "lsml.best_run_id"
    NETWORK_RUN: Final = "lsml.best_network_run_id"
    BEHIND: Final = "lsml.behind"
    OF_RUN: Final = "lsml.of_run_id"
    RESUMES: Final = "lsml.resumes_run_id"
    EVALUATED_RUN: Final = "lsml.evaluated_run_id"
    TRAINED_ON: Final = "lsml.trained_on"
    REGISTERED: Final = "lsml.registered"
    MODEL_NAME: Final = "lsml.model_name"
    ALIAS: Final = "lsml.alias."
    DATABASE: Final = "lsml.database"

    DATA: Final = "lsml.data."
    DATA_ROOT: Final = "lsml.data.root"
    DATA_SOURCE: Final = "lsml.data.source"
    DATA_TRAIN: Final = "lsml.data.train"
    DATA_VALIDATION: Final = "lsml.data.validation"
    DATA_FOLDS: Final = "lsml.data.folds"
    DATA_REPEATS: Final = "lsml.data.repeats"
    DATA_PARTITION: Final = "lsml.data.partition"
    DATA_HOLD_OUT_TEST: Final = "lsml.data.hold_out_test"
    DATA_REGIONS: Final = "lsml.data.regions"
    WARNING: Final = "lsml.warning."
    FORCED: Final = "lsml.forced."

    VERSION: Final = "lsml.version"
    PYTHON: Final = "lsml.python"
    BACKEND: Final = "lsml.backend"
    DEVICE: Final = "lsml.device_name"
    PRECISION: Final = "lsml.precision"
    XLA: Final = "lsml.xla"
    KERAS: Final = "lsml.keras"
    MACHINE: Final = "lsml.machine"
    WORKER: Final = "lsml.worker"
    WEIGHTS: Final = "lsml.weights_sha256"

    SCORE: Final = "lsml.score."
    TEST_OPENING: Final = "lsml.test_opening."
    CHAMPION: Final = "lsml.champion."
    PROMOTION: Final = "lsml.promotion."
    ROLLED_BACK: Final = "lsml.rolled_back"
    MODEL_ID: Final = "lsml.model_id"
    MODEL_THRESHOLD: Final = "lsml.threshold"
    MODEL_SHA256: Final = "lsml.sha256"
    MODEL_FILES: Final = "lsml.model_files_sha256"
    MODEL_SIGNATURE: Final = "lsml.signature"
    ALIAS_SIGNATURE: Final = "lsml.alias_signature."
    MODEL_SENSOR: Final = "lsml.sensor"

    # MLflow's own, where its client has no constants for them.
    PARENT: Final = "mlflow.parentRunId"
    RUN_NAME: Final = "mlflow.runName"
    RUN_COLOR: Final = "mlflow.runColor"
    NOTE: Final = "mlflow.note.content"
    EXPERIMENT_KIND: Final = "mlflow.experimentKind"
    USER: Final = "mlflow.user"
    SOURCE: Final = "mlflow.source"
    SOURCE_NAME: Final = "mlflow.source.name"
    SOURCE_TYPE: Final = "mlflow.source.type"
    COMMIT: Final = "mlflow.source.git.commit"
    DATA_CONTEXT: Final = "mlflow.data.context"
    SHARED_VIEW: Final = "mlflow.sharedViewState."


class Metric:
    """Metrics of a run; those with `best_` are of the best epoch or of all folds, as the run's model has them."""

    VAL: Final = "val_"
    VAL_F1: Final = "val_f1"
    VAL_LOSS: Final = "val_loss"
    VAL_THRESHOLD: Final = "val_threshold"
    VAL_RAW_THRESHOLD: Final = "val_raw_threshold"
    VAL_TEMPERATURE: Final = "val_temperature"
    VAL_SCALED_CALIBRATION_ERROR: Final = "val_scaled_calibration_error"
    VAL_REPEATS_THRESHOLD: Final = "val_repeats_threshold"
    VAL_REPEATS_F1: Final = "val_repeats_f1"
    VAL_F1_REPEAT: Final = "val_f1_repeat_"

    BEST: Final = "best_"
    BEST_VAL: Final = "best_val_"
    BEST_F1: Final = "best_val_f1"
    BEST_PRECISION: Final = "best_val_precision"
    BEST_RECALL: Final = "best_val_recall"
    BEST_THRESHOLD: Final = "best_val_threshold"
    BEST_RAW_THRESHOLD: Final = "best_val_raw_threshold"
    BEST_TEMPERATURE: Final = "best_val_temperature"
    BEST_EPOCH: Final = "best_epoch"
    EARNED_F1: Final = "earned_val_f1"
    CORRECTED_F1: Final = "corrected_val_f1"
    CORRECTED_LOW: Final = "corrected_val_f1_low"
    CORRECTED_HIGH: Final = "corrected_val_f1_high"

    TEST: Final = "test_"
    TEST_F1: Final = "test_f1"
    TEST_BASELINE_F1: Final = "test_pixel_baseline_f1"

    PARAMETERS: Final = "parameters"
    LATENCY: Final = "latency_ms"


OBJECTIVE: Final = Metric.VAL_F1
"""What a study maximises: the metric of this name, reported after each epoch or fold."""


class Artifact:
    """Files of a run in MLflow, by path."""

    VALIDATION_PATCHES: Final = "validation_patches.csv"
    VALIDATION_PIXELS: Final = "validation_pixels.csv"
    VALIDATION_REPEATS: Final = "validation_repeats.csv"
    TEST_PATCHES: Final = "test_patches.csv"
    PATCHES: Final = "_patches.csv"
    SHOWN_PATCHES: Final = "_patches.json"
    REGIONS: Final = "_regions.json"
    REGION_SCORES: Final = "regions.png"
    PROBABILITIES: Final = "validation_probabilities.npz"
    FOLDS: Final = "folds.csv"
    CONFIG: Final = "config.yaml"
    IMAGES: Final = "images"
    REPORT: Final = "report.html"
    FIGURES: Final = "study/figures/"
    ENSEMBLE: Final = "ensemble.json"
    STANDINGS: Final = "study/standings.json"
    TRIALS: Final = "study/trials.csv"
    SPACE: Final = "study/space.json"
    BASE: Final = "study/base.json"
    IMPORTANCE: Final = "study/importance.json"
    BASELINES: Final = "study/baselines.json"
    FRONT: Final = "study/front.json"
    PRECISION_RECALL: Final = "precision_recall.png"
    F1_OVER_THRESHOLD: Final = "f1_over_threshold.png"
    RELIABILITY: Final = "reliability.png"
    MODEL: Final = "model"


class Role:
    """What a run is for."""

    STUDY: Final = "study"
    TRIAL: Final = "trial"
    CONFIRM: Final = "confirm"
    REFIT: Final = "refit"
    BASELINE: Final = "baseline"
    REPEAT: Final = "repeat"
    ENSEMBLE: Final = "ensemble"
    TRAIN: Final = "train"


StageRole = Literal["trial", "confirm", "refit", "baseline"]
"""Which stage of a study an attempt belongs to: the search, or what comes after it."""


class State:
    """How a training stands or ended; a superseded one was lost or interrupted, and another stands for it."""

    RUNNING: Final = "running"
    COMPLETE: Final = "complete"
    PRUNED: Final = "pruned"
    FAILED: Final = "failed"
    SUPERSEDED: Final = "superseded"


EndState = Literal["complete", "pruned", "failed", "superseded"]
"""How an attempt ended."""


ScoredSplit = Literal["validation", "test"]
"""The splits that there are scores of."""

OWN: Final = "the dataset's own split"
LEAVE_ONE_REGION_OUT: Final = "leave one region out"
POOLED: Final = "pooled over pixels"
UNKNOWN: Final = "unknown"
"""What the tags of a score say of its split and its averaging."""


class Alias:
    """Aliases of versions of registered models."""

    CANDIDATE: Final = "candidate"
    CHAMPION: Final = "champion"
    ENSEMBLE: Final = "ensemble"


class Attribute:
    """User attributes of Optuna's studies and trials."""

    SPEC: Final = "lsml.spec"
    PARENT: Final = "lsml.run_id"
    IDENTITY: Final = "lsml.identity"
    OWNER: Final = "lsml.owner"
    RESULT: Final = "lsml.result"
    EXHAUSTED: Final = "lsml.exhausted"
    ITEMS: Final = "lsml.items"
    SLOT: Final = "slot"
    ORDINAL: Final = "attempt"
    SUPERSEDED: Final = "superseded"
    RUN_ID: Final = "run_id"
    RUNS: Final = "lsml.runs"
    STEPS: Final = "steps"
    COSTS: Final = "costs"
    SEARCHED: Final = "searched"
    REASON: Final = "reason"
    WORKER: Final = "worker"
    LOST: Final = "lost"
    MODEL: Final = "model_sha256"
    THRESHOLD: Final = "threshold"
    TEMPERATURE: Final = "temperature"
    BEST_EPOCH: Final = "best_epoch"
    F1: Final = "f1"
