"""KerasTuner's oracles as lsml asks them, and a search space as KerasTuner's hyperparameters."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from lsml.config.experiment import EPOCHS
from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.config.space import Dimension, Space
from lsml.config.study import BayesianTunerSettings, HyperbandTunerSettings, RandomTunerSettings, TunerSettings
from lsml.names import OBJECTIVE
from lsml.study.database import AttemptRecord

_NATIVE = ({int}, {float}, {str})
"""The types that a `Choice` keeps, where all of its values have one of them."""


class KerasSpace:
    """A search space as KerasTuner's hyperparameters."""

    def __init__(self, space: Space) -> None:
        self._dimensions = space.dimensions
        self._kinds = {spec.name: spec.kind for spec in TrainConfig.fields()}

    def declared(self) -> keras_tuner.HyperParameters:
        """All of the space, each field with all of its conditions.

        `conditional_scope` can say neither that a field has two parents nor that its parent has one too, so the
        conditions are given in the form in which KerasTuner stores them.
        """
        entries = [
            _entry(name, dimension, self._kinds[name], list(self._conditions(dimension)))
            for name, dimension in self._dimensions.items()
        ]
        hp = keras_tuner.HyperParameters()
        # Merged and not only read, which gives the fields that are active their defaults.
        hp.merge(keras_tuner.HyperParameters.from_config({"space": entries, "values": {}}))
        return hp

    def _conditions(self, dimension: Dimension) -> Iterator[dict[str, Any]]:
        """The conditions of a field; those of its parents need no mention, because without these it has no parent."""
        for parent in dimension.when:
            labels = [self._encoded(parent, value) for value in dimension.allowed(parent)]
            yield {"class_name": "Parent", "config": {"name": parent, "values": labels}}

    def encoded(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The values of fields of the space as KerasTuner has them."""
        return {name: self._encoded(name, value) for name, value in values.items()}

    def _encoded(self, name: str, value: Scalar) -> Scalar:
        dimension = self._dimensions[name]
        options = _options(dimension, self._kinds[name])
        if options is None:
            return value
        if dimension.choices is not None:
            return options.labels[options.values.index(value)]
        return min(options.labels, key=lambda label: abs(label - value))  # type: ignore[operator]  # numbers alone

    def decoded(self, values: Mapping[str, Any]) -> dict[str, Scalar]:
        """What KerasTuner's values of the space's fields mean; it has no others than those of active fields."""
        return {name: self.decode(name, values[name]) for name in self._dimensions if name in values}

    def decode(self, name: str, value: Any) -> Scalar:
        """What KerasTuner's value of a field means."""
        dimension, kind = self._dimensions[name], self._kinds[name]
        options = _options(dimension, kind)
        if options is not None:
            return options.values[options.labels.index(value)]
        low, high = _bounds(dimension)
        inside = min(max(value, low), high)
        return int(inside) if kind == "int" else float(inside)


class HyperSuggester:
    """`lsml.config.space.Suggester` on KerasTuner's hyperparameters, in which it declares the whole space."""

    def __init__(self, hp: keras_tuner.HyperParameters, space: Space) -> None:
        self._hp, self._space = hp, KerasSpace(space)
        hp.merge(self._space.declared(), overwrite=False)

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return self._value(name)

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return int(self._value(name))

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return float(self._value(name))

    def _value(self, name: str) -> Scalar:
        return self._space.decode(name, self._hp.get(name))


class _Options(NamedTuple):
    """Values to choose from, and what KerasTuner calls them."""

    values: tuple[Scalar, ...]
    labels: tuple[Scalar, ...]


def _options(dimension: Dimension, kind: str) -> _Options | None:
    """None where the dimension is a range."""
    if dimension.choices is not None:
        values = dimension.choices
        native = _is_switch(dimension) or set(map(type, values)) in _NATIVE
        return _Options(values, values if native else tuple(map(repr, values)))
    if kind == "int" or dimension.step is None:
        return None
    low, high = _bounds(dimension)
    steps = math.floor((high - low) / dimension.step + 1e-9)
    grid = tuple(min(low + number * dimension.step, high) for number in range(steps + 1))
    return _Options(grid, grid)


def _is_switch(dimension: Dimension) -> bool:
    return dimension.choices is not None and list(map(repr, sorted(dimension.choices, key=repr))) == ["False", "True"]


def _entry(name: str, dimension: Dimension, kind: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """A field in the form in which KerasTuner stores it."""
    common = {"name": name, "conditions": conditions}
    options = _options(dimension, kind)
    if _is_switch(dimension):
        return {"class_name": "Boolean", "config": common}
    if options is not None:
        return {"class_name": "Choice", "config": {**common, "values": list(options.labels)}}
    low, high = _bounds(dimension)
    step = int(dimension.step or 1) if kind == "int" and not dimension.log else None
    bounds = {"min_value": low, "max_value": high, "step": step, "sampling": "log" if dimension.log else "linear"}
    return {"class_name": "Int" if kind == "int" else "Float", "config": {**common, **bounds}}


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low, dimension.high


class NoProposal(Enum):
    """Why an oracle proposes nothing."""

    WAIT = "until a running trial has ended"
    END = "for good"


def propose(
    settings: TunerSettings, space: Space, trials: Sequence[FrozenTrial], *, slot: int, seed: int
) -> dict[str, Scalar] | NoProposal:
    """The values that the oracle proposes for a slot, given the trials of those before it.

    Under Hyperband `training.epochs` is one of the values, and each trial is trained anew from its first epoch:
    KerasTuner's own would continue with the weights of a shorter one, at the end of its learning-rate schedule.

    Args:
        trials: the attempts that count, those under way included; that of slot 0 is the base configuration.
        slot: the slot to fill.
        seed: belongs to this slot alone.
    """
    own = _oracles_part(settings, space)
    oracle = _make_oracle(settings, own, seed)
    recalled = [_recalled(own, trial) for trial in sorted(trials, key=lambda trial: AttemptRecord(trial).slot)]
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # The process warns of each length scale at a bound. Its matrices are so small that threads only get in the way.
        warnings.simplefilter("ignore")
        oracle.recall([trial for trial in recalled if trial.status != "RUNNING"])
        oracle.recall([trial for trial in recalled if trial.status == "RUNNING"])
        answer = oracle.populate_space(str(slot))
    if answer["status"] != "RUNNING":
        return NoProposal.WAIT if answer["status"] == "IDLE" else NoProposal.END
    values = answer["values"]
    return KerasSpace(own).decoded(values) | ({EPOCHS: int(values["tuner/epochs"])} if "tuner/epochs" in values else {})


def _oracles_part(settings: TunerSettings, space: Space) -> Space:
    """The space without what Hyperband sets itself."""
    if not isinstance(settings, HyperbandTunerSettings):
        return space
    return Space({name: dimension for name, dimension in space.dimensions.items() if name != EPOCHS})


def _recalled(space: Space, trial: FrozenTrial) -> Trial:
    hp = keras_tuner.HyperParameters()
    searched = {name: value for name, value in trial.params.items() if name in space.dimensions}
    hp.values = KerasSpace(space).encoded(searched)
    complete = trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    status = "COMPLETED" if complete else "FAILED" if trial.state.is_finished() else "RUNNING"
    recalled = Trial(hp, trial_id=str(AttemptRecord(trial).slot), status=status)
    recalled.score = trial.value if complete else None
    return recalled


class _Recalling(keras_tuner.Oracle):
    """An oracle that is told of trials that it did not propose itself."""

    def recall(self, trials: Sequence[Trial]) -> None:
        """Adds trials; running ones come last."""
        for trial in trials:
            self.trials[trial.trial_id] = trial
            self._record_values(trial)
            if trial.status == "RUNNING":
                self.ongoing_trials[trial.trial_id] = trial


class _Random(_Recalling, RandomSearchOracle):
    """Draws what was not tried yet."""


class _Bayesian(_Recalling, BayesianOptimizationOracle):
    """Gives running trials the score that its process expects of them, less one standard deviation.

    KerasTuner's asks the process as the last proposal left it. Here there was none, and a process that knows no
    trial would expect much less than any score.
    """

    def recall(self, trials: Sequence[Trial]) -> None:
        if self.trials and any(trial.status == "RUNNING" for trial in trials):
            points, scores = self._vectorize_trials()
            if len(points):
                self.gpr.fit(points, scores)
        super().recall(trials)


class _Hyperband(_Recalling, HyperbandOracle):
    """Reconstructs which trial was drawn for which bracket, and which was promoted to the next round.

    Drawn values are never drawn twice, so a trial with those of an earlier one is the next round of that.
    """

    def recall(self, trials: Sequence[Trial]) -> None:
        super().recall(trials)
        self._brackets.clear()
        self._current_bracket, self._current_iteration = self._get_num_brackets() - 1, 0
        self._start_new_bracket()
        places: dict[str, tuple[list[list[dict[str, str | None]]], int, str]] = {}
        for trial in sorted(self.trials.values(), key=lambda trial: int(trial.trial_id)):
            if trial.trial_id == _BASE:
                continue
            values = self._compute_values_hash(trial.hyperparameters.values)
            if values in places:
                rounds, number, earlier = places[values]
                number, past = number + 1, earlier
            else:
                rounds, number, past = self._open_rounds(), 0, None
            rounds[number].append({"past_id": past, "id": trial.trial_id})
            places[values] = (rounds, number, trial.trial_id)

    def _open_rounds(self) -> list[list[dict[str, str | None]]]:
        """The rounds of the newest bracket; of a new one, where that has all the trials that it draws."""
        if len(self._brackets[-1]["rounds"][0]) >= self._get_size(self._current_bracket, 0):
            self._increment_bracket_num()
            self._start_new_bracket()
        rounds: list[list[dict[str, str | None]]] = self._brackets[-1]["rounds"]
        return rounds


_BASE = "0"
"""The slot of the base configuration, which is trained in full and belongs to no bracket."""


_ORACLES: dict[type[TunerSettings], type[_Recalling]] = {
    RandomTunerSettings: _Random,
    BayesianTunerSettings: _Bayesian,
    HyperbandTunerSettings: _Hyperband,
}


def _make_oracle(settings: TunerSettings, space: Space, seed: int) -> _Recalling:
    # KerasTuner takes the seed 0 for none.
    common = {
        "objective": keras_tuner.Objective(OBJECTIVE, "max"),
        "hyperparameters": KerasSpace(space).declared(),
        "seed": max(seed, 1),
    }
    # The options of a tuner have the names of KerasTuner's own arguments.
    return _ORACLES[type(settings)](**common, **settings.model_dump(exclude={"name"}))
