"""Auditing a dataset, with a picture of what was found."""

from pathlib import Path

from lsml.data.audit import Audit, audit
from lsml.errors import DataError
from lsml.figures import draw_audit
from lsml.jobs.sources import Progress


def check(root: Path, *, out: Path, progress: Progress) -> Audit:
    """Reads every file of every split below `root`, and draws the findings into the PNG `out`.

    Raises:
        DataError: no dataset there, or `out` cannot be written.
    """
    found = audit(root, progress)
    try:
        out.write_bytes(draw_audit(found.splits, found.findings))
    except OSError as error:
        raise DataError(f"picture {out}", str(error.strerror), "give another file with --out") from None
    return found
