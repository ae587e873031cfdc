"""Where a job's patches come from: a folder, or the synthetic dataset, made on first use."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from lsml import __version__
from lsml.data.folds import prepare_folds
from lsml.data.training import StudyData, prepare
from lsml.errors import DataError
from lsml.experiment import DataEntry, SyntheticData

STATE_FOLDER = Path(".lsml")
Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)` tells of a step of a longer piece of work."""


def data_root(entry: DataEntry, given: Path | None, progress: Progress) -> Path:
    """The folder of the patches: `given`, else what the experiment names.

    Raises:
        DataError: the folder does not exist.
    """
    if given is None and entry.synthetic is not None:
        return _synthetic(entry.synthetic, progress)
    root = given or Path(str(entry.path)).expanduser()
    if not root.is_dir():
        raise DataError(
            f"dataset {root}", "no such folder", "give its path with --data, or make one: lsml data synth DIR"
        )
    return root.resolve()


def prepare_data(entry: DataEntry, root: Path, cache: Path, progress: Progress) -> StudyData:
    """What the trials of an experiment see of the dataset at `root`, packed below `cache`.

    Raises:
        DataError: a dataset or file that cannot be used, or more folds than patches.
    """
    if entry.folds is None:
        return prepare(root, cache, progress)
    return prepare_folds(root, cache, folds=entry.folds, repeats=entry.repeats, progress=progress)


def _synthetic(settings: SyntheticData, progress: Progress) -> Path:
    from lsml.data.synthetic import synthesize

    counts = f"{settings.train}-{settings.validation}-{settings.test}"
    root = STATE_FOLDER / "synthetic" / f"{__version__}-{counts}-seed{settings.seed}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.exists():
            synthesize(
                root,
                train=settings.train,
                validation=settings.validation,
                test=settings.test,
                seed=settings.seed,
                progress=lambda done, total: progress("synthetic patches", done, total),
            )
    return root.resolve()


def pack_cache() -> Path:
    """Where packed splits are kept."""
    return STATE_FOLDER / "packs"
