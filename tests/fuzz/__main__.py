"""Finds inputs that lsml's readers do not stand.

    python -m tests.fuzz [--seconds 60] [--seed N] [--target NAME] [--keep fuzz-found]
    python -m tests.fuzz --target NAME --input FILE

The first prints a table of what became of the inputs, and how to repeat each finding; the second reads one input.
"""

import argparse
import sys
import time
from pathlib import Path
from random import SystemRandom

from tests.fuzz.running import complaint, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """1 where there is a finding."""
    options = argparse.ArgumentParser(description="Finds inputs that lsml's readers do not stand.")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    options.add_argument("--target", choices=TARGETS, action="append")
    options.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    options.add_argument("--input", type=Path)
    given = options.parse_args()
    targets = [TARGETS[name] for name in given.target or TARGETS]
    if given.input:
        why = complaint(targets[0], given.input.read_bytes())
        sys.stdout.write(f"{why.strip() or 'accepted, or refused in one line'}\n")
        return bool(why)
    sys.stdout.write(f"seed {given.seed}\n\n| target | inputs | a second | accepted | refused | findings |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    started, end = time.time(), time.monotonic() + given.seconds
    for place, target in enumerate(targets):
        begun = time.monotonic()
        share = max(0.0, end - begun) / (len(targets) - place)
        tally = fuzz(target, seed=given.seed, seconds=share, most=10**9, keep=given.keep)
        rate = tally.inputs / (time.monotonic() - begun)
        cells = (tally.target, tally.inputs, f"{rate:.0f}", tally.accepted, tally.refused, tally.findings)
        sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
        sys.stdout.flush()
    found = [path for path in sorted(given.keep.glob("*.txt")) if path.stat().st_mtime >= started]
    for path in found:
        name, kept = path.stem.rpartition("-")[0], path.with_suffix("")
        sys.stdout.write(f"\n{path.read_text().splitlines()[-1]}\n")
        sys.stdout.write(f"    python -m tests.fuzz --target {name} --input {kept}\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
