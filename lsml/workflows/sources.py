"""Where the inputs of workflows come from: patches, the synthetic dataset, files of weights; who hears of progress."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lsml.config.schema import TrainConfig
from lsml.config.space import Space
from lsml.config.study import DataEntry, SyntheticData
from lsml.data.holdout import training_splits
from lsml.data.quality import admit, look_at_masks, look_at_splits
from lsml.data.sensor import LANDSLIDE4SENSE, Sensor
from lsml.data.splits import FoldedData, Steps, StudyData, TrainingData, in_partition
from lsml.data.synthetic import synthesize
from lsml.errors import ConfigError, DataError, LsmlError, ModelError
from lsml.models.pretrained import FIELDS, check_suits, identity, read
from lsml.names import VERSION, EndState, Tag
from lsml.training.device import load_keras
from lsml.training.device import prepare as prepare_process
from lsml.training.outcome import Attempt
from lsml.workspace import STATE_FOLDER, Progress, in_turn, pack_cache


class Listener(Protocol):
    """Told of the progress of longer work; subclass it and override what is to be shown."""

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what` are done."""
        return

    def show_step(self, key: str, step: int, steps: Steps, metrics: Mapping[str, float]) -> None:
        """The training called `key` has ended an epoch or a fold, with these metrics."""
        return

    def study_started(
        self, *, study: str, trials: int, ended: int, best: float | None, workers: int, source: str, engine: str
    ) -> None:
        """A study starts, of whose trials some may have ended before, with `best` as their highest F1."""
        return

    def stage_started(self, title: str) -> None:
        """A part of a study starts."""
        return

    def trial_started(self, attempt: Attempt, steps: Steps) -> None:
        """A worker has taken a trial."""
        return

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        """A trial has ended an epoch or a fold, with these metrics."""
        return

    def trial_ended(self, attempt: Attempt, state: EndState, value: float | None, reason: str) -> None:
        """A trial has ended; `value` is its F1, None where it has none."""
        return


class _Silent(Listener):
    pass


SILENT = _Silent()
"""Shows nothing."""


def admitted(data: StudyData, root: Path, *, force: bool) -> dict[str, str]:
    """Warns of what is unusual about the patches of a training; gives it as tags of its run.

    Args:
        root: their folder.
        force: warn of values that look wrong too.

    Raises:
        DataError: values look wrong, and it is not forced.
    """
    files = training_splits(root)
    masks = (*files.train, *(files.validation if len(data.splits) > 1 else ()))
    return admit({"masks": look_at_masks(masks, files.sensor), **look_at_splits(data.splits)}, force=force)


class _Admitted(NamedTuple):
    """Patches that may be trained on, and what is unusual about them, as tags of a run."""

    patches: StudyData
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ExperimentData:
    """The patches that an experiment names.

    Attributes:
        given: their folder, instead of what the experiment names.
        progress: hears what is made or packed.
        force: take patches whose values look wrong.
    """

    entry: DataEntry
    given: str | Path | None
    progress: Progress
    force: bool = False

    @cached_property
    def root(self) -> Path:
        """Their folder; a synthetic dataset is made where it does not exist.

        Raises:
            DataError: the folder does not exist.
        """
        if self.given is None and self.entry.synthetic is not None:
            return _synthetic(self.entry.synthetic, self.progress)
        root = Path(os.path.expanduser(self.given or str(self.entry.path)))  # noqa: PTH111 (~nobody stays)
        if not root.is_dir():
            why = "is no folder" if root.exists() else "no such folder"
            raise DataError(f"dataset {root}", why, "give its path with --data, or make one: lsml data synth DIR")
        return root.resolve()

    @property
    def sensor(self) -> Sensor:
        """What their bands are; a synthetic dataset is not made for that.

        Raises:
            DataError: the folder does not exist, or what its bands are is not known.
        """
        made = self.given is None and self.entry.synthetic is not None
        return LANDSLIDE4SENSE if made else training_splits(self.root).sensor

    def prepare(self, cache: Path) -> _Admitted:
        """The patches that the experiment's trials train and validate on, packed below `cache`.

        Raises:
            DataError: a dataset or file that cannot be used, or more folds than patches.
        """
        patches = _prepare(self.root, cache, self.progress, **self.entry.model_dump(exclude={"path", "synthetic"}))
        return _Admitted(patches, admitted(patches, self.root, force=self.force))


@dataclass(frozen=True)
class RecordedData:
    """The patches that a run with these tags was trained on.

    Attributes:
        given: their folder, where they have moved.
        force: take patches whose values look wrong, as a command does that only repeats what was done with them.
    """

    tags: Mapping[str, str]
    given: str | Path | None
    force: bool = True

    @property
    def root(self) -> Path:
        """Their folder.

        Raises:
            DataError: it does not exist.
        """
        root = Path(self.given or self.tags.get(Tag.DATA_ROOT, "of the run"))
        if not root.is_dir():
            raise DataError(f"dataset {root}", "no such folder", "give its path with --data DIR")
        return root.resolve()

    def prepare(self, progress: Progress) -> _Admitted:
        """The patches, packed, and what is unusual about them.

        Raises:
            DataError: they do not exist, or have another fingerprint.
        """
        patches = self.pack(progress)
        return _Admitted(patches, admitted(patches, self.root, force=self.force))

    def pack(self, progress: Progress) -> StudyData:
        """The patches, packed.

        Raises:
            DataError: they do not exist, or have another fingerprint.
        """
        tags, root = self.tags, self.root
        how = {"repeats": int(tags.get(Tag.DATA_REPEATS, 1)), "hold_out_test": Tag.DATA_HOLD_OUT_TEST in tags}
        patches = _prepare(root, pack_cache(), progress, folds=int(tags.get(Tag.DATA_FOLDS, 0)), **how)
        patches = in_partition(patches, int(tags.get(Tag.DATA_PARTITION, 0)))
        now = {f"{Tag.DATA}{name}": str(value) for name, value in patches.identity.items()}
        told = (Tag.DATA_TRAIN, Tag.DATA_VALIDATION, Tag.DATA_REGIONS)
        others = [name.rpartition(".")[2] for name in told if tags.get(name) != now.get(name)]
        if others:
            why = f"its {' and '.join(others)} patches are not those of the run"
            raise DataError(f"dataset {root}", why, "give them with --data DIR")
        return patches


