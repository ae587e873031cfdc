"""Where the time of an epoch goes."""

import time
from collections.abc import Iterator

import pytest

from lsml.training.outcome import Laps


def _slowly() -> Iterator[int]:
    for item in range(3):
        time.sleep(0.02)
        yield item


def test_laps_add_up_to_the_epoch() -> None:
    """Waiting for three items takes .06 s at least, working on each .01 s; what is left of the second is else."""
    laps = Laps()
    for seconds in (1.0, 2.0, 4.0):
        laps.begin()
        items = []
        for item in laps.waiting("waiting", _slowly()):
            with laps.measure("work"):
                time.sleep(0.01)
                items.append(item)
        laps.end(seconds)
        assert items == [0, 1, 2]
    for epoch, seconds in zip(laps.epochs, (1.0, 2.0, 4.0), strict=True):
        assert epoch["waiting"] >= 0.06
        assert epoch["work"] >= 0.03
        assert sum(epoch.values()) == pytest.approx(seconds)
    found = laps.summary()
    assert list(found) == ["waiting", "work", "else", "together"]
    # The first is 1 s long, the others 2 and 4: their median is 3.
    assert found["together"] == pytest.approx((1.0, 3.0))


def test_what_failed_is_measured_too() -> None:
    """An error goes on, after its time was taken down; an epoch alone is both the first and the later one."""
    laps = Laps()
    assert laps.summary() == {}
    laps.begin()
    with pytest.raises(ValueError, match="no"), laps.measure("work"):
        raise ValueError("no")
    laps.end(1.0)
    first, later = laps.summary()["together"]
    assert first == later == pytest.approx(1.0)
    assert laps.summary()["work"][0] >= 0
