"""Studies of F1 against what a model costs, with trials that only sleep: the front, the limit, kills, folds."""

from pathlib import Path
from typing import Any

import pytest

from lsml.config.experiment import load_experiment
from lsml.config.schema import TrainConfig
from lsml.config.space import Space
from lsml.config.study import StudySettings
from lsml.data.splits import Steps
from lsml.errors import StudyError
from lsml.report.facts import TuneResult
from lsml.study.choice import _ranked
from lsml.study.results import figures, front_trials, trial_records
from lsml.study.trial_queue import SearchQueue
from lsml.training.outcome import TrialOutcome
from lsml.workflows.studies import list_studies, show_study
from lsml.workflows.tune import tune

from .conftest import EXPERIMENT, attempts, client, counted, run_killed, runs, same_curves
from .sleeping import FUNCTIONS
from .test_tune import STORAGE, Listener

SPACE = Space.parse({"model.dropout": {"low": 0.0, "high": 0.5}}, TrainConfig())


def ended(*values: tuple[float, float] | None, **settings: Any) -> tuple[SearchQueue, StudySettings]:
    """A study whose trials came to these values of F1 and parameters, or failed, in this order."""
    given = StudySettings.model_validate(
        {"trials": len(values), "second_objective": "parameters", "pruner": "none", "sampler": "random"} | settings
    )
    queue = SearchQueue(STORAGE, "table", space=SPACE, base=TrainConfig(), settings=given, spec={})
    for pair in values:
        attempt = queue.ask()
        assert attempt is not None
        queue.remember_run(attempt, f"run-{attempt.slot}", "0 on here")
        if pair is None:
            queue.fail(attempt, "broken")
            continue
        queue.complete(attempt, _outcome(*pair))
    return queue, given


def _outcome(f1: float, parameters: float) -> TrialOutcome:
    return TrialOutcome(
        value=f1,
        stopped="finished",
        steps=Steps("epoch", 3),
        best_epoch=2,
        threshold=0.5,
        metrics={},
        environment={},
        costs={"parameters": parameters, "latency_ms": 1.0},
    )


VALUES = (
    (0.50, 9000.0),  # worse and dearer than trial 2
    (0.40, 1000.0),  # the cheapest
    (0.60, 5000.0),
    (0.60, 7000.0),  # as good as trial 2 and dearer
    None,
    (0.55, 5000.0),  # as dear as trial 2 and worse
    (0.70, 8000.0),  # the best
    (0.45, 1500.0),
)


def test_the_pareto_front_by_hand(folder: Path) -> None:
    """Trials 6, 2, 7 and 1 are those than which none has a higher F1 with no more parameters."""
    queue, settings = ended(*VALUES)
    found = front_trials(queue.study, "trial 6")
    assert [(best["trial"], best["f1"], best["cost"]) for best in found] == [
        (6, 0.70, 8000.0),
        (2, 0.60, 5000.0),
        (7, 0.45, 1500.0),
        (1, 0.40, 1000.0),
    ]
    assert [best["run_id"] for best in found if best["registered"]] == ["run-6"]
    assert _ranked(queue, settings, "table")[0].run_id == "run-6"
    rows = trial_records(queue.study)
    assert [(row["val_f1"], row["parameters"], row["epochs"]) for row in rows[3:5]] == [(0.6, 7000.0, 3), (None,) * 3]
    assert {"pareto.html", "history.html", "importance.html"} <= figures(queue.study).keys()


def test_a_limit_registers_the_best_below_it(folder: Path) -> None:
    """The best F1 of those with at most so many parameters; of two equals in F1 the one with fewer."""
    queue, settings = ended(*VALUES)
    for limit, trial in ((8000, 6), (7999, 2), (5000, 2), (4999.5, 7), (1000, 1)):
        limited = settings.model_copy(update={"max_cost": limit})
        assert _ranked(queue, limited, "table")[0].run_id == f"run-{trial}", limit
    # One line with exit code 6 says how far down the limit can go.
    limited = settings.model_copy(update={"max_cost": 999.5})
    with pytest.raises(
        StudyError, match=r"at most 999\.5 parameters.* the smallest, trial 1, has 1,000 at F1 0\.4000"
    ) as caught:
        _ranked(queue, limited, "table")
    assert caught.value.exit_code == 6


