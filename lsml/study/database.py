"""The studies in Optuna's database as lsml uses them, and how an attempt at a slot is read."""

import copy
import functools
import json
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

import optuna
import sqlalchemy
from optuna.distributions import json_to_distribution
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lsml.errors import ConfigError
from lsml.names import Attribute, EndState, State
from lsml.study.storage import GatedStorage, explain_study, open_storage
from lsml.workspace import missing_database

_STAGE = "/"
"""Stands in the names of a study's later stages, such as `demo/confirm`; no name that people give holds it."""


@dataclass(frozen=True)
class AttemptRecord:
    """What the database says of an attempt at a slot, which is one trial of Optuna's."""

    trial: FrozenTrial

    @property
    def slot(self) -> int:
        """The slot that it is for."""
        return int(self.trial.user_attrs[Attribute.SLOT])

    @property
    def ordinal(self) -> int:
        """Which try at its slot it is, from 1."""
        return int(self.trial.user_attrs[Attribute.ORDINAL])

    @property
    def superseded(self) -> bool:
        """Whether a later attempt has taken its place."""
        return Attribute.SUPERSEDED in self.trial.user_attrs

    @property
    def state(self) -> str:
        """Its state in lsml's words: waiting, running, complete, pruned, failed or superseded."""
        if self.trial.state.is_finished() and self.superseded:
            return State.SUPERSEDED
        return {TrialState.FAIL: State.FAILED}.get(self.trial.state, self.trial.state.name.lower())

    @property
    def params(self) -> dict[str, Any]:
        """The searched fields that it has, with their values."""
        return self.trial.params

    @property
    def run_id(self) -> str | None:
        """Its MLflow run, once there is one."""
        return self.trial.user_attrs.get(Attribute.RUN_ID)

    @property
    def f1(self) -> float | None:
        """F1 of its model where it ended complete or pruned; of what an earlier lsml pruned, of the last step."""
        value = self.trial.values[0] if self.trial.values else None
        return self.trial.user_attrs.get(Attribute.F1, value)

    @property
    def cost(self) -> float | None:
        """The second objective where it is complete and there are two."""
        return self.trial.values[1] if self.trial.values and len(self.trial.values) > 1 else None

    def cost_in(self, metric: str) -> float | None:
        """A cost of a complete attempt of any stage by its metric; None where it was not measured."""
        costs: dict[str, float] = self.trial.user_attrs.get(Attribute.COSTS, {})
        return costs.get(metric)

    @property
    def has_model(self) -> bool:
        """Whether the run of a complete attempt has a model."""
        return bool(self.trial.user_attrs.get(Attribute.MODEL))

    @property
    def threshold(self) -> float:
        """The probability from which a pixel counts as landslide, of a complete trial."""
        return float(self.trial.user_attrs[Attribute.THRESHOLD])

    @property
    def temperature(self) -> float:
        """What the logits of a complete trial's network are divided by; 1 where lsml did not know of it yet."""
        return float(self.trial.user_attrs.get(Attribute.TEMPERATURE, 1.0))

    @property
    def best_epoch(self) -> int:
        """The best epoch of a complete trial, or the mean of its folds' best epochs."""
        return int(self.trial.user_attrs[Attribute.BEST_EPOCH])


