"""How commands speak: bars and tables in a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as Grid

from lsml.names import EndState, Metric, Role, State

if TYPE_CHECKING:
    from lsml.data.splits import Steps
    from lsml.report.summary import Table
    from lsml.training.outcome import Attempt


def print_table(table: "Table") -> None:
    """Prints a table; ids of runs stay whole, to be copied. A log gets plain columns of the width that they need."""
    if not sys.stdout.isatty():
        _print_columns(table)
        return
    grid = Grid(title=table.title or None, title_justify="left")
    for index, column in enumerate(table.columns):
        grid.add_column(column, justify="left" if index == 0 else "right", overflow="fold", no_wrap=column == "run")
    for place, row in enumerate(table.rows):
        grid.add_row(*map(str, row), style="bold" if place in table.marked else None)
    Console(highlight=False).print(grid)


def _print_columns(table: "Table") -> None:
    rows = [list(map(str, row)) for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if table.title:
        typer.echo(table.title)
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        typer.echo("  ".join(cells).rstrip())


def print_reliability(patches: int) -> None:
    """Warns where intervals are of too few patches."""
    from lsml.scoring.bootstrap import MIN_PATCHES

    if patches < MIN_PATCHES:
        typer.echo(f"intervals are unreliable: fewer than {MIN_PATCHES} patches")


class Reporter:
    """Shows long work on standard error: a bar a running trial in a terminal, else a line an epoch."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            if self._console.is_terminal
            else None
        )
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, Steps] = {}
        self._best = 0.0
        self._spoke = 0.0

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def say(self, line: str) -> None:
        """One line."""
        (self._bars.console if self._bars else self._console).print(line, markup=False)

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what`."""
        if self._bars:
            self._move(what, done, total, "")
            if done == total:
                self._bars.remove_task(self._tasks.pop(what))
        elif done == total or time.monotonic() - self._spoke > 5:
            self._spoke = time.monotonic()
            self.say(f"{what}: {done} of {total}")

    def _move(self, key: str, done: int, total: int, note: str) -> None:
        assert self._bars
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(key, total=total, note=note)
        self._bars.update(self._tasks[key], completed=done, note=note)

    def study_started(self, *, study: str, trials: int, ended: int, workers: int, source: str, engine: str) -> None:
        self.say(f"data: {source}")
        so_far = f", {ended} of them ended before" if ended else ""
        self.say(f"study {study}: {trials} trials{so_far}, {workers} at a time")
        if engine:
            self.say(f"search: {engine}")

    def stage_started(self, title: str) -> None:
        self.say(title)

    def trial_started(self, attempt: "Attempt", steps: "Steps") -> None:
        from lsml.config.fields import format_value

        self._steps[attempt.title] = steps
        chosen = ", ".join(f"{name}={format_value(value)}" for name, value in attempt.searched.items())
        again = f" (attempt {attempt.ordinal})" if attempt.ordinal > 1 else ""
        self.say(f"{attempt.title}{again}{': ' if chosen else ''}{chosen}")
        if self._bars:
            self._move(attempt.title, 0, steps.total, "starting")

    def trial_step(self, attempt: "Attempt", step: int, metrics: Mapping[str, float]) -> None:
        self.show_step(attempt.title, step, self._steps[attempt.title], metrics)

    def show_step(self, key: str, step: int, steps: "Steps", metrics: Mapping[str, float]) -> None:
        """One step of the training called `key`, of all `steps`."""
        note = "  ".join(f"{name} {metrics[name]:.3f}" for name in ("loss", Metric.VAL_F1) if name in metrics)
        if self._bars:
            self._move(key, step, steps.total, note)
        else:
            self.say(f"{key}  {steps.noun} {step}/{steps.total}  {note}")

    def trial_ended(self, attempt: "Attempt", state: "EndState", value: float | None, reason: str) -> None:
        key = attempt.title
        if self._bars and key in self._tasks:
            self._bars.remove_task(self._tasks.pop(key))
        score = f"  val_f1 {value:.4f}" if value is not None else ""
        best = ""
        if attempt.role == Role.TRIAL and state == State.COMPLETE and value is not None and value > self._best:
            self._best, best = value, "  best so far"
        why = f"  ({reason})" if reason else ""
        self.say(f"{key}: {state}{score}{best}{why}")
