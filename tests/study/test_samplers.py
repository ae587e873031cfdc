"""Samplers and pruners without workers: what they choose, whatever the study's name and however often it is killed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lsml.cli.config import Entry, hyperparameters
from lsml.config.fields import flatten
from lsml.config.schema import OBJECTIVE, TrainConfig
from lsml.config.space import Space
from lsml.config.study import HyperbandSettings, StudySettings
from lsml.data.splits import Steps
from lsml.study.database import SLOT, slot_of, state_of
from lsml.study.search import SlotHyperband
from lsml.study.trial_queue import SearchSlots
from lsml.training.outcome import Attempt, TrialOutcome

STEPS = 4
BASE = TrainConfig()
SPACE = Space.parse(
    {
        "model.architecture": {"choices": ["unet", "resnet_unet"]},
        "model.encoder": {"choices": ["resnet18", "resnet34"], "when": {"model.architecture": "resnet_unet"}},
        "model.depth": {"low": 2, "high": 5},
        "model.dropout": {"low": 0.0, "high": 0.5},
        "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "training.batch_size": {"low": 8, "high": 32, "step": 8, "when": {"model.architecture": "unet"}},
    },
    BASE,
)


SAMPLERS = [
    pytest.param({"name": "tpe", "startup_trials": 3, "candidates": 6}, id="tpe"),
    pytest.param({"name": "random"}, id="random"),
    pytest.param({"name": "qmc"}, id="sobol"),
    pytest.param({"name": "qmc", "sequence": "halton"}, id="halton"),
    pytest.param({"name": "cma-es", "population": 4}, id="cma-es"),
]
PRUNERS = [
    pytest.param({"name": "successive_halving", "min_epochs": 1, "reduction": 2}, id="successive_halving"),
    pytest.param({"name": "hyperband", "min_epochs": 1, "max_epochs": STEPS, "reduction": 2}, id="hyperband"),
    pytest.param({"name": "median", "startup_trials": 2, "min_epochs": 2}, id="median"),
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(name: str, *, space: Space = SPACE, **settings: Any) -> SearchSlots:
    """The study as a process that just started has it; what an earlier one left open is closed."""
    study = StudySettings.model_validate({"pruner": "none"} | settings)
    slots = SearchSlots("sqlite:///optuna.db", name, space=space, base=BASE, settings=study, spec={})
    slots.close_open("killed")
    return slots


def curve(attempt: Attempt) -> list[float]:
    """A fake training: best at a learning rate of 10**-2.5, no dropout and depth 3, and better with each step."""
    config = attempt.config
    distance = abs(math.log10(config.training.learning_rate) + 2.5) + config.model.dropout
    score = 1 / (1 + distance + abs(config.model.depth - 3) + (config.model.architecture == "unet"))
    return [score * (0.5 + step / (2 * STEPS)) for step in range(1, STEPS + 1)]


def cost(attempt: Attempt) -> float:
    """A fake count of weights: a thousand for each level, and a hundred for each hundredth of dropout."""
    return 1000.0 * attempt.config.model.depth + round(10_000 * attempt.config.model.dropout)


def train(slots: SearchSlots, attempt: Attempt, values: Sequence[float]) -> None:
    """Reports the values and ends the slot, pruned or complete."""
    for step, value in enumerate(values, 1):
        if not slots.report(attempt, step, {OBJECTIVE: value}):
            slots.prune(attempt)
            return
    end = TrialOutcome(
        value=values[-1],
        stopped="finished",
        steps=Steps("epochs", len(values)),
        best_epoch=len(values),
        threshold=0.5,
        metrics={},
        environment={},
        costs={"parameters": cost(attempt)},
    )
    slots.complete(attempt, end)


def search(name: str, **settings: Any) -> list[dict[str, Any]]:
    """A study from its start to its end, by one process."""
    slots = opened(name, **settings)
    while attempt := slots.ask():
        train(slots, attempt, curve(attempt))
    return counted(slots)


def search_killed(name: str, **settings: Any) -> list[dict[str, Any]]:
    """The same, killed at every slot while it asks, and again after 0 to 3 steps."""
    slots = opened(name, **settings)
    while (waiting := slots._next_waiting()) is not None:
        # What `ask` does, up to the moment when Optuna has given out the trial and the first of its parameters.
        slots.study.sampler = slots._sampler(slot_of(waiting))
        slots.study.ask().suggest_int("model.depth", 2, 5)
        slots = opened(name, **settings)
        attempt = slots.ask()
        assert attempt is not None
        for step, value in enumerate(curve(attempt)[: attempt.slot % STEPS], 1):
            if not slots.report(attempt, step, {OBJECTIVE: value}):
                break
        slots = opened(name, **settings)
        attempt = slots.ask()
        assert attempt is not None
        assert attempt.ordinal == 3
        train(slots, attempt, curve(attempt))
    return counted(slots)


def counted(slots: SearchSlots) -> list[dict[str, Any]]:
    """What came of each slot."""
    return [
        {
            SLOT: slot_of(t),
            "state": state_of(t),
            "values": t.values,
            "params": t.params,
            "curve": t.intermediate_values,
        }
        for t in sorted(slots.study.get_trials(), key=slot_of)
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_depends_on_neither_name_nor_kills(sampler: Mapping[str, Any]) -> None:
    """Trials are the same under another name, and when each was killed twice: once half asked, once in training."""
    first = search("one", trials=6, sampler=sampler)
    assert [entry[SLOT] for entry in first] == list(range(6))
    assert search("another", trials=6, sampler=sampler) == first
    assert search_killed("killed", trials=6, sampler=sampler) == first


@pytest.mark.parametrize("sampler", [{"name": "tpe", "startup_trials": 3}, {"name": "nsga2", "population": 2}])
def test_a_sampler_of_two_objectives_depends_on_neither_name_nor_kills(sampler: Mapping[str, Any]) -> None:
    """The same for F1 against parameters; nothing of a trial's course is kept, only its two values."""
    settings = {"trials": 7, "against": "parameters", "sampler": sampler}
    first = search("one", **settings)
    assert [(entry["state"], len(entry["values"]), entry["curve"]) for entry in first] == [("complete", 2, {})] * 7
    assert search("another", **settings) == first
    assert search_killed("killed", **settings) == first


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_samplers_that_look_at_no_value_take_two_objectives(sampler: str) -> None:
    """Three trials, each with F1 and its parameters."""
    study = search("two", trials=3, against="parameters", sampler=sampler)
    assert [(entry["state"], len(entry["values"])) for entry in study] == [("complete", 2)] * 3


