"""Ensembles: of a finished study's models those whose mean is best on validation, registered as one model."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lsml.config.experiment import check_name
from lsml.config.fields import Scalar
from lsml.config.schema import LATENCY, PARAMETERS
from lsml.data.pack import PackedSplit
from lsml.data.splits import TrainingData
from lsml.errors import ConfigError, StudyError
from lsml.evaluation.evaluate import Evaluation, Patch, draw, evaluate
from lsml.scoring.ensemble_selection import HeldOut, Selection, held_out, quantise, select
from lsml.scoring.ensemble_selection import unpack_probabilities as unpack
from lsml.scoring.metrics import PooledCounts, to_csv
from lsml.study.database import complete_trials, f1_of, load_study, parent_run_of, result_of, run_id_of, slot_of
from lsml.study.trial import panel_patches
from lsml.training.outcome import PATCH_TABLE, Panel
from lsml.workflows.sources import Progress, load_model, recorded_data
from lsml.workspace import DEFAULT_STORAGE, STATE_FOLDER, alone

if TYPE_CHECKING:
    import keras

_BATCH = 16
_F1, _THRESHOLD = "best_val_f1", "best_val_threshold"


class Member(NamedTuple):
    """A trial of which an ensemble can be made.

    Attributes:
        trial: its slot.
        f1: its own on validation, 0..1.
        weight: how often it counts in the ensemble.
    """

    trial: int
    run_id: str
    f1: float
    weight: int


@dataclass(frozen=True)
class Ensemble:
    """What was registered.

    Attributes:
        run_id: its run, below the study's.
        members: those that count, the one with the highest weight first.
        candidates: how many models it was selected from.
        patches: of validation, on which it was selected.
        f1: on those patches at `threshold`, which was chosen on them too, 0..1.
        best_run_id: the run of the best trial alone, and `best_f1` its F1 on the same patches.
        held_out: what such a selection came to on patches that it did not see; None where these are too few to tell.
        parameters: all its weights.
        latency_ms: milliseconds per patch here, a measurement.
    """

    study: str
    run_id: str
    model: str
    version: str
    members: tuple[Member, ...]
    candidates: int
    patches: int
    f1: float
    threshold: float
    best_run_id: str
    best_f1: float
    held_out: HeldOut | None
    parameters: int
    latency_ms: float


class _Candidate(NamedTuple):
    member: Member
    levels: np.ndarray


def ensemble(
    study: str, *, most: int, name: str | None, storage: str | None, data: Path | None, progress: Progress
) -> Ensemble:
    """Selects an ensemble of a finished study's complete trials, and registers it as one model; trains nothing.

    The same command again finds the same ensemble, and does what a kill left undone.

    Args:
        most: members at most, each counted as often as it was taken.
        name: of the registered model; None for the study's.
        data: the folder of the patches, where they have moved.

    Raises:
        ConfigError: no such study, or one whose trials were judged in folds.
        DataError: the patches are not there, or are others.
        StorageError: a store cannot be used, or another process makes an ensemble of this study.
        StudyError: it has not ended, has fewer than two models, or no ensemble is better on validation than its best.
    """
    from lsml.tracking.runs import DATA_ROOT, FOLDS, find_run
    from lsml.tracking.store import open_client

    search = load_study(storage or DEFAULT_STORAGE, check_name("study", study))
    result = result_of(search)
    if result is None:
        raise StudyError(f"study '{study}'", "has not ended", "go on with lsml tune, then ask again")
    registered = check_name("model", name) if name else str(result["model"])
    client = open_client()
    parent = find_run(client, str(parent_run_of(search)))
    if FOLDS in parent.data.tags:
        raise ConfigError(
            f"study '{study}'",
            "its trials were judged in folds, which leave many networks and no model of each trial",
            "tune without data.folds, on patches enough for a validation split",
        )
    with alone(
        STATE_FOLDER / "locks" / f"ensemble-{study}.lock",
        f"study '{study}'",
        why="another process makes an ensemble of it",
        fix="wait for it, then ask again",
    ):
        patches = recorded_data(parent.data.tags, data, progress)
        assert isinstance(patches, TrainingData)
        candidates = _candidates(client, search, patches.validation, progress)
        if len(candidates) < 2:
            raise StudyError(
                f"study '{study}'",
                f"{len(candidates)} of its complete trials have a model, and an ensemble needs two",
                "go on with more --trials",
            )
        found = _Selected.of(study, candidates, patches, most)
        root = (data or Path(parent.data.tags[DATA_ROOT])).resolve()
        run = _recorded(client, parent, found, str(root), progress)
        version = _register(client, run, registered, found, parent.info.run_id)
    return _answer(found, run, registered, version, result)


def _candidates(client: Any, search: Any, split: PackedSplit, progress: Progress) -> list[_Candidate]:
    """The complete trials that have a model, the best first, with what each says of the validation patches."""
    from lsml.tracking.models import has_model

    found, trials = [], complete_trials(search)
    for done, trial in enumerate(trials, start=1):
        run_id = str(run_id_of(trial))
        if has_model(client, run_id):
            member = Member(slot_of(trial), run_id, f1_of(trial) or 0.0, 0)
            found.append(_Candidate(member, _levels(client, run_id, split)))
        progress("models asked for their probabilities", done, len(trials))
    return found


def _levels(client: Any, run_id: str, split: PackedSplit) -> np.ndarray:
    """What a trial kept of these patches, or what its model says of them now."""
    from lsml.tracking.study import kept_probabilities

    content = kept_probabilities(client, run_id)
    if content is not None:
        with contextlib.suppress(ValueError):
            kept = unpack(content)
            if kept.fingerprint == split.fingerprint and kept.ids == split.ids:
                return kept.levels
    return quantise(_said(load_model(client, run_id).network, split))


def _said(network: "keras.Model", split: PackedSplit) -> np.ndarray:
    """Landslide probabilities float32 `(N, H, W)` of all patches."""
    starts = range(0, len(split), _BATCH)
    groups = [np.arange(start, min(start + _BATCH, len(split))) for start in starts]
    return np.concatenate([np.asarray(network.predict_on_batch(split.batch(group)[0]))[..., 0] for group in groups])


@dataclass(frozen=True)
class _Selected:
    """An ensemble that was selected and is to be recorded."""

    study: str
    data: TrainingData
    selection: Selection
    members: tuple[Member, ...]
    candidates: int
    held_out: HeldOut | None

    @classmethod
    def of(cls, study: str, candidates: Sequence[_Candidate], data: TrainingData, most: int) -> "_Selected":
        levels = [candidate.levels for candidate in candidates]
        masks = np.stack([data.validation.mask(index) for index in range(len(data.validation))])
        chosen = select(levels, masks, most=most)
        weighted = zip(candidates, chosen.weights, strict=True)
        members = [candidate.member._replace(weight=weight) for candidate, weight in weighted if weight]
        if len(members) == 1:
            raise StudyError(
                f"study '{study}'",
                f"no mean of its {len(candidates)} models has a higher F1 on validation than trial {members[0].trial} "
                f"alone ({members[0].f1:.4f})",
                f"use that one: lsml evaluate --run-id {members[0].run_id}",
            )
        # Stable: of equal weights the better trial first.
        members.sort(key=lambda member: -member.weight)
        return cls(study, data, chosen, tuple(members), len(candidates), held_out(levels, masks, most=most))

    @property
    def identity(self) -> str:
        """Of what the ensemble is made, 64 hex digits."""
        content = sorted((member.run_id, member.weight) for member in self.members)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def params(self) -> dict[str, Scalar]:
        """What its run shows."""
        found: dict[str, Scalar] = {
            "ensemble.members": ", ".join(f"trial {m.trial} x {m.weight}" for m in self.members),
            "ensemble.candidates": self.candidates,
        }
        for number, member in enumerate(self.members, start=1):
            place = f"ensemble.member_{number}"
            found |= {f"{place}.run_id": member.run_id, f"{place}.weight": member.weight}
        return found

    @property
    def record(self) -> dict[str, Any]:
        """All of the selection as plain data."""
        return {
            "members": [member._asdict() for member in self.members],
            "candidates": self.candidates,
            "course": list(self.selection.course),
            "held_out": self.held_out and self.held_out._asdict(),
            "patches": len(self.data.validation),
        }

    @property
    def note(self) -> str:
        """For its page in MLflow."""
        rows = [f"| trial {m.trial} | {m.weight} | {m.f1:.4f} | `{m.run_id}` |" for m in self.members]
        return "\n".join(
            [
                f"The weighted mean of {len(self.members)} models of study `{self.study}`, selected from "
                f"{self.candidates} on the {len(self.data.validation)} validation patches (greedily, with replacement: "
                "Caruana et al. 2004). Its scores on these patches are therefore too good; judge it on the test split.",
                "",
                "| member | counts | its own F1 on validation | run |",
                "|---|---|---|---|",
                *rows,
            ]
        )


class _Made(NamedTuple):
    """The ensemble as one model, judged on validation."""

    content: Any
    evaluation: Evaluation
    panels: tuple[Panel, ...]
    costs: Mapping[str, float]
    backend: str


def _recorded(client: Any, parent: Any, found: _Selected, root: str, progress: Progress) -> Any:
    """The ensemble's run with all that it is to have."""
    from lsml.tracking.runs import find_run
    from lsml.tracking.study import fill_ensemble_run, is_complete, open_ensemble_run

    run = open_ensemble_run(
        client, parent, identity=found.identity, study=found.study, data=found.data, root=root, note=found.note
    )
    if is_complete(run):
        return run
    made = _make(client, found, progress)
    judged = made.evaluation
    scores = {f"best_val_{name}": value for name, value in judged.metrics.items()}
    fill_ensemble_run(
        client,
        run.info.run_id,
        params=found.params,
        data=found.data,
        root=root,
        metrics={**scores, _THRESHOLD: judged.threshold, **made.costs},
        texts={PATCH_TABLE: to_csv([score._asdict() for score in judged.patches])},
        record=found.record,
        panels=made.panels,
        file=made.content,
        threshold=judged.threshold,
        backend=made.backend,
    )
    return find_run(client, run.info.run_id)


