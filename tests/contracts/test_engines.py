"""What every engine must do: Optuna, and KerasTuner with each of its tuners, on the same slots and the same space."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lsml.config.experiment import Experiment
from lsml.config.schema import TrainConfig, with_values
from lsml.config.space import Space
from lsml.config.study import DataEntry, StudySettings, TunerSettings
from lsml.data.splits import Steps
from lsml.errors import ConfigError
from lsml.names import OBJECTIVE, Attribute
from lsml.study.database import AttemptRecord
from lsml.study.search import study_spec
from lsml.study.trial_queue import SearchQueue
from lsml.training.outcome import Attempt, TrialOutcome

EPOCHS = "training.epochs"
BASE = with_values(TrainConfig(), {"training.epochs": 4, "model.depth": 3})
TREE: dict[str, Any] = {
    "model.architecture": {"choices": ["unet", "resnet_unet"]},
    "model.attention": {"choices": ["none", "gate", "squeeze_excitation"]},
    "model.deep_supervision": {"choices": [False, True]},
    "model.depth": {"low": 2, "high": 5},
    # Two parents, one of them with several values; and a parent that has a parent.
    "model.dropout": {
        "low": 0.0,
        "high": 0.3,
        "step": 0.1,
        "when": {"model.attention": ["none", "gate"], "model.deep_supervision": False},
    },
    "model.encoder": {"choices": ["resnet18", "resnet50"], "when": {"model.architecture": "resnet_unet"}},
    "model.stem": {"choices": ["inflate", "project"], "when": {"model.encoder": "resnet50"}},
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "training.batch_size": {"low": 8, "high": 32, "step": 8, "when": {"model.architecture": "unet"}},
    "model.filters": {"low": 4, "high": 64, "log": True},
    "training.weight_averaging": {"choices": [0, 0.9, 0.99]},
}
SPACE = Space.parse(TREE, BASE)
NUMBERS = Space.parse({name: TREE[name] for name in ("model.depth", "training.learning_rate")}, BASE)
FEW = Space.parse(
    {name: TREE[name] for name in ("model.architecture", "model.depth", "model.encoder", "training.learning_rate")},
    BASE,
)
SWITCHES = Space.parse({"model.deep_supervision": TREE["model.deep_supervision"]}, BASE)

# What lets a tuner show itself in the few trials of these tests; any other one has its defaults.
OPTIONS = {
    "bayesian": {"num_initial_points": 4},
    # Two trials of one epoch, the better one again with two, then two of two; and all of that once more.
    "hyperband": {"factor": 2, "max_epochs": 2, "hyperband_iterations": 2},
}
KERAS_TUNER = [
    pytest.param({"engine": "keras-tuner", "tuner": {"name": name} | OPTIONS.get(name, {})}, id=name)
    for name in TunerSettings.kinds()
]
ENGINES = [
    pytest.param({"engine": "optuna", "sampler": {"name": "tpe", "startup_trials": 3}}, id="optuna"),
    *KERAS_TUNER,
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def prepared(space: Space = SPACE, **settings: Any) -> Experiment:
    """An experiment as its engine searches it."""
    study = StudySettings.model_validate(settings)
    data = DataEntry(path="unused")
    return Experiment(name="x", description="", data=data, base=BASE, space=space, study=study).for_engine()


def opened(name: str, *, space: Space = SPACE, **settings: Any) -> SearchQueue:
    """The study as a process that just started has it; what an earlier one left open is closed."""
    experiment = prepared(space, **settings)
    queue = SearchQueue(
        "sqlite:///optuna.db", name, space=experiment.space, base=BASE, settings=experiment.study, spec={}
    )
    queue.close_open("killed")
    return queue


def score(attempt: Attempt) -> float:
    """Best at a learning rate of 10**-2.5 and depth 3; better with more epochs."""
    config = attempt.config
    distance = abs(math.log10(config.training.learning_rate) + 2.5) + abs(config.model.depth - 3)
    return (1 - 0.5 / config.training.epochs) / (1 + distance)


def end(queue: SearchQueue, attempt: Attempt) -> None:
    """Reports each epoch and ends the slot."""
    steps = Steps("epoch", attempt.config.training.epochs)
    value = score(attempt)
    for step in range(1, steps.total + 1):
        if not queue.report(attempt, step, {OBJECTIVE: value * step / steps.total}):
            queue.prune(attempt, value * step / steps.total)
            return
    queue.complete(attempt, TrialOutcome(value, "finished", steps, steps.total, 0.5, metrics={}, environment={}))


def search(name: str, **settings: Any) -> list[dict[str, Any]]:
    """A study from its start to its end, by one process."""
    queue = opened(name, **settings)
    while attempt := queue.ask():
        end(queue, attempt)
    return counted(queue)


def search_killed(name: str, **settings: Any) -> list[dict[str, Any]]:
    """The same, killed at every slot three times: when it was queued, when it was half asked, and in training."""
    queue = opened(name, **settings)
    while (waiting := queue._next_waiting()) is not None:
        queue = opened(name, **settings)
        queue.study.sampler = queue._sampler(waiting[0])
        queue.study.ask().suggest_int("model.depth", 2, 5)
        queue = opened(name, **settings)
        attempt = queue.ask()
        assert attempt is not None
        queue.report(attempt, 1, {OBJECTIVE: score(attempt) / attempt.config.training.epochs})
        queue = opened(name, **settings)
        attempt = queue.ask()
        assert attempt is not None
        assert attempt.ordinal == 3
        end(queue, attempt)
    return counted(queue)


def counted(queue: SearchQueue) -> list[dict[str, Any]]:
    """What came of each slot."""
    return [
        {Attribute.SLOT: AttemptRecord(t).slot, "state": AttemptRecord(t).state, "params": t.params, "value": t.value}
        for t in sorted(queue.study.get_trials(), key=lambda trial: AttemptRecord(trial).slot)
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_study_has_its_trials_and_the_first_is_the_base(engine: Mapping[str, Any]) -> None:
    """Six slots, each ended once; slot 0 has the base's values, and every value of a slot is one of the space."""
    study = search("one", trials=6, **engine)
    space = prepared(**engine).space
    assert [entry[Attribute.SLOT] for entry in study] == list(range(6))
    # The base is a U-Net without attention, one head, dropout .1 and batches of 16.
    base = {"model.architecture": "unet", "model.attention": "none", "model.deep_supervision": False, "model.depth": 3}
    base |= {"model.dropout": 0.1, "training.learning_rate": 1e-3, "training.batch_size": 16, "model.filters": 16}
    base |= {"training.weight_averaging": 0.0} | ({EPOCHS: 4} if EPOCHS in space.dimensions else {})
    assert study[0]["params"] == base
    for entry in study:
        params = entry["params"]
        assert set(params) == {name for name, _ in space.active(params)}
        assert all(space.dimensions[name].contains(value) for name, value in params.items())
        assert isinstance(params["model.deep_supervision"], bool)
        assert isinstance(params["model.depth"], int)