def test_nsga2_inherits_from_a_generation_that_the_base_belongs_to() -> None:
    """Of four trials, the base among them, the next four have their dropout, one of them the base's."""
    study = search("genes", trials=8, sampler={"name": "nsga2", "population": 4})
    dropouts = [entry["params"]["model.dropout"] for entry in study]
    first, second = dropouts[:4], dropouts[4:]
    # Two random numbers of that range are never the same, and a field mutates with probability 1/4 only.
    assert len(set(first)) == 4
    assert sum(dropout in first for dropout in second) >= 3
    assert BASE.model.dropout in second


def widest(entry: Entry) -> dict[str, Any]:
    """A dimension with all that the field takes."""
    if entry.name == "training.learning_rate":
        return {"low": 1e-6, "high": entry.high, "log": True}
    if entry.name == "model.weights":
        return {"choices": ["none", "imagenet", "mine.weights.h5"]}
    if entry.choices or entry.type == "bool":
        return {"choices": entry.choices or [False, True]}
    return {"low": entry.low, "high": entry.high}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_hyperparameter_can_be_searched(sampler: Mapping[str, Any]) -> None:
    """All fields of `lsml config reference` but the seed, each as wide as its bounds, get values of their own."""
    space = Space.parse({entry.name: widest(entry) for entry in hyperparameters() if entry.name != "seed"}, BASE)
    slots = opened("all", space=space, trials=2, sampler=sampler)
    base, drawn = slots.ask(), slots.ask()
    assert base is not None
    assert drawn is not None
    values = flatten(drawn.config)
    assert base.searched == {name: flatten(BASE)[name] for name in space.dimensions}
    assert drawn.searched == {name: values[name] for name in space.dimensions}
    for name, dimension in space.dimensions.items():
        assert dimension.contains(values[name])
        # Where there is a continuum, a draw is not the default.
        if isinstance(dimension.high, float):
            assert values[name] != base.searched[name]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_follows_the_seed_and_stays_in_the_space(sampler: Mapping[str, Any]) -> None:
    """Trial 0 is the base; each other one differs from all, has exactly the active fields, and follows the seed."""
    studies = [search(f"seed-{seed}", trials=6, seed=seed, sampler=sampler) for seed in (0, 1)]
    # The base is a U-Net, for which the encoder is not searched.
    base = {"architecture": "unet", "depth": 4, "dropout": 0.1}
    base_params = {f"model.{name}": value for name, value in base.items()}
    base_params |= {"training.learning_rate": 1e-3, "training.batch_size": 16}
    for study in studies:
        assert study[0]["params"] == base_params
        rates = [entry["params"]["training.learning_rate"] for entry in study]
        assert len(set(rates)) == 6
        for entry in study:
            params = entry["params"]
            assert set(params) == {name for name, _ in SPACE.active(params)}
            assert all(SPACE.dimensions[name].contains(value) for name, value in params.items())
    assert all(one["params"] != other["params"] for one, other in zip(*(s[1:] for s in studies), strict=True))
    architectures = {entry["params"]["model.architecture"] for study in studies for entry in study}
    assert architectures == {"unet", "resnet_unet"}


