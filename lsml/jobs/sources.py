"""Where a job's patches come from: a folder, or the synthetic dataset, made on first use."""

from collections.abc import Callable, Mapping
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


def recorded_root(tags: Mapping[str, str], given: Path | None) -> Path:
    """The folder of the patches that a run with these tags was trained on: `given`, else where they lay then.

    Raises:
        DataError: the folder does not exist.
    """
    from lsml.tracking.runs import DATA_ROOT

    root = given or Path(tags.get(DATA_ROOT, ""))
    if not root.is_dir():
        raise DataError(f"dataset {root}", "no such folder", "give its path with --data DIR")
    return root.resolve()


def recorded_data(tags: Mapping[str, str], given: Path | None, progress: Progress) -> StudyData:
    """The patches that a run was trained on.

    Raises:
        DataError: they are not there, or their fingerprint is another.
    """
    from lsml.tracking.runs import FOLDS, REPEATS, data_tags

    root = recorded_root(tags, given)
    patches: StudyData
    if FOLDS in tags:
        patches = prepare_folds(
            root, pack_cache(), folds=int(tags[FOLDS]), repeats=int(tags[REPEATS]), progress=progress
        )
    else:
        patches = prepare(root, pack_cache(), progress)
    found = data_tags(patches, str(root))
    others = [name for name in ("lsml.data.train", "lsml.data.validation") if tags.get(name) != found.get(name)]
    if others:
        names = " and ".join(name.rpartition(".")[2] for name in others)
        raise DataError(f"dataset {root}", f"its {names} patches are not those of the run", "give them with --data DIR")
    return patches


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
