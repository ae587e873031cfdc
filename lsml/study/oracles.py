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
from lsml.config.schema import OBJECTIVE, fields
from lsml.config.space import Dimension, Space, allowed
from lsml.config.study import BayesianTunerSettings, HyperbandTunerSettings, RandomTunerSettings, TunerSettings
from lsml.study.database import slot_of

_NATIVE = ({int}, {float}, {str})
"""The types that a `Choice` keeps, where all of its values have one of them."""


class HyperSuggester:
    """`lsml.config.space.Suggester` on KerasTuner's hyperparameters, in which it declares the whole space."""

    def __init__(self, hp: keras_tuner.HyperParameters, space: Space) -> None:
        hp.merge(declared(space), overwrite=False)
        self._hp, self._space, self._kinds = hp, space, _kinds()

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return self._value(name)

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return int(self._value(name))

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return float(self._value(name))

    def _value(self, name: str) -> Scalar:
        return _decoded(self._space.dimensions[name], self._kinds[name], self._hp.get(name))


def declared(space: Space) -> keras_tuner.HyperParameters:
    """All of a space as KerasTuner has it, each field with all of its conditions.

    `conditional_scope` can say neither that a field has two parents nor that its parent has one too, so the conditions
    are given in the form in which KerasTuner stores them.
    """
    kinds = _kinds()
    entries = [
        _entry(name, dimension, kinds[name], list(_conditions(space, dimension, kinds)))
        for name, dimension in space.dimensions.items()
    ]
    hp = keras_tuner.HyperParameters()
    # Merged and not only read, which gives the fields that are active their defaults.
    hp.merge(keras_tuner.HyperParameters.from_config({"space": entries, "values": {}}))
    return hp


def encoded(space: Space, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The values of fields of the space as KerasTuner has them."""
    kinds = _kinds()
    return {name: _encoded(space.dimensions[name], kinds[name], value) for name, value in values.items()}


def decoded(space: Space, values: Mapping[str, Any]) -> dict[str, Scalar]:
    """What KerasTuner's values of the space's fields mean; it has no others than those of active fields."""
    kinds = _kinds()
    return {
        name: _decoded(dimension, kinds[name], values[name])
        for name, dimension in space.dimensions.items()
        if name in values
    }


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


def _conditions(space: Space, dimension: Dimension, kinds: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The conditions of a field; those of its parents need no mention, because without these it has no parent."""
    for parent, condition in dimension.when.items():
        labels = [_encoded(space.dimensions[parent], kinds[parent], value) for value in allowed(condition)]
        yield {"class_name": "Parent", "config": {"name": parent, "values": labels}}


def _encoded(dimension: Dimension, kind: str, value: Scalar) -> Scalar:
    options = _options(dimension, kind)
    if options is None:
        return value
    if dimension.choices is not None:
        return options.labels[options.values.index(value)]
    return min(options.labels, key=lambda label: abs(label - value))  # type: ignore[operator]


def _decoded(dimension: Dimension, kind: str, value: Any) -> Scalar:
    options = _options(dimension, kind)
    if options is not None:
        return options.values[options.labels.index(value)]
    low, high = _bounds(dimension)
    inside = min(max(value, low), high)
    return int(inside) if kind == "int" else float(inside)


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low, dimension.high


def _kinds() -> dict[str, str]:
    return {spec.name: spec.kind for spec in fields()}


class Verdict(Enum):
    """Why an oracle proposes nothing."""

    WAIT = "until a trial under way has ended"
    END = "for good"


def propose(
    settings: TunerSettings, space: Space, trials: Sequence[FrozenTrial], *, slot: int, seed: int
) -> dict[str, Scalar] | Verdict:
    """What the oracle would try in a slot, given what was tried in those before it.

    Under Hyperband `training.epochs` is one of the values, and each trial is trained anew from its first epoch:
    KerasTuner's own would go on with the weights of a shorter one, whose learning rate has been down its whole course.

    Args:
        trials: the attempts that count, those under way included; that of slot 0 is the base configuration.
        slot: the slot to fill.
        seed: belongs to this slot alone.
    """
    own = _oracles_part(settings, space)
    oracle = _make_oracle(settings, own, seed)
    recalled = [_recalled(own, trial) for trial in sorted(trials, key=slot_of)]
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # The process warns of each length scale at a bound. Its matrices are so small that threads only get in the way.
        warnings.simplefilter("ignore")
        oracle.recall([trial for trial in recalled if trial.status != "RUNNING"])
        oracle.recall([trial for trial in recalled if trial.status == "RUNNING"])
        answer = oracle.populate_space(str(slot))
    if answer["status"] != "RUNNING":
        return Verdict.WAIT if answer["status"] == "IDLE" else Verdict.END
    values = answer["values"]
    return decoded(own, values) | ({EPOCHS: int(values["tuner/epochs"])} if "tuner/epochs" in values else {})


def _oracles_part(settings: TunerSettings, space: Space) -> Space:
    """The space without what Hyperband sets itself."""
    if not isinstance(settings, HyperbandTunerSettings):
        return space
    return Space({name: dimension for name, dimension in space.dimensions.items() if name != EPOCHS})


def _recalled(space: Space, trial: FrozenTrial) -> Trial:
    hp = keras_tuner.HyperParameters()
    hp.values = encoded(space, {name: value for name, value in trial.params.items() if name in space.dimensions})
    complete = trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    status = "COMPLETED" if complete else "FAILED" if trial.state.is_finished() else "RUNNING"
    recalled = Trial(hp, trial_id=str(slot_of(trial)), status=status)
    recalled.score = trial.value if complete else None
    return recalled


class _Recalling(keras_tuner.Oracle):  # type: ignore[misc]  # keras_tuner has no types
    """An oracle that is told of trials that it did not give out itself."""

    def recall(self, trials: Sequence[Trial]) -> None:
        """Takes note of trials; those under way come last."""
        for trial in trials:
            self.trials[trial.trial_id] = trial
            self._record_values(trial)
            if trial.status == "RUNNING":
                self.ongoing_trials[trial.trial_id] = trial


class _Random(_Recalling, RandomSearchOracle):  # type: ignore[misc]
    """Draws what was not tried yet."""


class _Bayesian(_Recalling, BayesianOptimizationOracle):  # type: ignore[misc]
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


class _Hyperband(_Recalling, HyperbandOracle):  # type: ignore[misc]
    """Finds out again which trial was drawn for which bracket, and which went on to the next round.

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
        return self._brackets[-1]["rounds"]


_BASE = "0"
"""The slot of the base configuration, which is trained in full and belongs to no bracket."""


def _make_oracle(settings: TunerSettings, space: Space, seed: int) -> _Recalling:
    # KerasTuner takes the seed 0 for none.
    common = {
        "objective": keras_tuner.Objective(OBJECTIVE, "max"),
        "hyperparameters": declared(space),
        "seed": max(seed, 1),
    }
    match settings:
        case RandomTunerSettings():
            return _Random(**common)
        case BayesianTunerSettings():
            return _Bayesian(
                **common,
                num_initial_points=settings.num_initial_points,
                alpha=settings.alpha,
                beta=settings.beta,
            )
        case HyperbandTunerSettings():
            return _Hyperband(
                **common,
                max_epochs=settings.max_epochs,
                factor=settings.factor,
                hyperband_iterations=settings.hyperband_iterations,
            )
