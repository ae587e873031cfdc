"""Packing a split against reading the same files.

python bench/pack.py [--patches 2000] [--sources 200] [--rounds 5] [--smoke]

Patches beyond the sources are the same files under other names. Few patches are packed by this process alone.
"""

import itertools
import shutil
import tempfile
from pathlib import Path

from timing import arguments, in_turns, median, ratio, show


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, patches=2000, sources=200)
    if given.smoke:
        given.patches = given.sources = 2
    from lsml.data.formats import read_image, read_mask
    from lsml.data.layout import PatchFiles
    from lsml.data.packing import pack_split
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.synthetic import synthesize

    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "data", train=given.sources, validation=1, test=1)
        train = Path(folder) / "data" / "TrainData"
        images = itertools.cycle(sorted((train / "img").glob("*.h5")))
        files = [
            PatchFiles(f"image_{number}", path, train / "mask" / path.name.replace("image", "mask"))
            for number, path in enumerate(itertools.islice(images, given.patches))
        ]
        packs = Path(folder) / "packs"

        def read() -> None:
            for patch in files:
                read_image(patch.image, LANDSLIDE4SENSE)
                read_mask(patch.mask, LANDSLIDE4SENSE)

        took = in_turns(
            {
                "remove": lambda: shutil.rmtree(packs, ignore_errors=True),
                "read": read,
                "pack": lambda: pack_split("train", files, packs, LANDSLIDE4SENSE, fill=None),
            },
            given.rounds,
        )
    rows = [
        [name, *(1000 * value / len(files) for value in median(seconds)), *ratio(seconds, took["read"])]
        for name, seconds in list(took.items())[1:]
    ]
    show(f"Pack of {len(files)} patches", ["", "CPU ms/patch", "wall ms/patch", "CPU, of read", "wall, of read"], rows)


if __name__ == "__main__":
    main()