def against(
    folder: Path, limit: float | None = None, *, folded: bool = False, trials: int = 4, sampler: str = "tpe"
) -> Path:
    """The test experiment with parameters as second objective."""
    objectives = f"trials: {trials}\n  second_objective: parameters" + (f"\n  max_cost: {limit}" if limit else "")
    text = EXPERIMENT.replace("trials: 4", objectives + ("\n  confirm: 2\n  final: refit" if folded else ""))
    text = text.replace("{name: successive_halving, min_epochs: 2, reduction: 2}", "{name: none}")
    text = text.replace("{name: tpe, startup_trials: 2}", sampler)
    if folded:
        text = text.replace("{path: unused}", "{path: unused, folds: 3, repeats: 2}")
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def run(path: Path, data: Path) -> TuneResult:
    """The study `s` in the current folder."""
    return tune(load_experiment(path), study="s", data=data, storage=STORAGE, listener=Listener(), functions=FUNCTIONS)


def test_a_finished_study_registers_anew_under_another_limit(folder: Path, patches: Path) -> None:
    """Without a limit the best of all; with one just below its cost the next on the front, and no trial runs again."""
    first = run(against(folder), patches)
    best = max(counted("s"), key=lambda entry: entry["value"])
    assert (first.best_run_id, first.best_value) == (best["run_id"], best["value"])
    metrics = client().get_run(best["run_id"]).data.metrics
    assert (metrics["parameters"], metrics["latency_ms"]) == (best["cost"], best["cost"] / 1000)
    assert show_study("s", None).records[0]["parameters"] == 6000.0

    before = len(attempts("s"))
    path = against(folder, limit=best["cost"] - 1)
    second = run(path, patches)
    assert len(attempts("s")) == before
    allowed = [entry for entry in counted("s") if entry["cost"] < best["cost"]]
    expected = max(allowed, key=lambda entry: entry["value"])
    assert second.best_run_id == expected["run_id"] != first.best_run_id
    # The smaller one is worse on every patch, so it is a version without the alias.
    assert [line.partition(":")[0] for line in second.aliases] == ["s@candidate stays at version 1"]
    assert client().get_model_version_by_alias("s", "candidate").run_id == first.best_run_id
    assert [entry["best run"] for entry in list_studies(None)] == [second.best_run_id]
    assert not run(path, patches).fresh

    (parent,) = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    note = parent.data.tags["mlflow.note.content"]
    # In the front, and then beside the baselines.
    line, _ = [line for line in note.splitlines() if expected["run_id"] in line and line.startswith("| **trial")]
    assert line.startswith(f"| **trial {expected['slot']}** | {expected['value']:.4f} |")
    names = {entry.path for entry in client().list_artifacts(parent.info.run_id, "study")}
    assert {"study/pareto.html", "study/front.json"} <= names


@pytest.mark.full
def test_kills_change_nothing_with_two_objectives(folder: Path, patches: Path) -> None:
    """NSGA-II in its second generation of two: a coordinator killed twice ends with the same trials."""
    path = against(folder, trials=3, sampler="{name: nsga2, population: 2}")
    steps = ["TrialRecorder.outcome:3", "TrialQueue.complete:1"]
    done = run_killed("killed", patches, 3, *steps)
    codes = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert codes == [[step, "-9"] for step in steps] + [["None", "0"]], done.stdout + done.stderr
    run(path, patches)
    assert [entry["state"] for entry in counted("killed")] == ["complete"] * 3
    same_curves(counted("killed"), counted("s"))


def test_in_folds_only_what_keeps_the_limit_is_confirmed_and_registered(folder: Path, patches: Path) -> None:
    """A base of 6,000 weights over a limit of 5,900 stands among the others, with the reason, and is not chosen."""
    result = run(against(folder, limit=5900, folded=True), patches)
    first, *rest = result.standings
    chosen = next(entry for entry in counted("s") if f"trial {entry['slot']}" == first["what"])
    assert chosen["cost"] <= 5900
    base = next(entry for entry in rest if entry["what"] == "base configuration")
    assert base["reason"] == "over the limit: 6,000 parameters"
    assert base["f1"] == pytest.approx(0.51)
    assert all(entry["cost"] <= 5900 for entry in counted("s") if f"trial {entry['slot']}" in _names(rest))
    assert client().get_run(result.best_run_id).data.tags["lsml.role"] == "refit"


def _names(standings: Any) -> list[str]:
    return [entry["what"] for entry in standings]
