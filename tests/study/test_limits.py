"""When a search begins no more trials, and how often a slot whose worker was lost is tried again; without workers."""

from pathlib import Path
from typing import Any

import pytest

from lsml.config.schema import TrainConfig
from lsml.config.space import Space
from lsml.config.study import StudySettings
from lsml.data.splits import Steps
from lsml.names import Attribute
from lsml.study import trial_queue
from lsml.study.trial_queue import SearchQueue
from lsml.training.outcome import Attempt, TrialOutcome

BASE = TrainConfig()
SPACE = Space.parse({"model.dropout": {"low": 0.0, "high": 0.5}}, BASE)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(**settings: Any) -> SearchQueue:
    """The study as a process that has just started has it."""
    given = StudySettings.model_validate({"trials": 5, "sampler": "random", "pruner": "none"} | settings)
    queue = SearchQueue("sqlite:///optuna.db", "s", space=SPACE, base=BASE, settings=given, spec={})
    queue.close_open("killed")
    return queue


def asked(queue: SearchQueue) -> Attempt:
    attempt = queue.ask()
    assert attempt
    return attempt


def scored(f1: float, parameters: float = 1.0) -> TrialOutcome:
    return TrialOutcome(f1, "finished", Steps("epoch", 1), 1, 0.5, {}, {}, costs={"parameters": parameters})


class Clock:
    """Stands for `time`; its seconds pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What a search takes its time from."""
    clock = Clock()
    monkeypatch.setattr(trial_queue, "time", clock)
    return clock


def test_after_its_time_a_search_begins_nothing_and_ends_what_is_under_way(clock: Clock) -> None:
    """The same command goes on searching, as Optuna does."""
    queue = opened(timeout=300)
    first = asked(queue)
    clock.now += 299
    assert (queue.stopped, len(queue.wanted())) == ("", 5)
    clock.now += 2
    assert queue.ask() is None
    assert (queue.stopped, list(queue.wanted()), queue.ended()) == ("the 300 s of study.timeout were over", [0], 0)
    queue.complete(first, scored(0.5))
    assert queue.ended() == 1
    assert asked(opened(timeout=300)).slot == 1


def test_a_trial_lost_after_the_time_is_not_tried_again(clock: Clock) -> None:
    """It would be one that begins."""
    queue = opened(timeout=300)
    first = asked(queue)
    clock.now += 301
    assert queue.lose(first, "worker process died", step=0)
    assert (list(queue.wanted()), queue.ask()) == ([], None)


def test_a_search_ends_with_what_is_under_way_once_an_f1_is_reached() -> None:
    """Reached by trial 1 while trial 2 is under way; a process that starts later finds it so."""
    queue = opened(until_f1=0.7)
    attempts = [asked(queue) for _ in range(3)]
    queue.complete(attempts[0], scored(0.69))
    assert queue.stopped == ""
    queue.complete(attempts[1], scored(0.7))
    assert (queue.ask(), list(queue.wanted()), queue.ended()) == (None, [0, 1, 2], 2)
    queue.complete(attempts[2], scored(0.5))
    assert (queue.ended(), list(opened(until_f1=0.7).wanted())) == (3, [0, 1, 2])
    assert len(opened().wanted()) == 5


def test_an_f1_above_the_limit_on_costs_is_not_reached() -> None:
    """What may not be registered is no reason to stop."""
    queue = opened(until_f1=0.7, second_objective="parameters", max_cost=10)
    queue.complete(asked(queue), scored(0.9, parameters=11.0))
    assert queue.stopped == ""
    queue.complete(asked(queue), scored(0.8, parameters=10.0))
    assert queue.stopped == "a trial has reached F1 0.7 (study.until_f1)"


def test_losses_after_progress_cost_no_retry() -> None:
    """With two retries: lost in turn after steps 1, 3, 3, 4 and 4 of which the 1st, 3rd and 5th got no further."""
    queue = opened(max_retries=2)
    tried_again = [queue.lose(asked(queue), "worker process died", step=step) for step in (1, 3, 3, 4, 4)]
    assert tried_again == [True, True, True, True, False]
    (failed,) = queue.study.get_trials()
    assert failed.user_attrs[Attribute.REASON] == "worker process died, 2 retries used up"


def test_a_slot_that_never_gets_anywhere_has_its_retries_only() -> None:
    """With two retries, the third loss is the last."""
    queue = opened(max_retries=2)
    assert [queue.lose(asked(queue), "died", step=0) for _ in range(3)] == [True, True, False]
