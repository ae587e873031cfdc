"""Auditing the splits of a dataset: what they do to a score, in numbers, figures and one table."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lsml.audit.duplicates import Pair, closest_pairs
from lsml.audit.facts import gather
from lsml.audit.figures import draw_holdout, draw_pairs, draw_separability, draw_similarity
from lsml.audit.holdout import Holdout, holdout
from lsml.audit.separability import Separability, separabilities
from lsml.data.hdf5 import read_image
from lsml.errors import DataError
from lsml.jobs.sources import Progress
from lsml.tables import to_csv

_DRAWN = 6


@dataclass(frozen=True)
class SplitAudit:
    """What was found out about the splits of a dataset.

    Attributes:
        counts: patches of each split.
        holdout: how far a random hold-out would flatter; None where train has too few patches with landslides.
        pairs: for each patch of a later split and each earlier split the closest patch, the most alike first.
        separabilities: of every two splits that are large enough.
        files: what was written.
    """

    root: Path
    counts: dict[str, int]
    holdout: Holdout | None
    pairs: tuple[Pair, ...]
    separabilities: tuple[Separability, ...]
    files: tuple[Path, ...]


def audit_splits(root: Path, *, output: Path, seed: int, progress: Progress) -> SplitAudit:
    """Measures the splits below `root`, and writes figures and `closest_pairs.csv` into the folder `output`.

    Files of an earlier audit there are replaced.

    Raises:
        DataError: no dataset there, a file of it that cannot be read, or `output` cannot be written.
    """
    facts = gather(root, seed=seed, progress=progress)
    pairs = closest_pairs(facts, progress)
    separable = separabilities(facts, seed=seed)
    flattery = holdout(facts.pixels, seed=seed, progress=progress)
    written: dict[str, bytes] = {}
    if pairs:
        drawn = pairs[:_DRAWN]
        images = {file: read_image(facts.root / file) for pair in drawn for file in (pair.file, pair.match)}
        written["closest_pairs.csv"] = to_csv([pair._asdict() for pair in pairs]).encode()
        written["closest_pairs.png"] = draw_pairs(drawn, images)
        written["similarity.png"] = draw_similarity(pairs)
    if separable:
        written["separability.png"] = draw_separability(separable)
    if flattery:
        written["random_holdout.png"] = draw_holdout(flattery)
    counts = Counter(patch.split for patch in facts.patches)
    return SplitAudit(
        facts.root, dict(counts), flattery, tuple(pairs), tuple(separable), tuple(_write(output, written))
    )


def _write(output: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
    except OSError as error:
        raise DataError(
            f"folder {output}", f"cannot be written ({error.strerror})", "name another with --output DIR"
        ) from None
    return [output / name for name in files]