def test_values_that_exclude_each_other_fail_their_slot_alone() -> None:
    """Slots that draw weight 0 for both losses are failed with the reason; the others go on, and none is left."""
    space = Space.parse({"loss.cross_entropy": {"choices": [0.0, 0.5]}, "loss.jaccard": {"choices": [0.0, 0.5]}}, BASE)
    slots = opened("zeros", space=space, trials=12, sampler={"name": "random"})
    while attempt := slots.ask():
        train(slots, attempt, curve(attempt))
    assert slots.ended() == 12
    by_state: dict[str, list[bool]] = {}
    for trial in slots.study.get_trials():
        by_state.setdefault(state_of(trial), []).append(any(trial.params.values()))
    assert set(by_state) == {"failed", "complete"}
    assert all(by_state["complete"])
    assert not any(by_state["failed"])
    reasons = {t.user_attrs["reason"] for t in slots.study.get_trials() if state_of(t) == "failed"}
    assert len(reasons) == 1
    assert "loss" in reasons.pop()


def test_sobol_points_fill_the_range_evenly() -> None:
    """Eight points in a row put one learning rate into each eighth of its logarithmic range, and each depth twice."""
    study = search("sobol", trials=9, sampler="qmc")[1:]
    # log10 of 1e-4..1e-2 is -4..-2: an eighth is a quarter of a decade wide.
    eighths = [int((math.log10(entry["params"]["training.learning_rate"]) + 4) / 0.25) for entry in study]
    assert sorted(eighths) == list(range(8))
    assert sorted(entry["params"]["model.depth"] for entry in study) == [2, 2, 3, 3, 4, 4, 5, 5]


def test_sobol_points_do_not_wait_for_each_other() -> None:
    """Four trials at the same time, ended in reverse order, have the parameters that they have one after another."""
    one_by_one = [entry["params"] for entry in search("one", trials=4, sampler="qmc")]
    slots = opened("together", trials=4, sampler="qmc")
    attempts = [attempt for _ in range(4) if (attempt := slots.ask())]
    for attempt in reversed(attempts):
        train(slots, attempt, curve(attempt))
    assert [entry["params"] for entry in counted(slots)] == one_by_one


def test_cma_es_moves_towards_the_best() -> None:
    """After six generations of four the learning rates lie closer to the best one than those of the first."""
    study = search("cma", trials=25, sampler={"name": "cma-es", "population": 4})[1:]
    distances = [abs(math.log10(entry["params"]["training.learning_rate"]) + 2.5) for entry in study]
    assert sum(distances[-8:]) < sum(distances[:8])


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_depends_on_neither_name_nor_kills(pruner: Mapping[str, Any]) -> None:
    """Trials end alike, at the same step, under another name and when each was killed twice."""
    settings = {"trials": 8, "sampler": "random", "pruner": pruner}
    first = search("one", **settings)
    assert {entry["state"] for entry in first} == {"complete", "pruned"}
    assert search("another", **settings) == first
    assert search_killed("killed", **settings) == first


def ended(pruner: Mapping[str, Any], curves: Sequence[Sequence[float]]) -> list[tuple[str, int]]:
    """State and last step of one slot a curve, in turn."""
    slots = opened("table", trials=len(curves), sampler="random", pruner=pruner)
    for values in curves:
        attempt = slots.ask()
        assert attempt is not None
        train(slots, attempt, values)
    return [(entry["state"], max(entry["curve"])) for entry in counted(slots)]


