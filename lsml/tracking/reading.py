"""Reads back what runs left in MLflow: their tables and pictures, and what a report says of a study."""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from lsml.config.fields import flatten
from lsml.config.schema import TrainConfig
from lsml.errors import DataError
from lsml.names import OBJECTIVE, Artifact, Metric, Role, ScoredSplit, State, Tag
from lsml.report.facts import DataFacts, EvaluatedRun, ScoredRun, SpentTime, SplitFacts, TopTrial
from lsml.scoring.calibration import rescale_threshold
from lsml.scoring.comparison import PatchCounts, ScoredModel
from lsml.scoring.metrics import PooledCounts
from lsml.scoring.regions import RegionScore
from lsml.tracking.runs import score_kind
from lsml.tracking.store import Client, Run, storage_errors

_ENVIRONMENT = {
    "Device": Tag.DEVICE,
    "Precision": Tag.PRECISION,
    "XLA": Tag.XLA,
    "Backend": Tag.BACKEND,
    "Keras": Tag.KERAS,
    "lsml": Tag.VERSION,
    "Python": Tag.PYTHON,
    "Machine": Tag.MACHINE,
    "Code commit": Tag.COMMIT,
}
TABLES: dict[ScoredSplit, str] = {"validation": Artifact.VALIDATION_PATCHES, "test": Artifact.TEST_PATCHES}
"""The artifact with one row a patch, of which the scores are sums."""

_CURVES = (OBJECTIVE, Metric.VAL_LOSS)
_STATES = {"RUNNING": "under way, or lost", "KILLED": "interrupted", "FAILED": "failed", "FINISHED": "finished"}
_TEST_SCORES = {
    "F1": "f1",
    "IoU": "iou",
    "precision": "precision",
    "recall": "recall",
    "average precision": "average_precision",
    "F1 with 8 orientations": "tta_f1",
}


def raw_threshold(metrics: Mapping[str, float]) -> float:
    """The threshold before temperature scaling, by the metrics of a training's run.

    Runs of older versions have it as `best_val_threshold`, and networks in folds have no temperature.
    """
    return (
        metrics[Metric.BEST_RAW_THRESHOLD] if Metric.BEST_RAW_THRESHOLD in metrics else metrics[Metric.BEST_THRESHOLD]
    )


