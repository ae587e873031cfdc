"""Ensembles: of a finished study's models those whose mean is best on validation, registered as one model."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsml.config.experiment import check_name
from lsml.data.pack import PackedSplit
from lsml.data.splits import TrainingData
from lsml.errors import ConfigError, StudyError
from lsml.evaluation.evaluate import Patch, choose_threshold, evaluate_predictions, predictions
from lsml.models.export import ModelFile, costs, export, load_bytes
from lsml.names import Alias, Artifact, Metric, Tag
from lsml.report.summary import Table, members_table
from lsml.scoring.ensemble_selection import (
    Member,
    SelectedEnsemble,
    StoredProbabilities,
    quantise,
    select_ensemble,
)
from lsml.scoring.metrics import to_csv
from lsml.scoring.selection import furthest_ahead
from lsml.study.database import CountedStudy
from lsml.study.trial import validation_panels
from lsml.tracking.models import RunModel
from lsml.tracking.reading import RunReader
from lsml.tracking.registry import RegisteredModel
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import Client, Run, find_run, open_store
from lsml.tracking.study import EnsembleRun, offer_alias
from lsml.workflows.report import renew_report
from lsml.workflows.sources import RecordedData
from lsml.workflows.studies import stored_study
from lsml.workspace import Progress, exclusively, lock_file


def _note(selected: SelectedEnsemble) -> str:
    """Markdown for its page in MLflow."""
    lead = (
        f"The weighted mean of {len(selected.members)} models of study `{selected.study}`, selected from "
        f"{selected.candidates} on the {selected.patches} validation patches (greedily, with replacement: Caruana et "
        "al. 2004). Its scores on these patches are therefore optimistically biased; evaluate it on the test split."
    )
    return "\n".join([lead, "", *members_table(selected.members).markdown()]).rstrip()


@dataclass(frozen=True)
class Ensemble(SelectedEnsemble):
    """What was selected and registered.

    Attributes:
        run_id: its run, below the study's.
        f1: on the patches of the selection at `threshold`, which was chosen on them too, 0..1.
        best_run_id: the run of the best trial alone, and `best_f1` its F1 on the same patches.
        parameters: all its weights.
        latency_ms: milliseconds per patch here, a measurement.
        behind: which baseline of the study is ahead of it beyond the interval, and by how much; it has no alias then.
        alias: which version has the alias `ensemble` now, and which had it before, in a line.
        unreported: why the report of the study does not show it, in one line; empty where it does.
    """

    run_id: str
    model: str
    version: str
    f1: float
    threshold: float
    best_run_id: str
    best_f1: float
    parameters: int
    latency_ms: float
    behind: str = ""
    alias: str = ""
    unreported: str = ""

    def table(self, title: str) -> Table:
        """The members with their weights in the mean."""
        return members_table(self.members, title)


def ensemble(
    study: str, *, max_members: int, name: str | None, storage: str | None, data: Path | None, progress: Progress
) -> Ensemble:
    """Selects an ensemble of a finished study's complete trials, and registers it as one model; trains nothing.

    The same command again finds the same ensemble, and does what a kill left undone.

    Args:
        max_members: members at most, each counted as often as it was taken.
        name: of the registered model; None for the study's.
        data: the folder of the patches, where they have moved.

    Raises:
        ConfigError: no such study, or one with cross-validation.
        DataError: the patches are not there, or are others.
        StorageError: a store cannot be used, or another process makes an ensemble of this study.
        StudyError: it has not ended, has fewer than two models, or no ensemble is better on validation than its best.
    """
    search = stored_study(storage, study)
    result, study = search.result, search.study_name
    if result is None:
        raise StudyError(f"study '{study}'", "has not ended", "resume it with lsml tune, then ask again")
    registered = check_name("model", name) if name else str(result["model"])
    client = open_store()
    parent = find_run(client, str(search.parent_run_id))
    if Tag.DATA_FOLDS in parent.data.tags:
        raise ConfigError(
            f"study '{study}'",
            "its trials were cross-validated, which leaves many networks and no model of each trial",
            "tune without data.folds, on patches enough for a validation split",
        )
    with exclusively(
        lock_file(f"ensemble-{study}"),
        f"study '{study}'",
    ):
        patches, _ = RecordedData(parent.data.tags, data).prepare(progress)
        assert isinstance(patches, TrainingData)
        validation = patches.validation
        candidates = _candidates(client, search, validation, progress)
        masks = np.stack([validation.mask(index) for index in range(len(validation))])
        selected = select_ensemble(study, candidates, masks, max_members=max_members)
        root = str((data or Path(parent.data.tags[Tag.DATA_ROOT])).resolve())
        run = _recorded(client, parent, selected, patches, root, progress)
        tags = {
            Tag.STUDY: study,
            Tag.STUDY_RUN: parent.info.run_id,
            Metric.BEST_F1: f"{run.data.metrics[Metric.BEST_F1]:.6f}",
            Tag.MEMBERS: selected.summary,
        }
        behind = _behind(client, run, result)
        if behind:
            RunWriter(client, run.info.run_id).log_scores({}, {Tag.BEHIND: behind})
        model = RegisteredModel(client, registered)
        version = model.register(run.info.run_id, tags=tags)
        alias = "" if behind else offer_alias(client, model, Alias.ENSEMBLE, version)
    return _answer(selected, run, registered, version, result, behind, alias, renew_report(client, parent))


def _behind(client: Client, run: Run, result: Mapping[str, Any]) -> str:
    """Which of the study's baselines is ahead of the ensemble beyond the interval, and by how much; else empty."""
    baselines = {str(each["what"]): each["run_id"] for each in result.get("baselines", ()) if each["run_id"]}
    readers = {name: RunReader(client, find_run(client, run_id)) for name, run_id in baselines.items()}
    counts = {name: [reader.counts("validation")] for name, reader in readers.items() if reader.has_table("validation")}
    found = furthest_ahead([RunReader(client, run).counts("validation")], counts)
    return found.describe() if found else ""


