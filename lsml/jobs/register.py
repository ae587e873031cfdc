"""A run's model in the registry: under which name it belongs there, and putting it there."""

from typing import Any, NamedTuple

from lsml.errors import ConfigError


class Registered(NamedTuple):
    """A version of a registered model."""

    name: str
    version: str


def register_run(client: Any, run: Any) -> Registered:
    """The version that holds the model of a run, made where there is none: of its study's or experiment's model.

    Raises:
        ConfigError: the run does not say of which study or experiment it is.
        ModelError: the run has no model.
        StorageError: MLflow cannot be used.
    """
    from lsml.tracking.models import register, version_of
    from lsml.tracking.runs import BEST_METRIC, OF_RUN, STUDY, TRAINED_ON, study_of

    if known := version_of(client, run.info.run_id):
        return Registered(*known)
    study = study_of(client, run)
    name = _name(run, study)
    tags = {key: run.data.tags[key] for key in (STUDY, OF_RUN, TRAINED_ON) if key in run.data.tags}
    if study:
        tags |= {"lsml.study_run_id": study.info.run_id}
    tags |= {
        label: f"{run.data.metrics[label]:.6f}" for label in (BEST_METRIC, "earned_val_f1") if label in run.data.metrics
    }
    return Registered(name, register(client, run.info.run_id, name, aliases=[], tags=tags))


def _name(run: Any, study: Any | None) -> str:
    from lsml.tracking.runs import EXPERIMENT

    name = study.data.params.get("study.experiment") if study else run.data.tags.get(EXPERIMENT)
    if not name:
        raise ConfigError(
            f"run {run.info.run_id}",
            "it says neither study nor experiment, so under which name to register its model is unknown",
            "give a run of lsml tune, or of lsml train by this version",
        )
    return str(name)
