"""How commands speak: bars and tables in a terminal, plain lines in a log."""

import logging
import re
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
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
    """Prints a table: in a terminal as wide as it may be, in a log or a pipe in plain columns of the width they need.

    Where a terminal is too narrow, heads of columns are broken between words, then ids of runs cut to the digits that
    every command takes for them; what is still too wide is a block a row.
    """
    if not sys.stdout.isatty():
        _print_columns(table)
        return
    console = Console(highlight=False, markup=False)
    rows = [[str(cell) for cell in row] for row in table.rows]
    briefly = [[_RUN_ID.sub(r"\1", cell) for cell in row] for row in rows]
    for cells, heads in ((rows, table.columns), (rows, _words(table)), (briefly, _words(table))):
        widths = [max(map(len, (*head.split("\n"), *column))) for head, *column in zip(heads, *cells, strict=True)]
        if sum(widths) + 3 * len(widths) + 1 <= console.width:
            console.print(_grid(table, heads, cells))
            return
    _print_blocks(table, briefly, console.width)


_RUN_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")


def _words(table: "Table") -> list[str]:
    return [column.replace(" ", "\n") for column in table.columns]


def _grid(table: "Table", heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    grid = Grid(title=table.title or None, title_justify="left")
    for index, head in enumerate(heads):
        grid.add_column(head, justify="left" if index == 0 else "right")
    for place, row in enumerate(rows):
        grid.add_row(*row, style="bold" if place in table.marked else None)
    return grid


def _print_blocks(table: "Table", rows: Sequence[Sequence[str]], width: int) -> None:
    """Each row by itself: its head, then what the other columns say, broken between columns."""
    if table.title:
        typer.echo("\n".join(textwrap.wrap(table.title, width)))
    numbered = all(head.isdigit() for head, *_ in rows)
    if not numbered:
        typer.echo(f"{table.columns[0]}:")
    for head, *cells in rows:
        said = [f"{column} {cell}".strip() for column, cell in zip(table.columns[1:], cells, strict=True) if cell]
        # What does not fit into a line of its own is broken between words.
        kept = [text.replace(" ", _JOINED) if len(text) <= width - len(_INDENT) else text for text in said]
        lines = textwrap.wrap("  ".join(kept), width, initial_indent=_INDENT, subsequent_indent=_INDENT)
        typer.echo(f"{table.columns[0]} {head}" if numbered else head)
        typer.echo("\n".join(lines).replace(_JOINED, " "))


def print_wrapped(line: str, *, indent: int) -> None:
    """Prints a line, in a terminal broken between words, those after the first indented by so many columns."""
    if sys.stdout.isatty():
        line = "\n".join(textwrap.wrap(line, Console().width, subsequent_indent=" " * indent))
    typer.echo(line)


_INDENT, _JOINED = "    ", "\N{NO-BREAK SPACE}"


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


class _Search:
    """How far the search of a study is.

    Args:
        trials: how many it is to have.
        ended: those that had ended before.
        best: the highest F1 of these, None where there is none.
    """

    def __init__(self, trials: int, ended: int, best: float | None) -> None:
        self.trials, self.best = trials, best
        self._before, self._slots = ended, set[int]()
        self._since = time.monotonic()

    @property
    def ended(self) -> int:
        """How many trials have ended by now."""
        return self._before + len(self._slots)

    def begin(self, slot: int) -> None:
        """A trial starts, or starts again."""
        self._slots.discard(slot)

    def end(self, slot: int, value: float | None) -> bool:
        """A trial has ended, with that F1 where it is complete; gives whether that is the best so far."""
        self._slots.add(slot)
        is_best = value is not None and value > (self.best or 0.0)
        self.best = value if is_best else self.best
        return is_best

    def describe(self) -> str:
        """`2 of 6 trials, best val_f1 0.2222, about 40 s left`."""
        best = f", {self.describe_best()}" if self.best else ""
        left = max(self.trials - self.ended, 0)
        seconds = (time.monotonic() - self._since) / max(len(self._slots), 1) * left
        return f"{self.ended} of {self.trials} trials{best}" + (f", about {_duration(seconds)} left" if left else "")

    def describe_best(self) -> str:
        """`best val_f1 0.2222`; empty where there is none."""
        return f"best {Metric.VAL_F1} {self.best:.4f}" if self.best else ""


def _duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"


_MINUTE, _HOUR = 60, 3600
_LOG_SECONDS = 10.0
"""In a log a training tells of no more than one epoch or fold in so long, but for its first and its last."""


class Reporter:
    """Shows long work on standard error: in a terminal a bar for the study and each running trial, else plain lines."""

    def __init__(self) -> None:
        quiet = logging.getLogger("lsml").level > logging.INFO
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(separator=" of "),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                speed_estimate_period=_HOUR,  # trials take minutes
            )
            if self._console.is_terminal
            else None
        )
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, Steps] = {}
        self._search: _Search | None = None
        self._study = ""
        self._spoke: dict[str, float] = {}

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
        elif done == total or self._may_speak("step", 5):
            self.say(f"{what}: {done} of {total}")

    def _may_speak(self, key: str, pause: float) -> bool:
        """Whether so many seconds have passed since it last might."""
        now = time.monotonic()
        may = now - self._spoke.get(key, -pause) >= pause
        if may:
            self._spoke[key] = now
        return may

    def _move(self, key: str, done: int, total: int, note: str) -> None:
        assert self._bars
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(key, total=total, note=note)
        self._bars.update(self._tasks[key], completed=done, note=note)

    def study_started(
        self, *, study: str, trials: int, ended: int, best: float | None, workers: int, source: str, engine: str
    ) -> None:
        self._search, self._study = _Search(trials, ended, best), f"study {study}"
        self.say(f"data: {source}")
        so_far = f", {ended} of them ended before" if ended else ""
        self.say(f"study {study}: {trials} trials{so_far}, {workers} at a time")
        if engine:
            self.say(f"search: {engine}")
        self._show_search()

    def _show_search(self) -> None:
        if self._bars and self._search:
            self._move(self._study, self._search.ended, self._search.trials, self._search.describe_best())

    def stage_started(self, title: str) -> None:
        self.say(title)

    def trial_started(self, attempt: "Attempt", steps: "Steps") -> None:
        from lsml.config.fields import format_value

        self._steps[attempt.title] = steps
        # It may have run, and spoken, before.
        self._spoke.pop(attempt.title, None)
        chosen = ", ".join(f"{name}={format_value(value)}" for name, value in attempt.searched.items())
        again = f" (attempt {attempt.ordinal})" if attempt.ordinal > 1 else ""
        self.say(f"{attempt.title}{again}{': ' if chosen else ''}{chosen}")
        if self._search and attempt.role == Role.TRIAL:
            self._search.begin(attempt.slot)
            self._show_search()
        if self._bars:
            self._move(attempt.title, 0, steps.total, "building, compiling")

    def trial_step(self, attempt: "Attempt", step: int, metrics: Mapping[str, float]) -> None:
        self.show_step(attempt.title, step, self._steps[attempt.title], metrics)

    def show_step(self, key: str, step: int, steps: "Steps", metrics: Mapping[str, float]) -> None:
        """One step of the training called `key`, of all `steps`."""
        note = "  ".join(f"{name} {metrics[name]:.3f}" for name in ("loss", Metric.VAL_F1) if name in metrics)
        if self._bars:
            self._move(key, step, steps.total, note)
        elif self._may_speak(key, _LOG_SECONDS) or step == steps.total:
            self.say(f"{key}  {steps.noun} {step}/{steps.total}  {note}")

    def trial_ended(self, attempt: "Attempt", state: "EndState", value: float | None, reason: str) -> None:
        key = attempt.title
        if self._bars and key in self._tasks:
            self._bars.remove_task(self._tasks.pop(key))
        score = f"  val_f1 {value:.4f}" if value is not None else ""
        why = f"  ({reason})" if reason else ""
        search = self._search if attempt.role == Role.TRIAL and state in _COUNTED else None
        is_best = search is not None and search.end(attempt.slot, value if state == State.COMPLETE else None)
        self.say(f"{key}: {state}{score}{'  best so far' if is_best else ''}{why}")
        self._show_search()
        if search and not self._bars:
            self.say(search.describe())


_COUNTED = (State.COMPLETE, State.PRUNED, State.FAILED)