def _candidates(
    client: Client, search: CountedStudy, split: PackedSplit, progress: Progress
) -> list[tuple[Member, np.ndarray]]:
    """The complete trials that have a model, the best first, with their probabilities on the validation patches."""
    candidates, trials = [], search.complete_trials()
    for done, trial in enumerate(trials, start=1):
        run_id = str(trial.run_id)
        if RunModel(client, run_id).exists():
            member = Member(trial.slot, run_id, trial.f1 or 0.0, 0)
            candidates.append((member, _levels(client, run_id, split)))
        progress("models asked for their probabilities", done, len(trials))
    return candidates


def _levels(client: Client, run_id: str, split: PackedSplit) -> np.ndarray:
    """The probabilities that a trial stored for these patches, or those that its model predicts now."""
    content = RunReader(client, find_run(client, run_id)).probabilities()
    if content is not None:
        with contextlib.suppress(ValueError):
            stored = StoredProbabilities.unpack(content)
            if stored.fingerprint == split.fingerprint and stored.ids == split.ids:
                return stored.levels
    predict = RunModel(client, run_id).load().network.predict_on_batch
    return quantise(np.stack([patch.probability for patch in predictions(predict, Patch.of_split(split))]))


def _recorded(
    client: Client, parent: Run, selected: SelectedEnsemble, data: TrainingData, root: str, progress: Progress
) -> Run:
    """The ensemble's run with all that it is to have: one model, scored on validation as it will be loaded."""
    ensemble = EnsembleRun.open(
        client, parent, identity=selected.identity, study=selected.study, data=data, root=root, note=_note(selected)
    )
    if ensemble.complete:
        return ensemble.run
    file, backend = _mean(client, selected, progress)
    network, split = load_bytes(file.content, file.sensor), data.validation
    predicted = list(predictions(network.predict_on_batch, Patch.of_split(split)))
    evaluation = evaluate_predictions(predicted, choose_threshold(predicted))
    scores = {f"{Metric.BEST_VAL}{name}": value for name, value in evaluation.metrics.items()}
    ensemble.fill(
        params=selected.params,
        data=data,
        root=root,
        metrics={**scores, Metric.BEST_THRESHOLD: evaluation.threshold, **costs(network, split.batch([0])[0])},
        texts={Artifact.VALIDATION_PATCHES: to_csv([score._asdict() for score in evaluation.worst_first])},
        record=selected.record,
        panels=validation_panels(split, lambda index: predicted[index].probability, evaluation.threshold),
        file=file,
        threshold=evaluation.threshold,
        backend=backend,
    )
    return find_run(client, ensemble.run.info.run_id)


def _mean(client: Client, selected: SelectedEnsemble, progress: Progress) -> tuple[ModelFile, str]:
    """The weighted mean of the members as one model, and Keras's backend."""
    models = []
    for done, member in enumerate(selected.members, start=1):
        models.append(RunModel(client, member.run_id).load())
        progress("members put together", done, len(selected.members))
    # Here, because loading the members has loaded Keras, with its start-up messages held back.
    import keras

    from lsml.models.ensemble import weighted_mean

    mean = weighted_mean([model.network for model in models], [member.weight for member in selected.members])
    return export(mean, models[0].sensor), keras.backend.backend()


def _answer(
    selected: SelectedEnsemble,
    run: Run,
    name: str,
    version: str,
    result: Mapping[str, Any],
    behind: str,
    alias: str,
    unreported: str,
) -> Ensemble:
    metrics = run.data.metrics
    best = result.get("network") or {"run_id": result["best_run_id"], "f1": result["best_value"]}
    return Ensemble(
        **vars(selected),
        run_id=run.info.run_id,
        model=name,
        version=version,
        f1=metrics[Metric.BEST_F1],
        threshold=metrics[Metric.BEST_THRESHOLD],
        best_run_id=best["run_id"],
        best_f1=best["f1"],
        parameters=int(metrics[Metric.PARAMETERS]),
        latency_ms=metrics[Metric.LATENCY],
        behind=behind,
        alias=alias,
        unreported=unreported,
    )
