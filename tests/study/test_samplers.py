"""Samplers and pruners without workers: what they choose, whatever the study's name and however often it is killed."""

import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lsml.config.fields import FieldSpec, flatten
from lsml.config.schema import TrainConfig
from lsml.config.space import Space
from lsml.config.study import HyperbandSettings, PrunerSettings, SamplerSettings, StudySettings
from lsml.data.splits import Steps
from lsml.names import OBJECTIVE, Attribute
from lsml.study.database import AttemptRecord
from lsml.study.search import _SlotHyperband
from lsml.study.trial_queue import SearchQueue
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


# What lets a sampler or pruner show itself in the few trials of these tests; any other one has its defaults.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "tpe": [{"startup_trials": 3, "candidates": 6}],
    "qmc": [{"sequence": "sobol"}, {"sequence": "halton"}],
    "cma-es": [{"population": 4}],
    "gp": [{"startup_trials": 3}],
    "nsga2": [{"population": 4}],
    "successive_halving": [{"min_epochs": 1, "reduction": 2}],
    "hyperband": [{"min_epochs": 1, "max_epochs": STEPS, "reduction": 2}],
    "median": [{"startup_trials": 2, "min_epochs": 2}],
}


def every(kinds: Iterable[str]) -> list[Any]:
    """One case for each kind and each of its options."""
    return [
        pytest.param({"name": name} | options, id="-".join([name, *map(str, options.values())]))
        for name in kinds
        for options in OPTIONS.get(name, [{}])
    ]


INSTALLED = {
    name: kind
    for name, kind in SamplerSettings.kinds().items()
    if not kind.package or importlib.util.find_spec(kind.package)
}
SAMPLERS = every(INSTALLED)
PRUNERS = every(name for name in PrunerSettings.kinds() if name != "none")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(name: str, *, space: Space = SPACE, **settings: Any) -> SearchQueue:
    """The study as a process that just started has it; what an earlier one left open is closed."""
    study = StudySettings.model_validate({"pruner": "none"} | settings)
    queue = SearchQueue("sqlite:///optuna.db", name, space=space, base=BASE, settings=study, spec={})
    queue.close_open("killed")
    return queue


def curve(attempt: Attempt) -> list[float]:
    """A fake training: best at a learning rate of 10**-2.5, no dropout and depth 3, and better with each step."""
    config = attempt.config
    distance = abs(math.log10(config.training.learning_rate) + 2.5) + config.model.dropout
    score = 1 / (1 + distance + abs(config.model.depth - 3) + (config.model.architecture == "unet"))
    return [score * (0.5 + step / (2 * STEPS)) for step in range(1, STEPS + 1)]


def cost(attempt: Attempt) -> float:
    """A fake count of weights: a thousand for each level, and a hundred for each hundredth of dropout."""
    return 1000.0 * attempt.config.model.depth + round(10_000 * attempt.config.model.dropout)


def train(queue: SearchQueue, attempt: Attempt, values: Sequence[float]) -> None:
    """Reports the values and ends the slot, pruned or complete."""
    for step, value in enumerate(values, 1):
        if not queue.report(attempt, step, {OBJECTIVE: value}):
            queue.prune(attempt, value)
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
    queue.complete(attempt, end)


def search(name: str, **settings: Any) -> list[dict[str, Any]]:
    """A study from its start to its end, by one process."""
    queue = opened(name, **settings)
    while attempt := queue.ask():
        train(queue, attempt, curve(attempt))
    return counted(queue)


def search_killed(name: str, **settings: Any) -> list[dict[str, Any]]:
    """The same, killed at every slot while it asks, and again after 0 to 3 steps."""
    queue = opened(name, **settings)
    while (waiting := queue._next_waiting()) is not None:
        # What `ask` does, up to the moment when Optuna has given out the trial and the first of its parameters.
        queue.study.sampler = queue._sampler(waiting[0])
        queue.study.ask().suggest_int("model.depth", 2, 5)
        queue = opened(name, **settings)
        attempt = queue.ask()
        assert attempt is not None
        for step, value in enumerate(curve(attempt)[: attempt.slot % STEPS], 1):
            if not queue.report(attempt, step, {OBJECTIVE: value}):
                break
        queue = opened(name, **settings)
        attempt = queue.ask()
        assert attempt is not None
        assert attempt.ordinal == 3
        train(queue, attempt, curve(attempt))
    return counted(queue)