class CountedStudy(optuna.Study):
    """A study that shows its samplers, pruners and plots only the attempts that count.

    Attributes:
        gate: to its database, where it is in one.
    """

    gate: GatedStorage

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return [t for t in self.all_trials(deepcopy=deepcopy, states=states) if not AttemptRecord(t).superseded]

    def all_trials(self, *, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Every attempt, superseded ones included."""
        return self._with_runs(super().get_trials(deepcopy=deepcopy, states=states))

    def _with_runs(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The trials, those whose MLflow run was made after they were told of it with its id, or without one yet."""
        if not any(_is_identity(trial.user_attrs.get(Attribute.RUN_ID)) for trial in trials):
            return trials
        known = self.user_attrs.get(Attribute.RUNS, {})
        return [_with_run(trial, known) for trial in trials]

    def unlocated(self) -> list[str]:
        """The identities of the runs that trials were told of, and whose ids are not known yet."""
        told = [trial.user_attrs.get(Attribute.RUN_ID) for trial in super().get_trials(deepcopy=False)]
        known = self.user_attrs.get(Attribute.RUNS, {})
        return [run for run in told if _is_identity(run) and run not in known]

    def locate(self, ids: Mapping[str, str]) -> None:
        """Writes down the ids of runs by their identities: a trial that has ended takes no more attributes."""
        self.set_user_attr(Attribute.RUNS, {**self.user_attrs.get(Attribute.RUNS, {}), **ids})

    def close_open(self, reason: str) -> list[int]:
        """Ends every attempt under way as superseded; gives their trials' numbers."""
        orphans = self.all_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for orphan in orphans:
            self.supersede(optuna.trial.Trial(self, orphan._trial_id), reason)
        return [orphan.number for orphan in orphans]

    def supersede(self, trial: optuna.trial.Trial, reason: str) -> None:
        """Ends an attempt whose slot another one is to have."""
        trial.set_user_attr(Attribute.SUPERSEDED, reason)
        self.tell(trial, state=TrialState.FAIL)

    def states(self) -> dict[int, EndState]:
        """How every attempt that has ended did so, by trial number."""
        trials = self.all_trials(deepcopy=False)
        return {t.number: AttemptRecord(t).state for t in trials if t.state.is_finished()}  # type: ignore[misc]  # none runs

    def check_own(self) -> None:
        """Checks that lsml has made the study and all of its trials, of which each is for a slot.

        Raises:
            ConfigError: another program has made them.
        """
        if not self.is_own:
            raise ConfigError(
                f"study '{self.study_name}'",
                "lsml did not make it, or not all of its trials",
                "give lsml's own study another name with --study NAME, or another database with --storage URL",
            )

    @property
    def is_own(self) -> bool:
        """Whether it looks for the highest F1 first, and each of its trials is for a slot."""
        maximises = self.directions[0] == StudyDirection.MAXIMIZE
        return maximises and all(Attribute.SLOT in t.user_attrs for t in self.all_trials(deepcopy=False))

    @property
    def cost_metric(self) -> str | None:
        """The metric that is the second objective; None where there is one."""
        names = self.metric_names or ()
        return names[1] if len(names) > 1 else None

    @property
    def parent_run_id(self) -> str | None:
        """The MLflow run of the study, once there is one."""
        return self.user_attrs.get(Attribute.PARENT)

    @property
    def spec(self) -> dict[str, Any]:
        """What the study is, as plain data: `data`, `base`, `space`, `search`; nothing before it was noted."""
        return dict(self._noted(Attribute.SPEC) or {})

    @property
    def result(self) -> dict[str, Any] | None:
        """What the study came to, as plain data; None before that was noted."""
        return self._noted(Attribute.RESULT)

    def note(self, attribute: str, record: Mapping[str, Any]) -> None:
        """Writes down a `spec` or `result`, as a system attribute, which optuna-dashboard does not show."""
        self._storage.set_study_system_attr(self._study_id, attribute, dict(record))

    def _noted(self, attribute: str) -> dict[str, Any] | None:
        # Studies of an earlier lsml have both as user attributes.
        return self._storage.get_study_system_attrs(self._study_id).get(attribute) or self.user_attrs.get(attribute)

    def complete_trials(self, *, limit: float | None = None) -> list[AttemptRecord]:
        """The complete trials with a finite F1, the best first; of two equals the cheaper, then the earlier one.

        Args:
            limit: leaves out those whose second objective is above it.
        """
        complete = _best_first(self.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return [attempt for attempt in complete if within(limit, attempt.cost)]

    def best_complete(self, *, limit: float | None = None) -> AttemptRecord | None:
        """The first of `complete_trials`; None when there is none."""
        return next(iter(self.complete_trials(limit=limit)), None)

    def best_so_far(self) -> AttemptRecord | None:
        """The best trial, within the limit with which the study's result was chosen, where it has one."""
        return self.best_complete(limit=(self.result or {}).get("limit"))

    def pareto_front(self) -> list[AttemptRecord]:
        """The complete trials than which none is better in one objective and no worse in the other; best F1 first."""
        return _best_first(self.best_trials)

    def best_by(self, field: str, *, limit: float | None = None) -> dict[str, AttemptRecord]:
        """The best trial of each value of a searched field; among pruned ones where none is complete.

        Each of those pruned has a model too, of its best step.

        Args:
            limit: leaves out trials whose second objective is above it.
        """
        pruned = _best_first(self.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
        best: dict[str, AttemptRecord] = {}
        for attempt in [*self.complete_trials(limit=limit), *(attempt for attempt in pruned if attempt.run_id)]:
            if field in attempt.params:
                best.setdefault(str(attempt.params[field]), attempt)
        return best


def _is_identity(run: str | None) -> TypeGuard[str]:
    """Whether this names a run that MLflow had not made yet; its own ids have no slash."""
    return run is not None and "/" in run


def _with_run(trial: FrozenTrial, ids: Mapping[str, str]) -> FrozenTrial:
    run = trial.user_attrs.get(Attribute.RUN_ID)
    if not _is_identity(run):
        return trial
    located = copy.copy(trial)
    others = {key: value for key, value in trial.user_attrs.items() if key != Attribute.RUN_ID}
    located.user_attrs = others | ({Attribute.RUN_ID: ids[run]} if run in ids else {})
    return located


_PARTS = ("params", "values", "user_attributes", "system_attributes", "intermediate_values")


class _StoredStudy(CountedStudy):
    """A study of a database as it is when its attempts are first asked for; read with a query a table.

    Optuna makes an object of every value that a trial has, which takes six times as long.

    Args:
        name: of the study.
        storage: that holds it.
        parts: of its trials that are read; the others are empty.
    """

    def __init__(self, name: str, storage: GatedStorage, *, parts: Collection[str] = _PARTS) -> None:
        super().__init__(name, storage)
        self.gate, self._engine, self._read = storage, storage.engine, parts
        self._id = storage.get_study_id_from_name(name)

    def all_trials(self, *, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Every attempt, superseded ones included."""
        found = [trial for trial in self._attempts if states is None or trial.state in states]
        return self._with_runs(copy.deepcopy(found) if deepcopy else found)

    @functools.cached_property
    def _attempts(self) -> list[FrozenTrial]:
        return self.gate.repeat(self._read_attempts)

    def _read_attempts(self) -> list[FrozenTrial]:
        trials = _TABLES["trials"]
        with self._engine.connect() as connection:
            of = [self._rows(connection, _TABLES[f"trial_{name}"]) if name in self._read else {} for name in _PARTS]
            of_study = sqlalchemy.select(trials).where(trials.c.study_id == self._id).order_by(trials.c.trial_id)
            return [_trial(row, *(rows.get(row.trial_id, ()) for rows in of)) for row in connection.execute(of_study)]

    def _rows(self, connection: sqlalchemy.Connection, table: sqlalchemy.Table) -> dict[int, list[Any]]:
        """The rows of a table of trials' values, by trial, in the order in which they were written."""
        trials = _TABLES["trials"]
        chosen = sqlalchemy.select(table).join(trials, table.c.trial_id == trials.c.trial_id)
        rows: dict[int, list[Any]] = defaultdict(list)
        for row in connection.execute(chosen.where(trials.c.study_id == self._id).order_by(*table.primary_key)):
            rows[row.trial_id].append(row)
        return rows


_TABLES = models.BaseModel.metadata.tables

_distribution = functools.cache(json_to_distribution)


def _trial(row: Any, params: Any, values: Any, attributes: Any, system: Any, course: Any) -> FrozenTrial:
    """A trial as Optuna gives it, from the rows that belong to it."""
    distributions = {param.param_name: _distribution(param.distribution_json) for param in params}
    value_of = models.TrialValueModel.stored_repr_to_value
    intermediate_of = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    objectives = {each.objective: value_of(each.value, each.value_type) for each in values}
    return FrozenTrial(
        trial_id=row.trial_id,
        number=row.number,
        state=row.state,
        value=None,
        values=[objectives[number] for number in sorted(objectives)] or None,
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={each.param_name: distributions[each.param_name].to_external_repr(each.param_value) for each in params},
        distributions=distributions,
        user_attrs={each.key: json.loads(each.value_json) for each in attributes},
        system_attrs={each.key: json.loads(each.value_json) for each in system},
        intermediate_values={c.step: intermediate_of(c.intermediate_value, c.intermediate_value_type) for c in course},
    )


def _local(stored: datetime | None) -> datetime | None:
    """Times are stored in UTC, and are local in a trial, both without saying so."""
    return stored and stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def within(limit: float | None, cost: float | None) -> bool:
    """Whether a second objective is at most `limit`; without a limit, or without a cost, it is."""
    return limit is None or cost is None or cost <= limit


def _best_first(trials: Sequence[FrozenTrial]) -> list[AttemptRecord]:
    attempts = map(AttemptRecord, trials)
    finite = [attempt for attempt in attempts if attempt.f1 is not None and math.isfinite(attempt.f1)]
    return sorted(finite, key=lambda attempt: (-(attempt.f1 or 0.0), attempt.cost or 0.0, attempt.trial.number))


def stage_name(name: str, stage: str) -> str:
    """Under which name the database has a later stage of a study; the study itself, where `stage` is empty."""
    return f"{name}{_STAGE}{stage}" if stage else name


def make_study(
    storage: str, name: str, *, stage: str = "", pruner: optuna.pruners.BasePruner, cost: str | None = None
) -> CountedStudy:
    """The study of that name, created where there is none; with `stage`, the one that holds a later stage's attempts.

    Args:
        cost: the metric that is minimised as a second objective; F1 is maximised.

    Raises:
        ConfigError: another program has made a study of that name.
        StorageError: the database cannot be used.
    """
    opened, full = open_storage(storage), stage_name(name, stage)
    directions = [StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] if cost else [])]
    optuna.create_study(storage=opened, study_name=full, directions=directions, load_if_exists=True)
    study = CountedStudy(full, opened, pruner=pruner)
    study.gate = opened
    study.check_own()
    explain_study(study, opened, of=name, stage=stage, cost=cost)
    return study


def load_study(storage: str, name: str) -> _StoredStudy:
    """An existing study, to read.

    Raises:
        ConfigError: there is none of that name, or another program has made it.
        StorageError: the database cannot be used.
    """
    if file := missing_database(storage):
        raise ConfigError(f"study '{name}'", f"no database {file}", "work in your studies' folder, or give --storage")
    opened = open_storage(storage)
    try:
        study = _StoredStudy(name, opened)
    except KeyError:
        fix = f"existing studies: {', '.join(_names(opened)) or 'none yet'}"
        raise ConfigError(f"study '{name}'", "no such study in the database", fix) from None
    study.check_own()
    return study


def load_studies(storage: str) -> list[_StoredStudy]:
    """All of lsml's studies in the database, by name; of their trials values and attributes alone."""
    if missing_database(storage):
        return []
    opened, parts = open_storage(storage), ("values", "user_attributes")
    studies = [_StoredStudy(name, opened, parts=parts) for name in _names(opened)]
    return [study for study in studies if study.is_own]


def _names(storage: optuna.storages.BaseStorage) -> list[str]:
    return sorted(name for name in optuna.get_all_study_names(storage) if _STAGE not in name)
