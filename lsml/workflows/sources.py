"""Where a workflow's patches and models come from: folders, the synthetic dataset, runs, files of weights."""

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from lsml import __version__
from lsml.config.schema import TrainConfig
from lsml.config.space import Space, combinations
from lsml.config.study import DataEntry, SyntheticData
from lsml.data.folds import prepare_folds
from lsml.data.splits import StudyData, prepare
from lsml.errors import ConfigError, DataError, LsmlError, ModelError
from lsml.models.weights import FIELDS, check_suits, identity
from lsml.training import backend
from lsml.workspace import STATE_FOLDER, pack_cache

if TYPE_CHECKING:
    import keras

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


class LoadedModel(NamedTuple):
    """A network that gives probabilities, the threshold that goes with it, and its file's SHA-256."""

    network: "keras.Model"
    threshold: float
    sha256: str


def check_one_of(run_id: str | None, model: str | None) -> None:
    """A model is named by its run or by its name in the registry.

    Raises:
        ConfigError: neither or both are given.
    """
    if (run_id is None) == (model is None):
        raise ConfigError("model", "give either --run-id or --model", "for instance --model demo@candidate")


def named_run(client: Any, run_id: str | None, model: str | None) -> Any:
    """The run of that id, or the one that the registered `NAME@ALIAS` or `NAME/VERSION` came from.

    Raises:
        StorageError: there is no such run, model, alias or version.
    """
    from lsml.tracking.models import registered_run
    from lsml.tracking.runs import find_run

    return find_run(client, run_id or registered_run(client, str(model)))


def load_model(client: Any, run_id: str) -> LoadedModel:
    """The model of a run, by a client of MLflow.

    Raises:
        ModelError: the run has no model, or one that is refused.
        StorageError: it cannot be fetched.
    """
    from lsml.tracking.models import fetch

    # Keras comes last: a store that does not answer is said before the seconds that loading it takes.
    with tempfile.TemporaryDirectory() as folder:
        stored = fetch(client, run_id, Path(folder))
        backend.load_keras()
        from lsml.models.export import load_file

        return LoadedModel(load_file(stored.path), stored.threshold, stored.sha256)


def check_weights(space: Space, base: TrainConfig) -> dict[str, str]:
    """SHA-256 of every file of weights that the search can choose, by its name in the configuration.

    The base configuration, with which a study starts, has to be one that can start from its weights; of all others
    that the search can choose, each source of weights needs one. Where there is any source, Keras reads them all, in
    a process of its own: this one, which is to coordinate, loads none of it.

    Raises:
        ModelError: weights cannot be had, or fit no encoder that the search can choose with them.
        ConfigError: the rest of the configuration does not suit them.
    """
    configs = [config for config in combinations(space, base, FIELDS) if config.model.pretrained]
    if not configs:
        return {}
    files = {config.model.weights: config.model for config in configs if config.model.weights != "imagenet"}
    found = {path: identity(model) for path, model in files.items()}
    sources = {
        source: [config for config in configs if config.model.weights == source]
        for source in dict.fromkeys(config.model.weights for config in configs)
    }
    if base.model.pretrained:
        sources[base.model.weights] = [base]
    _in_own_process(list(sources.values()))
    return found


def _in_own_process(groups: list[list[TrainConfig]]) -> None:
    """Raises what `_check` does, in a process of its own that does not outlive this one for long."""
    backend.prepare()
    context = multiprocessing.get_context("spawn")
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, groups), daemon=True)
    process.start()
    sender.close()
    try:
        refusal = answer.recv()
    except EOFError:
        refusal = ModelError("model.weights", "the process that reads them was killed", "run the same command again")
    finally:
        process.kill()
        process.join()
    if refusal is not None:
        raise refusal


def _answer(sender: Connection, groups: list[list[TrainConfig]]) -> None:
    """Runs in the other process; sends the first error, or None."""
    # A terminal interrupts both; this one is killed by the other.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        backend.load_keras()
        for group in groups:
            _check(group)
    except LsmlError as refusal:
        sender.send(refusal)
    else:
        sender.send(None)


def _check(group: list[TrainConfig]) -> None:
    """Raises why none of the group can start from its weights, unless one can."""
    from lsml.models.pretrained import read

    refusals: list[LsmlError] = []
    tried: set[tuple[str, int]] = set()
    for config in group:
        encoder = config.model.encoder, config.model.filters
        try:
            check_suits(config)
            if encoder in tried:
                continue
            tried.add(encoder)
            read(config.model)
        except (ConfigError, ModelError) as refusal:
            refusals.append(refusal)
        else:
            return
    raise next((refusal for refusal in refusals if isinstance(refusal, ModelError)), refusals[0])