@pytest.mark.parametrize("engine", ENGINES)
def test_choices_follow_the_seed_and_neither_name_nor_kills(engine: Mapping[str, Any]) -> None:
    """The same trials under another name, each killed three times; others with another seed."""
    settings = {"trials": 5, "space": FEW, **engine}
    first = search("one", **settings)
    assert search_killed("another", **settings) == first
    other = search("other", seed=1, **settings)
    rates = [[entry["params"]["training.learning_rate"] for entry in study] for study in (first, other)]
    assert rates[0][0] == rates[1][0]
    assert all(one != two for one, two in zip(rates[0][1:], rates[1][1:], strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_share_the_slots(engine: Mapping[str, Any]) -> None:
    """Three at a time, the last one asked for ended first: each slot once, and nothing tried twice."""
    queue = opened("together", trials=7, space=NUMBERS, **engine)
    out: list[Attempt] = []
    while True:
        while len(out) < 3 and (attempt := queue.ask()):
            out.append(attempt)
        if not out:
            break
        end(queue, out.pop())
    study = counted(queue)
    assert [entry[Attribute.SLOT] for entry in study] == list(range(7))
    assert {entry["state"] for entry in study} <= {"complete", "pruned"}
    # Hyperband's next round has the values of the one before, with more epochs.
    values = {(entry["params"]["training.learning_rate"], entry["params"].get(EPOCHS)) for entry in study}
    assert len(values) == 7


@pytest.mark.parametrize("engine", KERAS_TUNER)
def test_a_failed_trial_is_one_of_the_study(engine: Mapping[str, Any]) -> None:
    """A slot that fails counts, is not tried again, and the engine goes on."""
    queue = opened("failing", trials=6, space=NUMBERS, **engine)
    while attempt := queue.ask():
        if attempt.slot in (1, 4):
            queue.fail(attempt, "no reason")
        else:
            end(queue, attempt)
    states = [entry["state"] for entry in counted(queue)]
    assert states == ["complete", "failed", "complete", "complete", "failed", "complete"]


def test_a_bayesian_search_comes_nearer_to_the_best() -> None:
    """After three random trials it lies closer to the best learning rate and depth than they do."""
    engine = {"engine": "keras-tuner", "tuner": {"name": "bayesian", "num_initial_points": 4}}
    values = [entry["value"] for entry in search("bayes", trials=9, space=NUMBERS, **engine)[1:]]
    # Trials 1 to 3 are drawn, the base is the fourth complete one. The best score is 1 - .5 / 4.
    assert max(values[3:]) > max(values[:3])
    assert max(values[3:]) > 0.95 * 0.875


HYPERBAND = {"engine": "keras-tuner", "tuner": {"name": "hyperband", "factor": 2}}


def test_hyperband_follows_its_brackets_and_ends_by_itself() -> None:
    """With 4 epochs and factor 2: 4, 2, 1 trials of 1, 2, 4 epochs, then 3, 2 of 2, 4, then 3 of 4; no more after."""
    # Brackets 2, 1, 0 end with ceil(3 / (b + 1)) trials; n of a round is ceil(3 / (b + 1) * 2**(b - round)):
    # b = 2: 4, 2, 1; b = 1: 3, 2 (1.5 rounded up); b = 0: 3.
    queue = opened("bands", trials=100, space=NUMBERS, **HYPERBAND)
    while attempt := queue.ask():
        end(queue, attempt)
    study = counted(queue)
    epochs = [entry["params"][EPOCHS] for entry in study]
    assert epochs[0] == 4
    assert sorted(epochs[1:8]) == [1, 1, 1, 1, 2, 2, 4]
    assert sorted(epochs[8:13]) == [2, 2, 2, 4, 4]
    assert epochs[13:] == [4, 4, 4]
    # Of the four of one epoch the better two are trained again with two, and of these the better one with four.
    rounds = {n: [entry for entry in study[1:8] if entry["params"][EPOCHS] == n] for n in (1, 2, 4)}
    for shorter, longer in ((1, 2), (2, 4)):
        best = sorted(rounds[shorter], key=lambda entry: entry["value"])[-len(rounds[longer]) :]
        went_on = {entry["params"]["training.learning_rate"] for entry in rounds[longer]}
        assert {entry["params"]["training.learning_rate"] for entry in best} == went_on
    assert list(queue.wanted()) == list(range(16))
    assert queue.ended() == 16
    # Who opens it again has nothing to do either, also with more trials.
    again_opened = opened("bands", trials=200, space=NUMBERS, **HYPERBAND)
    assert again_opened.ask() is None
    assert again_opened.ended() == len(again_opened.wanted()) == 16


def test_hyperband_waits_for_trials_under_way() -> None:
    """With a worker for each trial, all that is drawn begins at once, the rest as soon as it is known who goes on."""
    queue = opened("wide", trials=100, space=NUMBERS, **HYPERBAND)
    out: list[Attempt] = []
    begun = []
    while True:
        before = len(out)
        while attempt := queue.ask():
            out.append(attempt)
        begun.append(len(out) - before)
        if not out:
            break
        end(queue, out.pop(0))
    # The base, and the first rounds of 4, 3 and 3. A round of n begins its first of m when n - m + 1 have ended, and
    # one more with each that ends: the base is the 1st to end, the 4th is the third of four, of which two go on.
    assert begun[:6] == [11, 0, 0, 0, 1, 1]
    assert sum(begun) == queue.ended() == len(queue.wanted()) == 16


def test_a_space_that_is_used_up_ends_the_study() -> None:
    """One switch has two settings, so a random search ends after both, the base among them."""
    settings = {"trials": 5, "space": SWITCHES, "engine": "keras-tuner", "tuner": "random"}
    study = search("small", **settings)
    assert [entry["params"]["model.deep_supervision"] for entry in study] == [False, True]
    assert opened("small", **settings).ask() is None


def test_hyperband_and_a_space_with_epochs_exclude_each_other() -> None:
    """Both would choose training.epochs: one line, before anything runs."""
    space = Space.parse({**TREE, EPOCHS: {"low": 2, "high": 8}}, BASE)
    with pytest.raises(ConfigError, match=r"study\.tuner: hyperband: chooses training\.epochs itself") as refused:
        prepared(space, **HYPERBAND)
    assert refused.value.exit_code == 2
    assert EPOCHS in prepared(space, engine="keras-tuner", tuner="random").space.dimensions


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"engine": "optuna"}, "engine: keras-tuner, now optuna"),
        ({"tuner": "random"}, "tuner: alpha: 0.0001, now None"),
        ({"tuner": {"name": "bayesian", "beta": 1.0}}, "tuner: beta: 2.6, now 1.0"),
    ],
)
def test_a_study_goes_on_with_its_own_engine_alone(change: Mapping[str, Any], says: str) -> None:
    """Another engine, tuner or option of it under the same name is refused with what differs."""
    began = {"engine": "keras-tuner", "tuner": "bayesian", "trials": 3}
    data = SimpleNamespace(identity={"train": "0"})

    def opened(**settings: Any) -> SearchQueue:
        experiment = prepared(NUMBERS, **settings)
        return SearchQueue(
            "sqlite:///optuna.db",
            "s",
            space=experiment.space,
            base=BASE,
            settings=experiment.study,
            spec=study_spec(experiment, data, {}),  # type: ignore[arg-type]
        )

    opened(**began)
    # More trials, and settings of the other engine, change nothing.
    opened(**began | {"trials": 5, "pruner": "none"})
    with pytest.raises(ConfigError, match=f"was started with another search \\({re.escape(says)}\\)"):
        opened(**began | change)


def test_every_value_survives_the_way_to_keras_tuner_and_back() -> None:
    """Values at both ends of each dimension and between, without inactive fields, in KerasTuner and out of it."""
    import keras_tuner

    from lsml.study.oracles import HyperSuggester, KerasSpace

    space = KerasSpace(SPACE)
    hp = space.declared()
    for position in (0.0, 0.34, 0.67, 1.0):
        labels = {field.name: field.prob_to_value(position) for field in hp.space}
        held = keras_tuner.HyperParameters()
        held.merge(hp.space)
        held.values = labels
        held.ensure_active_values()
        values = space.decoded(held.values)
        assert set(values) == {name for name, _ in SPACE.active(values)}
        assert all(SPACE.dimensions[name].contains(value) for name, value in values.items())
        assert space.decoded(space.encoded(values)) == values
        config = SPACE.configure(BASE, HyperSuggester(held, SPACE))
        assert config.model.depth == values["model.depth"]