def _prepare(root: Path, cache: Path, progress: Progress, *, folds: int | None, **how: Any) -> StudyData:
    """The patches in folds, or with a validation split; `how` as `FoldedData.prepare` takes them."""
    if not folds:
        return TrainingData.prepare(root, cache, progress)
    return FoldedData.prepare(root, cache, folds=folds, progress=progress, **how)


def _synthetic(settings: SyntheticData, progress: Progress) -> Path:
    """The folder of the synthetic dataset, made where it does not exist; one a version of lsml and settings."""
    counts = f"{settings.train}-{settings.validation}-{settings.test}"
    root = STATE_FOLDER / "synthetic" / f"{VERSION}-{counts}-seed{settings.seed}"
    with in_turn(Path(f"{root}.lock")):
        if not root.exists():
            synthesize(
                root, **settings.model_dump(), progress=lambda done, total: progress("synthetic patches", done, total)
            )
    return root.resolve()


def check_weights(space: Space, base: TrainConfig, data: ExperimentData) -> dict[str, str]:
    """SHA-256 of every file of weights that the search can choose, by its name in the configuration.

    The base configuration, with which a study starts, has to be one that can start from its weights; of all others
    that the search can choose, each source of weights needs one. Where there is any source, Keras reads them all, in
    a process of its own: this one, which is to coordinate, loads none of it.

    Args:
        data: the patches, whose bands have to suit them too.

    Raises:
        DataError: what the bands are is not known.
        ModelError: weights cannot be had, or fit no encoder that the search can choose with them.
        ConfigError: the rest of the configuration, or the bands, do not suit them.
    """
    configs = [config for config in space.combinations(base, FIELDS) if config.model.pretrained]
    if not configs:
        return {}
    files = {config.model.weights: config.model for config in configs if config.model.weights != "imagenet"}
    digests = {path: identity(model) for path, model in files.items()}
    sources = {
        source: [config for config in configs if config.model.weights == source]
        for source in dict.fromkeys(config.model.weights for config in configs)
    }
    if base.model.pretrained:
        sources[base.model.weights] = [base]
    _in_own_process(list(sources.values()), data.sensor)
    return digests


def _in_own_process(groups: list[list[TrainConfig]], sensor: Sensor) -> None:
    """Runs `_check` on each group in a process of its own, and raises what it raised."""
    prepare_process()
    context = multiprocessing.get_context("spawn")
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, groups, sensor), daemon=True)
    process.start()
    sender.close()
    try:
        error = answer.recv()
    except EOFError:
        error = ModelError("model.weights", "the process that reads them was killed", "run the same command again")
    finally:
        process.kill()
        process.join()
    if error is not None:
        raise error


def _answer(sender: Connection, groups: list[list[TrainConfig]], sensor: Sensor) -> None:
    """Runs in the other process; sends the first error, or None."""
    # A terminal interrupts both; this one is killed by the other.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        load_keras()
        for group in groups:
            _check(group, sensor)
    except LsmlError as error:
        sender.send(error)
    else:
        sender.send(None)


def _check(group: list[TrainConfig], sensor: Sensor) -> None:
    """Raises why no configuration of the group can start from its weights, unless one can."""
    errors: list[LsmlError] = []
    tried: set[tuple[str, int]] = set()
    for config in group:
        encoder = config.model.encoder, config.model.filters
        try:
            check_suits(config, sensor)
            if encoder in tried:
                continue
            tried.add(encoder)
            read(config.model)
        except (ConfigError, ModelError) as error:
            errors.append(error)
        else:
            return
    raise next((error for error in errors if isinstance(error, ModelError)), errors[0])


def open_dataset(folder: str | Path, *, force: bool = False, progress: Progress = SILENT.step) -> TrainingData:
    """Opens a dataset as training sees it: its train and validation patches, packed on first use, never its test split.

    `dataset.train.batch([0, 1])` gives stored values float32 `(2, H, W, C)` and masks `(2, H, W, 1)` of 0 and 1;
    `dataset.statistics` are those of the train split's bands, which `lsml.build_model` takes.

    Args:
        folder: of the patches, in one of the layouts of `docs/data.md`.
        force: only warn of values that look wrong.
        progress: hears how many patches are packed.

    Raises:
        DataError: a folder or file that cannot be used.

    Examples:
        >>> dataset = lsml.open_dataset("landslide4sense")
        >>> images, masks = dataset.train.batch([0, 1])
        >>> network = lsml.build_model(experiment.base, dataset.statistics)
    """
    data = TrainingData.prepare(Path(folder), pack_cache(), progress)
    admitted(data, Path(folder), force=force)
    return data