def counted(queue: SearchQueue) -> list[dict[str, Any]]:
    """What came of each slot."""
    return [
        {
            Attribute.SLOT: AttemptRecord(t).slot,
            "state": AttemptRecord(t).state,
            "values": t.values,
            "params": t.params,
            "curve": t.intermediate_values,
        }
        for t in sorted(queue.study.get_trials(), key=lambda trial: AttemptRecord(trial).slot)
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_depends_on_neither_name_nor_kills(sampler: Mapping[str, Any]) -> None:
    """Trials are the same under another name, each killed twice: once half asked, once in training."""
    first = search("one", trials=6, sampler=sampler)
    assert [entry[Attribute.SLOT] for entry in first] == list(range(6))
    assert search_killed("another", trials=6, sampler=sampler) == first


@pytest.mark.parametrize("sampler", every(name for name, kind in INSTALLED.items() if not kind.single_objective))
def test_a_sampler_of_two_objectives_depends_on_neither_name_nor_kills(sampler: Mapping[str, Any]) -> None:
    """The same for F1 against parameters; nothing of a trial's course is kept, only its two values."""
    settings = {"trials": 7, "second_objective": "parameters", "sampler": sampler}
    first = search("one", **settings)
    assert [(entry["state"], len(entry["values"]), entry["curve"]) for entry in first] == [("complete", 2, {})] * 7
    assert search_killed("another", **settings) == first


def test_nsga2_inherits_from_a_generation_that_the_base_belongs_to() -> None:
    """Of four trials, the base among them, the next four have their dropout, one of them the base's."""
    study = search("genes", trials=8, sampler={"name": "nsga2", "population": 4})
    dropouts = [entry["params"]["model.dropout"] for entry in study]
    first, second = dropouts[:4], dropouts[4:]
    # Two random numbers of that range are never the same, and a field mutates with probability 1/4 only.
    assert len(set(first)) == 4
    assert sum(dropout in first for dropout in second) >= 3
    assert BASE.model.dropout in second


def widest(spec: FieldSpec) -> dict[str, Any]:
    """A dimension with all that the field takes."""
    if spec.name == "training.learning_rate":
        return {"low": 1e-6, "high": spec.high, "log": True}
    if spec.name == "model.weights":
        return {"choices": ["none", "imagenet", "mine.weights.h5"]}
    if spec.choices or spec.kind == "bool":
        return {"choices": spec.choices or [False, True]}
    return {"low": spec.low, "high": spec.high}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_hyperparameter_can_be_searched(sampler: Mapping[str, Any]) -> None:
    """All fields of `lsml config reference` but the seed, each as wide as its bounds, get values of their own."""
    space = Space.parse({spec.name: widest(spec) for spec in TrainConfig.fields() if spec.name != "seed"}, BASE)
    queue = opened("all", space=space, trials=2, sampler=sampler)
    base, drawn = queue.ask(), queue.ask()
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
        # Only those that NSGA-II draws before it has a first generation are new for certain.
        assert len(set(rates)) >= (4 if sampler["name"] == "nsga2" else 6)
        for entry in study:
            params = entry["params"]
            assert set(params) == {name for name, _ in SPACE.active(params)}
            assert all(SPACE.dimensions[name].contains(value) for name, value in params.items())
    assert all(one["params"] != other["params"] for one, other in zip(*(s[1:] for s in studies), strict=True))
    architectures = {entry["params"]["model.architecture"] for study in studies for entry in study}
    assert architectures == {"unet", "resnet_unet"}


def test_values_that_exclude_each_other_fail_their_slot_alone() -> None:
    """TrialQueue that draw weight 0 for both losses are failed with the reason; the others go on, and none is left."""
    space = Space.parse({"loss.cross_entropy": {"choices": [0.0, 0.5]}, "loss.jaccard": {"choices": [0.0, 0.5]}}, BASE)
    queue = opened("zeros", space=space, trials=12, sampler={"name": "random"})
    while attempt := queue.ask():
        train(queue, attempt, curve(attempt))
    assert queue.ended() == 12
    by_state: dict[str, list[bool]] = {}
    for trial in queue.study.get_trials():
        by_state.setdefault(AttemptRecord(trial).state, []).append(any(trial.params.values()))
    assert set(by_state) == {"failed", "complete"}
    assert all(by_state["complete"])
    assert not any(by_state["failed"])
    reasons = {t.user_attrs["reason"] for t in queue.study.get_trials() if AttemptRecord(t).state == "failed"}
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
    queue = opened("together", trials=4, sampler="qmc")
    attempts = [attempt for _ in range(4) if (attempt := queue.ask())]
    for attempt in reversed(attempts):
        train(queue, attempt, curve(attempt))
    assert [entry["params"] for entry in counted(queue)] == one_by_one


def test_cma_es_moves_towards_the_best() -> None:
    """After six generations of four the learning rates lie closer to the best one than those of the first."""
    study = search("cma", trials=25, sampler={"name": "cma-es", "population": 4})[1:]
    distances = [abs(math.log10(entry["params"]["training.learning_rate"]) + 2.5) for entry in study]
    assert sum(distances[-8:]) < sum(distances[:8])


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_depends_on_neither_name_nor_kills(pruner: Mapping[str, Any]) -> None:
    """Trials end alike, at the same step, under another name, each killed twice."""
    settings = {"trials": 8, "sampler": "random", "pruner": pruner}
    first = search("one", **settings)
    assert {entry["state"] for entry in first} == {"complete", "pruned"}
    assert search_killed("another", **settings) == first


def ended(pruner: Mapping[str, Any], curves: Sequence[Sequence[float]]) -> list[tuple[str, int]]:
    """State and last step of one slot a curve, in turn."""
    queue = opened("table", trials=len(curves), sampler="random", pruner=pruner)
    for values in curves:
        attempt = queue.ask()
        assert attempt is not None
        train(queue, attempt, values)
    return [(entry["state"], max(entry["curve"])) for entry in counted(queue)]


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
    dealt = [_SlotHyperband(settings, seed).bracket_of(slot) for seed in (0, 1) for slot in range(20)]
    tens = [dealt[start : start + 10] for start in range(0, 40, 10)]
    assert [sorted(ten) for ten in tens] == [[0, 0, 0, 0, 1, 1, 1, 2, 2, 2]] * 4
    assert len(set(map(tuple, tens))) == 4
    # 243 is 3**5, so there are six brackets; the logarithm in floating point falls short of 5.
    wide = _SlotHyperband(HyperbandSettings(min_epochs=1, max_epochs=243, reduction=3), 0)
    assert {wide.bracket_of(slot) for slot in range(1000)} == set(range(6))


def test_hyperband_prunes_within_brackets() -> None:
    """When each slot is worse than those before, a bracket's first goes to the end and the others to its first rung."""
    pruner = {"name": "hyperband", "min_epochs": 1, "max_epochs": 4, "reduction": 2}
    queue = opened("table", trials=10, sampler="random", pruner=pruner)
    brackets = [queue.study.pruner.bracket_of(slot) for slot in range(10)]  # type: ignore[attr-defined]
    found = ended(pruner, [[1 - slot / 100] * 4 for slot in range(10)])
    for slot, bracket in enumerate(brackets):
        first = bracket not in brackets[:slot]
        # Bracket b has its rungs at 2**b, 2**(b + 1), ... The fourth of four values is not among the best 4 // 2.
        assert found[slot] == (("complete", 4) if first else ("pruned", 2**bracket))
