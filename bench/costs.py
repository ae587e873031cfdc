"""What nobody should have to wait for, each beside what it may take at most.

python bench/costs.py [--rounds 5] [--smoke]

Python's own start is taken off what starts one. The arrays are as many as Landslide4Sense's validation and test splits
have, or a mask of 4 million pixels of one band, whose values NumPy sorts.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from timing import arguments, in_turns, median, show

START, SORT = "python", "sorting a mask"
LIMITS = {
    "import lsml": (0.15, START),
    "lsml --help": (0.5, START),
    "counting the pixels of 245 patches": (1.0, ""),
    "counting the landslides of 800 patches": (4.0, ""),
    "reading a mask": (20.0, SORT),
}
"""Seconds of CPU: beyond Python's start, or by themselves; of the mask, how many times as long as sorting it,
without what the process that reads its file for this one takes."""


def _python(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__)
    import numpy as np

    from lsml.data.formats import read_mask
    from lsml.data.sensor import RGB
    from lsml.scoring.metrics import PooledCounts
    from lsml.scoring.objects import ObjectCounts

    random, patches = np.random.default_rng(5), 2 if given.smoke else 245
    truth = random.integers(0, 2, (patches, 128, 128), dtype="uint8")
    probability = random.random(truth.shape, dtype="float32")
    speckled = random.random((8, 2, 128, 128)) < 0.1
    mask = np.zeros((2048, 2048), np.uint8)
    mask[500:900, 300:1300] = 1

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.npy"
        np.save(path, mask)
        took = in_turns(
            {
                START: lambda: _python("-c", "pass"),
                "import lsml": lambda: _python("-c", "import lsml"),
                "lsml --help": lambda: _python("-m", "lsml", "--help"),
                "counting the pixels of 245 patches": lambda: PooledCounts().update(truth, probability),
                "counting the landslides of 800 patches": lambda: [
                    ObjectCounts.of_patch(*pair) for _ in range(1 if given.smoke else 100) for pair in speckled
                ],
                SORT: lambda: np.unique(mask),
                "reading a mask": lambda: read_mask(path, RGB),
            },
            given.rounds,
        )
    cpu = {name: median(seconds).cpu for name, seconds in took.items()}
    rows = []
    for name, (most, against) in LIMITS.items():
        cost = {"": cpu[name], START: cpu[name] - cpu[START]}.get(against, cpu[name] / cpu[SORT])
        rows.append([name, cost, most, f"times {SORT}" if against == SORT else "s"])
    show("What it costs in CPU time", ["", "takes", "at most", ""], rows)


if __name__ == "__main__":
    main()