class RunReader:
    """Reads what a run of a training left in MLflow: its scores, tables, curves and pictures.

    Attributes:
        run: the run.
        id: of the run.
    """

    def __init__(self, client: Client, run: Run) -> None:
        self._client, self.run, self.id = client, run, str(run.info.run_id)

    def scored(self, name: str) -> ScoredRun:
        """A training's scores of patches that it did not see.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        tags = self.run.data.tags
        patches, pixels = self._text(TABLES["validation"]), self._text(Artifact.VALIDATION_PIXELS)
        return ScoredRun(
            name=name,
            run_id=self.id,
            f1=self.run.data.metrics.get(Metric.BEST_F1, 0.0),
            config=self.config(),
            threshold=self.table_threshold,
            counts=PatchCounts.read(patches) if patches else None,
            pixels=PooledCounts.read(pixels) if pixels else None,
            environment={words: tags[tag] for words, tag in _ENVIRONMENT.items() if tag in tags},
            regions=RegionScore.read(patches) if patches else (),
        )

    def config(self) -> TrainConfig | None:
        """The configuration that a network was trained with; None where the run trained none.

        Raises:
            ConfigError: a field that was renamed since, or a value that its field refuses.
            StorageError: MLflow cannot be asked.
        """
        if text := self._text(Artifact.CONFIG):
            return TrainConfig.from_yaml(text, f"configuration of run {self.id}")
        # A run of an older lsml has all of it as parameters.
        params = self.run.data.params
        return TrainConfig.from_parameters(params) if "model.architecture" in params else None

    def parameters(self) -> dict[str, str]:
        """The whole configuration of a network, and what else its run has as parameters.

        Raises:
            As `config`.
        """
        config = self.config()
        whole = {name: str(value) for name, value in flatten(config).items()} if config else {}
        return whole | self.run.data.params

    def folds_by_region(self) -> tuple[Sequence[RegionScore], str]:
        """The scores of each region where folds were of whole ones, and what these were; else none.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        tags = self.run.data.tags
        patches = self._text(TABLES["validation"]) if Tag.DATA_REGIONS in tags else None
        return RegionScore.read(patches) if patches else (), score_kind(tags, "validation").split

    @property
    def table_threshold(self) -> float | None:
        """The threshold at which the run's tables of patches and pixels are counted; None where it has none.

        That of its model, `best_val_threshold`; where there are folds, that of their networks, which are not scaled.
        """
        metrics = self.run.data.metrics
        if Metric.BEST_THRESHOLD not in metrics:
            return None
        if Tag.DATA_FOLDS in self.run.data.tags:
            return raw_threshold(metrics)
        if Metric.BEST_RAW_THRESHOLD in metrics or Metric.BEST_TEMPERATURE not in metrics:
            return metrics[Metric.BEST_THRESHOLD]
        # In runs of older versions it is that of before temperature scaling.
        return rescale_threshold(metrics[Metric.BEST_THRESHOLD], metrics[Metric.BEST_TEMPERATURE])

    def top_trial(self, name: str, max_pictures: int) -> TopTrial:
        """The learning curves of a trial, and its pictures of validation patches.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        curves = {}
        with storage_errors(f"metrics of run {self.id}"):
            for metric in _CURVES:
                points = sorted(
                    self._client.get_metric_history(self.id, metric), key=lambda point: (point.step, point.timestamp)
                )
                # An attempt that resumed reports its earlier epochs again, with the same values.
                values = {point.step: point.value for point in points}
                if values:
                    curves[metric] = (tuple(values), tuple(values.values()))
        patches = sorted(self.picture_files("validation"), key=lambda patch: (len(patch), patch))
        return TopTrial(
            name=name,
            f1=self.run.data.metrics.get(Metric.BEST_F1, 0.0),
            noun="fold" if "folds" in self.run.data.metrics else "epoch",
            curves=curves,
            pictures=self.pictures("validation", patches[:max_pictures]),
        )

    def spent(self) -> SpentTime:
        """How long the run took; where it was lost or is under way, up to its last epoch."""
        tags = self.run.data.tags
        role, state = tags.get(Tag.ROLE, Role.TRIAL), tags.get(Tag.STATE, State.RUNNING)
        return SpentTime(role, int(tags.get(Tag.SLOT, 0)), state, self._seconds())

    def _seconds(self) -> float:
        end = self.run.info.end_time
        if end is None or self.run.data.tags.get(Tag.STATE) == State.SUPERSEDED:
            # Such a run is closed when the study resumes, which may be days later.
            with storage_errors(f"metrics of run {self.id}"):
                steps = self._client.get_metric_history(self.id, OBJECTIVE)
            end = max((point.timestamp for point in steps), default=self.run.info.start_time)
        return float(max(end - self.run.info.start_time, 0) / 1000)

    def evaluated(self, name: str) -> EvaluatedRun:
        """The scores of a run that was evaluated on the test split.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        metrics = self.run.data.metrics
        scores = {
            words: (
                metrics[f"{Metric.TEST}{key}"],
                metrics.get(f"{Metric.TEST}{key}_low"),
                metrics.get(f"{Metric.TEST}{key}_high"),
            )
            for words, key in _TEST_SCORES.items()
            if f"{Metric.TEST}{key}" in metrics
        }
        table = self._text(TABLES["test"])
        counts = PatchCounts.read(table) if table else None
        return EvaluatedRun(name, self.id, counts, scores, metrics.get(Metric.TEST_BASELINE_F1))

    def has_table(self, name: ScoredSplit) -> bool:
        """Whether the run has a table of that split.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        return self._has(TABLES[name])

    def _has(self, path: str) -> bool:
        with storage_errors(f"tables of run {self.id}"):
            return path in {entry.path for entry in self._client.list_artifacts(self.id)}

    def _text(self, path: str) -> str | None:
        """A text file of the run; None where it has none, as runs of an older lsml."""
        if not self._has(path):
            return None
        with storage_errors(f"table of run {self.id}"), tempfile.TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(self.id, path, folder)).read_text(encoding="utf-8")

    def probabilities(self) -> bytes | None:
        """The file of validation probabilities of a trial; None where the study did not store them.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        if not self._has(Artifact.PROBABILITIES):
            return None
        with storage_errors(f"probabilities of run {self.id}"), tempfile.TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(self.id, Artifact.PROBABILITIES, folder)).read_bytes()

    def counts(self, split: ScoredSplit) -> PatchCounts:
        """The table of that split.

        Raises:
            DataError: it has none, or one that cannot be read.
            StorageError: MLflow cannot be asked.
        """
        text = self._text(TABLES[split])
        fix = f"evaluate it first: lsml evaluate --run-id {self.id}"
        if text is None:
            why = f"no {TABLES[split]}: " + (
                "it was never evaluated"
                if split == "test"
                else "it was trained by an older lsml, on all patches, or not to its end"
            )
            raise DataError(f"run {self.id}", why, fix if split == "test" else f"{fix}, and compare with --split test")
        try:
            return PatchCounts.read(text)
        except ValueError as error:
            raise DataError(f"run {self.id}", f"{TABLES[split]}: {error}", fix) from None

    def repeats(self) -> Sequence[PatchCounts]:
        """The pixels of validation patches or folds, one table a repeat; where there is none of those, `counts`.

        Raises:
            DataError: as of `counts`.
            StorageError: MLflow cannot be asked.
        """
        text = self._text(Artifact.VALIDATION_REPEATS)
        return PatchCounts.read_repeats(text) if text else [self.counts("validation")]

    def scored_model(self, split: ScoredSplit) -> ScoredModel:
        """The run's scores of that split, to be compared with those of others.

        Raises:
            DataError: as of `counts`.
            StorageError: MLflow cannot be asked.
        """
        return ScoredModel(self.id, self.counts(split), score_kind(self.run.data.tags, split))

    def picture_files(self, name: ScoredSplit) -> dict[str, str]:
        """The artifact path of the run's latest picture of each patch of that split, by the patch's id.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"pictures of run {self.id}"):
            paths = [entry.path for entry in self._client.list_artifacts(self.id, Artifact.IMAGES)]
        found = {}
        # A file is called `validation~image_7+step+0+timestamp+1234567890123+uuid.png`: sorted, the latest comes last.
        for path in sorted(path for path in paths if path.endswith(".png")):
            split, tilde, patch = path.rpartition("/")[2].partition("+")[0].partition("~")
            if tilde and split == name:
                # MLflow writes a slash, as of `nepal/7`, so too.
                found[patch.replace("~", "/")] = path
        return found

    def pictures(self, name: ScoredSplit, patches: Iterable[str]) -> dict[str, bytes]:
        """Those of the run's pictures that show the given patches, as PNG, by the patch's id.

        Raises:
            StorageError: MLflow cannot be asked, or they are gone meanwhile.
        """
        files = self.picture_files(name)
        with storage_errors(f"pictures of run {self.id}"), tempfile.TemporaryDirectory() as folder:
            return {
                patch: Path(self._client.download_artifacts(self.id, files[patch], folder)).read_bytes()
                for patch in patches
                if patch in files
            }


class StudyReader:
    """Reads what MLflow holds of a study: its own run, and those below it.

    Args:
        parent: the study's run.
    """

    def __init__(self, client: Client, parent: Run) -> None:
        self._client, self._parent = client, parent

    @cached_property
    def children(self) -> dict[str, Run]:
        """All runs below the study's, of every stage, by their ids.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        query = f"tags.`{Tag.PARENT}` = '{self._parent.info.run_id}'"
        with storage_errors("runs of the study"):
            runs = self._client.search_runs([self._parent.info.experiment_id], query, max_results=5000)
        return {run.info.run_id: run for run in runs}

    @property
    def state(self) -> str:
        """Whether the study runs or how it ended, by the status of its run."""
        return _STATES.get(self._parent.info.status, str(self._parent.info.status).lower())

    @property
    def description(self) -> str:
        """What the experiment says of itself, which is the first line of the note of the study's run."""
        tags = self._parent.data.tags
        first = tags.get(Tag.NOTE, "").split("\n\n")[0].strip()
        return first.removeprefix(f"**{tags.get(Tag.STUDY, '')}**:").strip()

    def data_facts(self) -> DataFacts:
        """What the study's run says of its patches."""
        tags, inputs = self._parent.data.tags, self._parent.inputs
        splits = []
        for entry in inputs.dataset_inputs if inputs else ():
            name = entry.dataset.name.removeprefix("landslide4sense-")
            profile = json.loads(entry.dataset.profile or "{}")
            splits.append(
                SplitFacts(
                    name,
                    int(profile.get("patches", 0)),
                    profile.get("patches_without_landslide"),
                    profile.get("landslide_share"),
                    tags.get(f"{Tag.DATA}{name}", entry.dataset.digest),
                )
            )
        ordered = sorted(splits, key=lambda split: split.name)
        return DataFacts(
            tags.get(Tag.DATA_ROOT, ""), tags.get(Tag.DATA_SOURCE, ""), score_kind(tags, "validation").split, ordered
        )

    def baselines(self) -> dict[str, str]:
        """The simple models that came to their end beside the trials: names by run id."""
        return {
            run_id: run.data.params.get("baseline") or str(run.info.run_name)
            for run_id, run in self.children.items()
            if (run.data.tags.get(Tag.ROLE), run.data.tags.get(Tag.STATE)) == (Role.BASELINE, State.COMPLETE)
        }

    def ensembles(self) -> dict[str, str]:
        """The ensembles of its models: names by run id."""
        return {
            run_id: str(run.info.run_name)
            for run_id, run in self.children.items()
            if (run.data.tags.get(Tag.ROLE), run.data.tags.get(Tag.STATE)) == (Role.ENSEMBLE, State.COMPLETE)
        }

    def spent_time(self) -> list[SpentTime]:
        """How long each run below the study's took."""
        runs = sorted(self.children.values(), key=lambda run: run.info.start_time)
        return [RunReader(self._client, run).spent() for run in runs]

    def evaluated_runs(self) -> list[EvaluatedRun]:
        """The scores of those runs below the study's that were evaluated on the test split.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        runs = {str(run.info.run_name): run for run in self.children.values()}
        tested = {name: run for name, run in runs.items() if Metric.TEST_F1 in run.data.metrics}
        return [RunReader(self._client, run).evaluated(name) for name, run in tested.items()]
