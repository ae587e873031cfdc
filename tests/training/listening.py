"""Hears what a training reports."""

from lsml.training.outcome import StepEvent


class Listener:
    """Keeps the events, and ends a training after `last` of them."""

    def __init__(self, last: int | None = None) -> None:
        self.events: list[StepEvent] = []
        self._last = last

    def __call__(self, event: StepEvent) -> bool:
        self.events.append(event)
        return len(self.events) != self._last
