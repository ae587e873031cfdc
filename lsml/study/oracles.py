"""KerasTuner's oracles as lsml asks them: each is built anew for one slot, from its seed and the study's trials.

An oracle only proposes values. The slots, the database and what becomes of a trial are those of any other study, so a
study that was killed goes on with the same choices.
"""

import math
import warnings
from collections.abc import Sequence
from enum import Enum

import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from lsml.config import OBJECTIVE, Scalar
from lsml.experiment import (
    EPOCHS,
    BayesianTunerSettings,
    HyperbandTunerSettings,
    RandomTunerSettings,
    TunerSettings,
)
from lsml.space import Space
from lsml.study.database import slot_of
from lsml.study.hyperparameters import declared, decoded, encoded


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
