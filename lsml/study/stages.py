"""The stages of a study after its search: confirmation in folds, training on all patches, baselines."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lsml.config.experiment import Experiment
from lsml.config.fields import Scalar, flatten
from lsml.config.schema import TrainConfig, with_values
from lsml.data.splits import FoldedData, Steps, StudyData, in_partition
from lsml.errors import StudyError
from lsml.names import Attribute, Role, StageRole
from lsml.scoring.calibration import rescale_threshold
from lsml.study.coordinator import Stage
from lsml.study.database import AttemptRecord, CountedStudy, make_study, stage_name
from lsml.study.storage import open_storage
from lsml.study.trial_queue import TrialQueue, fresh_seed
from lsml.training.outcome import Attempt, CvSummary, TrialFunction, TrialFunctions

_FRESH = 1
"""The first partition of the confirmation; the search has partition 0."""


@dataclass(frozen=True)
class Item:
    """One piece of work that a stage after the search consists of.

    Attributes:
        key: two items of one key are the same work.
        label: names it within its stage, such as `trial 3`.
        config: what to train.
        searched: the values in `config` that the search chose, by dotted field name.
        params: what its run shows as parameters.
    """

    key: str
    label: str
    config: TrainConfig
    searched: Mapping[str, Scalar]
    params: Mapping[str, Scalar]

    @classmethod
    def of(cls, label: str, config: TrainConfig, searched: Mapping[str, Scalar], *more: Any) -> "Item":
        """A training of a configuration; `more` is what else it depends on."""
        content = json.dumps([flatten(config), more], sort_keys=True)
        shown = config.unlike_default(*searched)
        return cls(hashlib.sha256(content.encode()).hexdigest(), label, config, searched, shown)


class _ListedQueue(TrialQueue):
    """A stage after the search: a list of items, none of which is pruned.

    What was done before is not done again; what failed before is, since the study cannot end well without it.

    Args:
        storage: the database's URL.
        name: the study's name.
        role: what the stage is, such as `confirm`.
        items: what is to be done, with a key each.

    Raises:
        StorageError: the database cannot be used.
    """

    def __init__(self, storage: str, name: str, role: StageRole, items: Sequence[Item], *, max_retries: int) -> None:
        study = make_study(storage, name, stage=role, pruner=optuna.pruners.NopPruner())
        super().__init__(study, max_retries=max_retries)
        self._role, self._items = role, {item.key: item for item in items}
        # Slots belong to keys in the order in which these first came up, so a list that changes moves nothing.
        known = list(study.user_attrs.get(Attribute.ITEMS, []))
        self._keys = known + [key for key in self._items if key not in known]
        study.set_user_attr(Attribute.ITEMS, self._keys)
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        self._failed_before = {trial.number for trial in failed}

    def wanted(self) -> Sequence[int]:
        """The slots of the items; others are left of lists before."""
        return [slot for slot, key in enumerate(self._keys) if key in self._items]

    def report(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> bool:
        """Always True: nothing here is pruned."""
        return True

    def _is_void(self, trial: FrozenTrial) -> bool:
        return super()._is_void(trial) or trial.number in self._failed_before

    def trial_of(self, key: str) -> AttemptRecord | None:
        """The complete trial of an item; None where it failed or has not ended."""
        return next(iter(self._ended(key, TrialState.COMPLETE)), None)

    def reason_of(self, key: str) -> str:
        """Why the item failed."""
        failed = self._ended(key, TrialState.FAIL)
        return str(failed[-1].trial.user_attrs.get(Attribute.REASON, "")) if failed else ""

    def _ended(self, key: str, state: TrialState) -> list[AttemptRecord]:
        attempts = map(AttemptRecord, self.study.get_trials(deepcopy=False, states=(state,)))
        return [attempt for attempt in attempts if attempt.slot == self._keys.index(key)]

    def _first_parameters(self, slot: int) -> dict[str, Any]:
        return {}

    def _attempt(self, trial: Trial, slot: int, ordinal: int) -> Attempt:
        item = self._items[self._keys[slot]]
        return Attempt(
            number=trial.number,
            slot=slot,
            ordinal=ordinal,
            role=self._role,
            label=item.label,
            config=item.config,
            searched=item.searched,
            params=item.params,
        )


class Scored(NamedTuple):
    """An item, the trial that scored it, and why there is none or it is not what is registered."""

    item: Item
    trial: AttemptRecord | None
    reason: str = ""

    @property
    def f1(self) -> float:
        """Of a trial that completed."""
        value = self.trial.f1 if self.trial else None
        assert value is not None
        return value

    @property
    def run_id(self) -> str:
        """Of a trial that completed."""
        assert self.trial is not None
        return str(self.trial.run_id)


@dataclass(frozen=True)
class LaterStages:
    """Runs the stages on the study's workers, each to its end; what was done before is not done again."""

    experiment: Experiment
    data: StudyData
    study: str
    storage: str
    functions: TrialFunctions
    run_stage: Callable[[Stage], None]

    @property
    def base(self) -> TrainConfig:
        """The base configuration with a seed that no trial of the search had."""
        return with_values(self.experiment.base, {"seed": fresh_seed(self.experiment.study.seed)})

    @property
    def scored_data(self) -> StudyData:
        """What configurations and baselines are compared on: in folds, in other ones than those of the search."""
        return in_partition(self.data, _FRESH)

    def again(self, trial: AttemptRecord) -> Item:
        """A trial's configuration with the base's seed."""
        return self._confirmed(f"trial {trial.slot}", with_values(self.base, trial.params), trial.params)

    def confirm(self, finalists: Sequence[Item], *, with_base: bool) -> list[Scored]:
        """The base, where it is wanted, and the finalists, all in the same folds and with the same seed."""
        tuned = {0: "", 1: "the best tuned configuration"}.get(
            len(finalists), f"the best {len(finalists)} tuned configurations"
        )
        which = " and ".join(filter(None, [tuned, "the base" if with_base else ""]))
        base = [self._confirmed("base", self.base, {})] if with_base else []
        return self._run(
            Role.CONFIRM,
            f"confirming in other folds, with a fresh seed: {which}",
            [*base, *finalists],
            data=self.scored_data,
            function=lambda attempt: self.functions.confirm,
        )

    def _confirmed(self, label: str, config: TrainConfig, searched: Mapping[str, Scalar]) -> Item:
        return Item.of(label, config, searched, _FRESH)

    def refit(self, chosen: Scored) -> str:
        """The run of the chosen configuration's network, trained on all patches.

        Raises:
            StudyError: it failed.
        """
        assert chosen.trial is not None
        trial = chosen.trial
        raw_threshold = rescale_threshold(trial.threshold, 1 / trial.temperature)
        summary = CvSummary(chosen.f1, raw_threshold, trial.best_epoch, trial.temperature)
        item = Item.of(chosen.item.label, chosen.item.config, chosen.item.searched, *summary)
        function = partial(self.functions.refit, summary=summary)
        (done,) = self._run(
            Role.REFIT,
            f"training the configuration of {item.label} on all {len(self.data.splits[0])} patches",
            [item],
            data=self.data,
            function=lambda attempt: function,
            steps=Steps("epoch", summary.epochs),
        )
        if done.trial is None:
            what = f"study '{self.study}'"
            raise StudyError(what, f"training on all patches failed: {done.reason}", "run the same command again")
        return done.run_id

    def baselines(self) -> list[Scored]:
        """The baselines that have the bands that they need, scored as the configurations are."""
        folded = isinstance(self.data, FoldedData)
        functions = {**self.functions.baselines, **(self.functions.fold_baselines if folded else {})}
        sensor, roles = self.data.splits[0].sensor, self.functions.roles
        usable = [name for name in functions if sensor.has(*roles.get(name, ()))]
        key = f"{_FRESH} " if folded else ""
        return self._run(
            Role.BASELINE,
            f"scoring baselines {'in the same folds' if folded else 'on validation patches'}",
            [Item(key + name, name, self.base, {}, {"baseline": name}) for name in usable],
            data=self.scored_data,
            function=lambda attempt: functions[attempt.label],
            steps=None if folded else Steps("fit", 1),
        )

    def _run(
        self,
        role: StageRole,
        title: str,
        items: Sequence[Item],
        *,
        data: StudyData,
        function: Callable[[Attempt], TrialFunction],
        steps: Steps | None = None,
    ) -> list[Scored]:
        """Runs a stage; `steps` where its attempts report others than a training on these data does."""
        retries = self.experiment.study.max_retries
        queue = _ListedQueue(self.storage, self.study, role, items, max_retries=retries)
        self.run_stage(Stage(role, title, queue, function, lambda attempt: steps or data.steps(attempt.config), data))
        ended = [(item, queue.trial_of(item.key)) for item in items]
        return [Scored(item, trial, "" if trial else queue.reason_of(item.key)) for item, trial in ended]


def begun_stages(storage: str, name: str) -> dict[StageRole, CountedStudy]:
    """The stages that a study has begun, to be written to, by what they are.

    Raises:
        StorageError: the database cannot be used.
    """
    opened, stages = open_storage(storage), dict[StageRole, CountedStudy]()
    names = optuna.get_all_study_names(opened)
    for role in (Role.TRIAL, Role.CONFIRM, Role.REFIT, Role.BASELINE):
        if (full := stage_name(name, "" if role == Role.TRIAL else role)) in names:
            stages[role] = CountedStudy(full, opened)
            stages[role].gate = opened
    return stages
