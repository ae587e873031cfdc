"""What the other files of this folder share: ways to do a thing in turns, their medians, and a table of ratios."""

import argparse
import gc
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil


class Took(NamedTuple):
    """Seconds that something took: of all processors together, and of the clock on the wall.

    The processors' are those of this process and of those that it started, also where these live on, as the one does
    that reads files for this process.
    """

    cpu: float
    wall: float


def arguments(text: str, **defaults: int | str) -> argparse.Namespace:
    """The command line of a file here: `--rounds`, `--smoke` and options of its own.

    Args:
        text: the file's docstring.
        defaults: by name; `--smoke` makes each as small as it can be, to see that the file still runs.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: whether it runs, not how fast")
    for name, default in {"rounds": 5, **defaults}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = parser.parse_args()
    if given.smoke:
        given.rounds = 1
    return given


def once(what: Callable[[], object]) -> Took:
    """One call."""
    gc.collect()
    cpu, wall = _cpu_seconds(), time.perf_counter()
    what()
    return Took(_cpu_seconds() - cpu, time.perf_counter() - wall)


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    living = (child.cpu_times() for child in psutil.Process().children())
    return sum(used.ru_utime + used.ru_stime for used in both) + sum(used.user + used.system for used in living)


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Took]]:
    """Each way once a round, after one round that does not count."""
    took: dict[str, list[Took]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = once(way)
            if number:
                took[name].append(seconds)
    return took


def median(took: Sequence[Took]) -> Took:
    """Of each kind of seconds by itself."""
    return Took(statistics.median(each.cpu for each in took), statistics.median(each.wall for each in took))


def ratio(took: Sequence[Took], against: Sequence[Took]) -> Took:
    """How many times as long, the median over the rounds."""
    pairs = list(zip(took, against, strict=True))
    return Took(
        statistics.median(one.cpu / other.cpu for one, other in pairs),
        statistics.median(one.wall / other.wall for one, other in pairs),
    )


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table below what it was measured on."""
    print(f"\n{title}; {machine()}\n")
    for row in (columns, ["---"] * len(columns), *rows):
        print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def machine() -> str:
    """Processor, cores and the versions that decide."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    found = [f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()]
    for package in ("tensorflow", "jax", "torch", "keras", "numpy"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