def _make(client: Any, found: _Selected, progress: Progress) -> _Made:
    """One network of the members, judged as it will be loaded: from its file."""
    networks = []
    for done, member in enumerate(found.members, start=1):
        networks.append(load_model(client, member.run_id).network)
        progress("members put together", done, len(found.members))
    import keras

    from lsml.models.ensemble import weighted_mean
    from lsml.models.export import costs, export, load_bytes

    file = export(weighted_mean(networks, [member.weight for member in found.members]))
    network, split = load_bytes(file.content), found.data.validation
    said = _said(network, split)
    counts = PooledCounts()
    counts.update(np.stack([split.mask(index) for index in range(len(split))]), said)
    threshold = counts.best_threshold()
    predict = network.predict_on_batch
    judged = evaluate(predict, _patches(split, range(len(split))), threshold, split="validation")
    panels = draw(predict, list(_patches(split, panel_patches(split))), threshold, split="validation")
    return _Made(file, judged, panels, costs(network, split.batch([0])[0]), keras.backend.backend())


def _patches(split: PackedSplit, places: Iterable[int]) -> Iterator[Patch]:
    return (Patch(split.ids[place], split.image(place), split.mask(place)) for place in places)


def _register(client: Any, run: Any, name: str, found: _Selected, study_run_id: str) -> str:
    """The version of `name` that is this ensemble, to which the alias `ensemble` then points."""
    from lsml.tracking.models import register
    from lsml.tracking.study import ENSEMBLE

    tags = {
        "lsml.study": found.study,
        "lsml.study_run_id": study_run_id,
        "best_val_f1": f"{run.data.metrics[_F1]:.6f}",
        "lsml.members": str(found.params["ensemble.members"]),
    }
    return register(client, run.info.run_id, name, aliases=[ENSEMBLE], tags=tags)


def _answer(found: _Selected, run: Any, name: str, version: str, result: Mapping[str, Any]) -> Ensemble:
    metrics = run.data.metrics
    return Ensemble(
        study=found.study,
        run_id=run.info.run_id,
        model=name,
        version=version,
        members=found.members,
        candidates=found.candidates,
        patches=len(found.data.validation),
        f1=metrics[_F1],
        threshold=metrics[_THRESHOLD],
        best_run_id=result["best_run_id"],
        best_f1=result["best_value"],
        held_out=found.held_out,
        parameters=int(metrics[PARAMETERS]),
        latency_ms=metrics[LATENCY],
    )
