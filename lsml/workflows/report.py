"""The report of a study at any time: what its database and MLflow hold, put together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsml.config.schema import COST_UNITS, TrainConfig
from lsml.config.space import Dimension
from lsml.errors import ConfigError, DataError, StorageError, StudyError
from lsml.names import Artifact, Role, Tag
from lsml.report.facts import ScoredRun, StudyFacts, TopTrial, TuneResult
from lsml.report.sections import study_files, study_page
from lsml.study.database import CountedStudy, load_study
from lsml.study.results import front_trials, importances, trial_facts
from lsml.tracking.ledger import Ledger
from lsml.tracking.reading import RunReader, StudyReader
from lsml.tracking.registry import RegisteredModel
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import Client, Run, find_run, open_store, study_of
from lsml.workflows.studies import stored_study
from lsml.workspace import storage_url

_TOP_TRIALS = 5
_PICTURES = 4
_BASE = "the base configuration"


def report_study(name: str, storage: str | None, *, output: Path | None) -> Path:
    """Writes the report of a study, made anew, into `output` or `NAME-report.html`, and gives its path.

    Raises:
        ConfigError: no such study.
        StorageError: a store cannot be used, or the study's run is not in it.
        StudyError: no trial has begun.
        DataError: the file cannot be written.
    """
    study = stored_study(storage, name)
    run_id, name = study.parent_run_id, study.study_name
    if run_id is None:
        raise StudyError(f"study '{name}'", "no trial has begun, so MLflow has nothing of it", "start it: lsml tune")
    client, record = open_store(), study.result
    parent = find_run(client, run_id)
    result = TuneResult.from_record(record) if record else None
    page = study_page(_Reader(client, parent, study, result).facts(StudyReader(client, parent).state))
    target = output or Path(f"{name}-report.html")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"report {target}", f"cannot be written ({error.strerror})", "name another file with --out"
        ) from None
    return target.resolve()


def log_report(client: Client, run_id: str, search: CountedStudy, result: TuneResult) -> None:
    """Writes the report of a study that has ended into its run, of which it shows all that it holds by now.

    Raises:
        StorageError: MLflow refuses.
    """
    facts = _Reader(client, find_run(client, run_id), search, result).facts("finished")
    RunWriter(client, run_id).log_files(study_files(facts))


def renew_report(client: Client, run: Run) -> str:
    """Writes the report of the study that a run belongs to anew into the study's run, where it has one.

    Returns:
        Why it could not be made, in one line: it is read off the study's database too, which has to be the one of this
        folder or of `LSML_STORAGE`. Empty where nothing is left to do.
    """
    parent = run if run.data.tags.get(Tag.ROLE) == Role.STUDY else study_of(client, run)
    if parent is None or Tag.REGISTERED not in parent.data.tags:
        return ""
    name = parent.data.tags[Tag.STUDY]
    try:
        search = load_study(storage_url(None), name)
        if search.parent_run_id != parent.info.run_id or search.result is None:
            raise ConfigError(f"study '{name}'", "the database has another one of that name", "set LSML_STORAGE")
        log_report(client, parent.info.run_id, search, TuneResult.from_record(search.result))
    except (ConfigError, DataError, StorageError) as error:
        return f"{Artifact.REPORT} of study {name} does not show this yet: {error}"
    return ""


class _Reader:
    """Puts together what MLflow and the study's database hold."""

    def __init__(self, client: Client, parent: Run, search: CountedStudy, result: TuneResult | None) -> None:
        self._client, self._parent, self._search, self._result = client, parent, search, result
        self._study = StudyReader(client, parent)

    def facts(self, state: str) -> StudyFacts:
        parent, result, spec = self._parent, self._result, self._search.spec
        space = {name: Dimension.validated(entry, f"space: {name}") for name, entry in spec.get("space", {}).items()}
        params = parent.data.params
        metric = self._search.cost_metric
        best = self._best()
        return StudyFacts(
            study=self._search.study_name,
            experiment=params.get("study.experiment", ""),
            description=self._study.description,
            state=state,
            run_id=parent.info.run_id,
            settings={name: value for name, value in params.items() if name.startswith("study.")},
            base=_configuration(spec.get("base")),
            searched={name: dimension.describe() for name, dimension in space.items()},
            logarithmic=frozenset(name for name, dimension in space.items() if dimension.log),
            choices={name: dimension.choices for name, dimension in space.items() if dimension.choices is not None},
            data=self._study.data_facts(),
            trials=trial_facts(self._search),
            spent=self._study.spent_time(),
            importance=importances(self._search),
            best=best,
            best_run_id=result.best_run_id if result else best.run_id if best else None,
            registered=parent.data.tags.get(Tag.REGISTERED),
            promotion=RegisteredModel.promotion(self._client, parent.data.tags.get(Tag.REGISTERED, "/")),
            rivals=self._rivals(best) if best else (),
            top_trials=self._top_trials(),
            cost_unit=COST_UNITS[metric] if metric else None,
            limit=result.limit if result else None,
            front=(result and result.front) or front_trials(self._search, result.label if result else ""),
            standings=result.standings if result else (),
            best_per_architecture=result.best_per_architecture if result else (),
            network=result.network if result else None,
            corrected=result.corrected if result else None,
            tests=self._study.evaluated_runs(),
            openings=[opening._asdict() for opening in Ledger.of_run(self._client, parent).openings()],
        )

    def _best(self) -> ScoredRun | None:
        """What is registered with its scores, or the best trial so far."""
        result = self._result
        if result:
            name = result.standings[0]["what"] if result.standings else result.label
            return self._scored(result.scored_run_id, name)
        trial = self._search.best_so_far()
        return self._scored(trial.run_id, f"trial {trial.slot}") if trial else None

    def _rivals(self, best: ScoredRun) -> list[ScoredRun]:
        """The base configuration, the next best and the baselines, scored as the best was, which is none of them."""
        others: dict[str | None, str]
        if self._result and self._result.standings:
            others = {entry["run_id"]: entry["what"] for entry in self._result.standings}
        else:
            ranked = [trial for trial in self._search.complete_trials() if trial.run_id != best.run_id]
            shown = [trial for trial in ranked if trial is ranked[0] or trial.slot == 0]
            others = {t.run_id: _BASE if t.slot == 0 else f"trial {t.slot}" for t in shown}
            others.update(self._study.baselines() | self._study.ensembles())
        scored = [self._scored(run_id, name) for run_id, name in others.items() if run_id != best.run_id]
        return [run for run in scored if run]

    def _scored(self, run_id: str | None, name: str) -> ScoredRun | None:
        run = self._study.children.get(run_id or "")
        return RunReader(self._client, run).scored(name) if run else None

    def _top_trials(self) -> list[TopTrial]:
        best = [(self._study.children.get(t.run_id or ""), t.slot) for t in self._search.complete_trials()]
        return [
            RunReader(self._client, run).top_trial(f"trial {slot}", _PICTURES)
            for run, slot in best[:_TOP_TRIALS]
            if run
        ]


def _configuration(values: Mapping[str, Any] | None) -> TrainConfig | None:
    """The configuration that a study's record spells out; fields that were added after it have their defaults."""
    return TrainConfig.from_parameters({name: str(value) for name, value in values.items()}) if values else None