def test_median_pruner_by_hand() -> None:
    """No pruning before two trials are complete and before step 2; then the best so far against the median there."""
    pruner = {"name": "median", "startup_trials": 2, "min_epochs": 2}
    curves = [
        (0.2, 0.4, 0.6, 0.8),
        # One complete trial is not two: this goes on although it is worse everywhere.
        (0.1, 0.3, 0.5, 0.7),
        # Step 1 is not looked at. Step 2: 0.34 against the median 0.35 of 0.4 and 0.3.
        (0.0, 0.34, 0.9, 0.9),
        # Step 2: 0.36 passes. Step 3: the best so far, 0.54, against the median 0.55 of 0.6 and 0.5.
        (0.0, 0.36, 0.54, 0.9),
        # Step 3: falls back to 0.1, but its best so far, 0.58, passes; step 4: 0.76 against 0.75.
        (0.0, 0.58, 0.1, 0.76),
    ]
    assert ended(pruner, curves) == [("complete", 4), ("complete", 4), ("pruned", 2), ("pruned", 3), ("complete", 4)]


def test_successive_halving_by_hand() -> None:
    """Rungs at steps 1, 2 and 4; of n values at a rung the best n // 2 go on, and the best one in any case."""
    pruner = {"name": "successive_halving", "min_epochs": 1, "reduction": 2}
    curves = [
        (0.50, 0.60, 0.60, 0.60),
        # Rung 1: 0.50, 0.40: one goes on, this is the second.
        (0.40, 0.90, 0.90, 0.90),
        # Rung 1: the best of three. Rung 2: 0.60, 0.55: one goes on.
        (0.60, 0.55, 0.90, 0.90),
        # Rung 1: 0.60, 0.50, 0.45, 0.40: two go on, this is the third.
        (0.45, 0.90, 0.90, 0.90),
        # Rung 1: the second of five, two go on. Rung 2: the best of three. Step 3 is no rung. Rung 3: 0.70, 0.60.
        (0.55, 0.65, 0.01, 0.70),
    ]
    assert ended(pruner, curves) == [("complete", 4), ("pruned", 1), ("pruned", 2), ("pruned", 1), ("complete", 4)]


def test_hyperband_deals_slots_to_brackets_in_their_shares() -> None:
    """With R = 4 and reduction 2 algorithm 1 begins 4, 3 and 3 trials in brackets 0, 1, 2, and so do each ten slots."""
    # n = ceil((s_max + 1) * 2**s / (s + 1)) with s_max = 2: s = 2: 12 / 3 = 4; s = 1: 6 / 2 = 3; s = 0: 3 / 1 = 3.
    settings = HyperbandSettings(min_epochs=1, max_epochs=4, reduction=2)
    dealt = [SlotHyperband(settings, seed).bracket_of(slot) for seed in (0, 1) for slot in range(20)]
    tens = [dealt[start : start + 10] for start in range(0, 40, 10)]
    assert [sorted(ten) for ten in tens] == [[0, 0, 0, 0, 1, 1, 1, 2, 2, 2]] * 4
    assert len(set(map(tuple, tens))) == 4
    # 243 is 3**5, so there are six brackets; the logarithm in floating point falls short of 5.
    wide = SlotHyperband(HyperbandSettings(min_epochs=1, max_epochs=243, reduction=3), 0)
    assert {wide.bracket_of(slot) for slot in range(1000)} == set(range(6))


def test_hyperband_prunes_within_brackets() -> None:
    """When each slot is worse than those before, a bracket's first goes to the end and the others to its first rung."""
    pruner = {"name": "hyperband", "min_epochs": 1, "max_epochs": 4, "reduction": 2}
    slots = opened("table", trials=10, sampler="random", pruner=pruner)
    brackets = [slots.study.pruner.bracket_of(slot) for slot in range(10)]  # type: ignore[attr-defined]
    found = ended(pruner, [[1 - slot / 100] * 4 for slot in range(10)])
    for slot, bracket in enumerate(brackets):
        first = bracket not in brackets[:slot]
        # Bracket b has its rungs at 2**b, 2**(b + 1), ... The fourth of four values is not among the best 4 // 2.
        assert found[slot] == (("complete", 4) if first else ("pruned", 2**bracket))
