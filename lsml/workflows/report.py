"""The report of a study, read together from its database and MLflow, at its end or at any other time."""

from collections.abc import Mapping
from typing import Any

from lsml.config.fields import validate
from lsml.config.schema import COST_UNITS, TrainConfig, from_parameters
from lsml.config.space import Dimension
from lsml.report.summary import Evaluated, JudgedRun, Objective, StudyFacts
from lsml.study.database import CountedStudy, best_so_far, complete_trials, cost_metric, run_id_of, slot_of, spec_of

_CONTENDERS = 5
_PICTURES = 4
_BASE = "the base configuration"


def report_page(client: Any, parent: Any, search: CountedStudy, result: Mapping[str, Any] | None, *, state: str) -> str:
    """One HTML file that needs nothing beside it.

    Args:
        client: of MLflow.
        parent: the study's run.
        search: the study's trials.
        result: what the study came to, as `lsml.workflows.finalize.TuneResult`; None before its end.
        state: how it stands, in words.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    from lsml.report.sections import study_page

    return study_page(_Reader(client, parent, search, result or {}).facts(state))


class _Reader:
    """Puts together what MLflow and the study's database hold."""

    def __init__(self, client: Any, parent: Any, search: CountedStudy, result: Mapping[str, Any]) -> None:
        from lsml.tracking.reading import child_runs

        self._client, self._parent, self._search, self._result = client, parent, search, result
        self._children = {run.info.run_id: run for run in child_runs(client, parent)}

    def facts(self, state: str) -> StudyFacts:
        from lsml.study.results import front, importances, trial_facts, values_in_words
        from lsml.tracking.ledger import ledger_of
        from lsml.tracking.reading import data_facts, description_of, spent_time

        parent, result, spec = self._parent, self._result, spec_of(self._search)
        space = {name: validate(Dimension, entry, f"space: {name}") for name, entry in spec.get("space", {}).items()}
        params = parent.data.params
        metric = cost_metric(self._search)
        best = self._best()
        return StudyFacts(
            study=self._search.study_name,
            experiment=params.get("study.experiment", ""),
            description=description_of(parent),
            state=state,
            run_id=parent.info.run_id,
            settings={name: value for name, value in params.items() if name.startswith("study.")},
            base=_configuration(spec.get("base")),
            searched={name: values_in_words(dimension) for name, dimension in space.items()},
            logarithmic=frozenset(name for name, dimension in space.items() if dimension.log),
            choices={name: dimension.choices for name, dimension in space.items() if dimension.choices is not None},
            data=data_facts(parent),
            trials=trial_facts(self._search),
            spent=spent_time(self._client, list(self._children.values())),
            importance=importances(self._search),
            best=best,
            best_run_id=result.get("best_run_id") or (best.run_id if best else None),
            registered=parent.data.tags.get("lsml.registered"),
            rivals=self._rivals(best) if best else (),
            contenders=self._contenders(),
            objective=Objective(metric, COST_UNITS[metric], result.get("limit")) if metric else None,
            front=result.get("front") or front(self._search, str(result.get("label", ""))),
            standings=result.get("standings", ()),
            champions=result.get("champions", ()),
            tests=self._tests(),
            openings=[opening._asdict() for opening in ledger_of(self._client, parent).openings()],
        )

    def _best(self) -> JudgedRun | None:
        """What is registered as it was judged, or the best trial so far."""
        if standings := self._result.get("standings"):
            return self._judged(standings[0]["run_id"], standings[0]["what"])
        if self._result:
            return self._judged(self._result["best_run_id"], str(self._result["label"]))
        trial = best_so_far(self._search)
        return self._judged(run_id_of(trial), f"trial {slot_of(trial)}") if trial else None

    def _rivals(self, best: JudgedRun) -> list[JudgedRun]:
        """The base configuration, the next best and the baselines, judged as the best was, which is none of them."""
        from lsml.tracking.reading import baselines

        if standings := self._result.get("standings"):
            others = {entry["run_id"]: entry["what"] for entry in standings if entry["run_id"]}
        else:
            ranked = [trial for trial in complete_trials(self._search) if run_id_of(trial) != best.run_id]
            shown = [trial for trial in ranked if trial is ranked[0] or slot_of(trial) == 0]
            others = {run_id_of(t): _BASE if slot_of(t) == 0 else f"trial {slot_of(t)}" for t in shown}
            others |= baselines(list(self._children.values()))
        judged = [self._judged(run_id, name) for run_id, name in others.items() if run_id != best.run_id]
        return [run for run in judged if run]

    def _judged(self, run_id: str | None, name: str) -> JudgedRun | None:
        from lsml.tracking.reading import judged_run

        run = self._children.get(run_id or "")
        return judged_run(self._client, run, name) if run else None

    def _contenders(self) -> list[Any]:
        from lsml.tracking.reading import contender

        best = [(self._children.get(run_id_of(t) or ""), slot_of(t)) for t in complete_trials(self._search)]
        return [contender(self._client, run, f"trial {slot}", _PICTURES) for run, slot in best[:_CONTENDERS] if run]

    def _tests(self) -> list[Evaluated]:
        from lsml.tracking.reading import evaluated

        return evaluated(self._client, {str(run.info.run_name): run for run in self._children.values()})


def _configuration(values: Mapping[str, Any] | None) -> TrainConfig | None:
    """The configuration that a study's record spells out; fields that were added after it have their defaults."""
    return from_parameters({name: str(value) for name, value in values.items()}) if values else None
