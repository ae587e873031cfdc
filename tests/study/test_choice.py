"""What a study in folds registers, with trials that only sleep: a tuned configuration has to win twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from lsml.config.experiment import load_experiment
from lsml.errors import StudyError
from lsml.names import Attribute
from lsml.report.facts import TuneResult
from lsml.study.database import load_study
from lsml.study.trial import FUNCTIONS as DEFAULTS
from lsml.training.outcome import Report, TrialFunctions, TrialOutcome, TrialTask
from lsml.workflows.tune import tune

from .conftest import EXPERIMENT, client, runs
from .sleeping import FUNCTIONS, LUCK, confirming, failing, refitting, sleeping, strong
from .test_tune import STORAGE, Listener

FOLDED = EXPERIMENT.replace("{path: unused}", "{path: unused, folds: 3, repeats: 2}").replace(
    "trials: 4", "trials: 4\n  confirm: 2"
)


@pytest.fixture
def experiment(folder: Path) -> Path:
    """The test experiment with folds and two confirmations, none of its trials pruned."""
    path = folder / "folded.yaml"
    path.write_text(FOLDED.replace("{name: successive_halving, min_epochs: 2, reduction: 2}", "{name: none}"))
    return path


def run(path: Path, data: Path, functions: TrialFunctions = FUNCTIONS, **settings: int) -> TuneResult:
    """The study `s` in the current folder."""
    experiment = load_experiment(path).with_settings(**settings)
    return tune(experiment, study="s", data=data, storage=STORAGE, listener=Listener(), functions=functions)


def test_a_tuned_configuration_that_wins_again_is_registered(experiment: Path, patches: Path) -> None:
    """The best of four wins with the fresh seed too; the registered model is the mean of its networks in those folds.

    The sleeping trial's score is .3 + .3 weight - .2 dropout + .02 * 4 at its end; the base, .5 and .1, has .51.
    """
    result = run(experiment, patches)
    first, *rest = result.standings
    assert first["what"] == result.label != "base"
    assert first["f1"] == result.best_value > 0.51
    by_name = {entry["what"]: entry for entry in rest}
    assert by_name["base configuration"]["f1"] == pytest.approx(0.51)
    assert by_name["simple"]["f1"] == 0.4
    assert (by_name["broken"]["f1"], by_name["broken"]["reason"]) == (None, "ValueError: loss is nan in epoch 2")

    registered = client().get_run(result.best_run_id)
    assert registered.data.tags["lsml.role"] == "confirm"
    assert registered.data.tags["lsml.data.partition"] == "1"
    assert registered.data.metrics["best_val_f1"] == result.best_value
    assert client().get_model_version("s", result.version).run_id == result.best_run_id
    (parent,) = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    assert parent.data.tags["lsml.best_run_id"] == result.best_run_id
    assert "| base configuration | 0.5100 |" in parent.data.tags["mlflow.note.content"]
    # Nothing is added by choosing where every trial scores the same on each patch.
    assert result.corrected is not None
    assert (result.corrected.drop, result.corrected.trials) == (0, 4)
    assert [result.corrected.value, *result.corrected.interval] == [pytest.approx(first["f1"], abs=1e-3)] * 3
    assert parent.data.metrics["corrected_val_f1"] == result.corrected.value
    above = f"F1 of {result.label} above the base: +{result.best_value - 0.51:.3f}"
    assert result.against_base.startswith(above)
    assert f" {result.against_base}." in parent.data.tags["mlflow.note.content"]
    assert "by PED-ANOVA (a hint: of 4 complete trials, fewer than 10)" in parent.data.tags["mlflow.note.content"]


def test_those_confirmed_share_one_fresh_seed(experiment: Path, patches: Path) -> None:
    """Base and both finalists have the same training seed, which none of the search's trials had."""
    run(experiment, patches)
    seeds = {role: {r.data.params["seed"] for r in runs() if r.data.tags["lsml.role"] == role} for role in ROLES}
    assert len(seeds["trial"]) == 4
    assert len(seeds["confirm"]) == 1
    assert not seeds["confirm"] & seeds["trial"]
    assert len([r for r in runs() if r.data.tags["lsml.role"] == "confirm"]) == 3


ROLES = ("trial", "confirm")


def test_a_baseline_that_is_ahead_is_registered_in_place_of_the_network(experiment: Path, patches: Path) -> None:
    """.9 on every patch: by .1 or more above the network on each, so no draw of patches has it behind; exit 0."""
    result = run(experiment, patches, replace(FUNCTIONS, baselines={"strong": strong}))
    assert (result.label, result.best_value) == ("strong", 0.9)
    assert result.network is not None
    registered, network = (client().get_run(run_id) for run_id in (result.best_run_id, result.network["run_id"]))
    assert registered.data.tags["lsml.role"] == "baseline"
    assert client().get_model_version_by_alias("s", "candidate").run_id == result.best_run_id
    assert network.data.tags["lsml.role"] == "confirm"
    assert network.data.tags["lsml.behind"].startswith("strong is ahead by +0.")
    assert client().list_artifacts(network.info.run_id, "model") or network.outputs.model_outputs
    (parent,) = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    assert parent.data.tags["lsml.best_network_run_id"] == network.info.run_id


def test_a_baseline_ahead_by_no_more_than_chance_is_not(experiment: Path, patches: Path) -> None:
    """It has no model, or is not ahead beyond the interval: the network is registered."""
    without_model = replace(FUNCTIONS, baselines={"strong": _without_model})
    assert run(experiment, patches, without_model).network is None


def _without_model(task: TrialTask, report: Report) -> TrialOutcome:
    return replace(strong(task, report), model=None)


def test_architectures_that_a_baseline_is_ahead_of_have_no_alias(folder: Path, patches: Path) -> None:
    """With validation patches the baseline is the candidate, and no network has a name in the registry."""
    path = folder / "experiment.yaml"
    path.write_text(path.read_text().replace("space:", "space:\n  model.architecture: {choices: [unet, resnet_unet]}"))
    result = run(path, patches, replace(FUNCTIONS, baselines={"strong": strong}), trials=3)
    assert result.label == "strong"
    assert client().get_registered_model("s").aliases == {"candidate": 1}
    assert result.best_per_architecture == []


def test_a_lucky_configuration_is_not_registered(
    experiment: Path, patches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuned ones that fall to .1 with the fresh seed leave the base, .51, as the one to register."""
    monkeypatch.setenv(LUCK, "1")
    result = run(experiment, patches)
    assert result.label == "base"
    assert result.best_value == pytest.approx(0.51)
    assert [entry["f1"] for entry in result.standings[1:3]] == [0.1, 0.1]
    assert result.against_base == "no tuned configuration was ahead of the base by more than chance"


def test_without_confirmation_the_best_trial_alone_is_run_again(experiment: Path, patches: Path) -> None:
    """`confirm: 0`: one run in other folds, of the best trial's configuration, which gives the model."""
    experiment.write_text(experiment.read_text().replace("confirm: 2", "confirm: 0"))
    result = run(experiment, patches)
    roles = [run.data.tags["lsml.role"] for run in runs()]
    assert (roles.count("confirm"), roles.count("refit")) == (1, 0)
    assert [entry["what"] for entry in result.standings] == [result.label, "simple", "broken"]


def test_a_final_refit_is_trained_on_all_patches(experiment: Path, patches: Path) -> None:
    """`final: refit` registers one network more, with the threshold and the length of the folds'."""
    experiment.write_text(experiment.read_text().replace("confirm: 2", "confirm: 1\n  final: refit"))
    result = run(experiment, patches)
    registered = client().get_run(result.best_run_id)
    assert registered.data.tags["lsml.role"] == "refit"
    assert registered.data.metrics["best_val_f1"] == result.best_value
    assert result.standings[0]["run_id"] != result.best_run_id


def test_more_trials_confirm_only_what_is_new(experiment: Path, patches: Path) -> None:
    """Two trials, then six: what was confirmed before is not run again, and the baseline that failed is."""
    run(experiment, patches, trials=2)
    before = {run.info.run_id for run in runs()}
    result = run(experiment, patches, trials=6)
    new = [run for run in runs() if run.info.run_id not in before]
    names = [run.info.run_name for run in new]
    assert "s-confirm-base" not in names
    assert [name for name in names if "baseline" in name] == ["s-baseline-broken.2"]
    assert result.standings[0]["f1"] == max(entry["f1"] or 0 for entry in result.standings)


def test_a_study_whose_refit_fails_says_so_and_goes_on_later(experiment: Path, patches: Path) -> None:
    """Exit code 6 with the reason; the same command tries that again, and nothing else."""
    experiment.write_text(experiment.read_text().replace("confirm: 2", "confirm: 2\n  final: refit"))
    both = replace(DEFAULTS, search=sleeping, confirm=confirming, baselines={}, fold_baselines={})
    broken = replace(both, refit=_failing_refit)
    with pytest.raises(StudyError, match="training on all patches failed: ValueError: loss is nan"):
        run(experiment, patches, broken)
    before = len(runs())
    result = run(experiment, patches, replace(both, refit=refitting))
    assert len(runs()) == before + 1
    assert client().get_run(result.best_run_id).info.run_name.endswith(".2")


def _failing_refit(task: object, report: object, *, summary: object) -> None:
    failing(task, report)  # type: ignore[arg-type]


def test_a_study_with_a_validation_set_has_baselines_too(folder: Path, patches: Path) -> None:
    """Below the study's run, of the role baseline, in the result, in the description, and not among the trials."""
    result = run(folder / "experiment.yaml", patches, trials=2)
    simple, broken = result.baselines
    assert (simple["what"], simple["f1"], broken["what"], broken["f1"]) == ("simple", 0.4, "broken", None)
    assert broken["reason"] == "ValueError: loss is nan in epoch 2"
    assert (result.standings, sum(result.counts.values())) == ([], 2)
    scored = client().get_run(simple["run_id"])
    (parent,) = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    assert scored.data.tags["lsml.role"] == "baseline"
    assert scored.data.tags["mlflow.parentRunId"] == parent.info.run_id == result.study_run_id
    assert scored.data.params == {"baseline": "simple"}
    note = parent.data.tags["mlflow.note.content"]
    assert f"| simple | 0.4000 |  | `{simple['run_id']}` |" in note
    assert f"| **{result.label}** | {result.best_value:.4f} | registered | `{result.best_run_id}` |" in note


def test_a_study_from_before_there_were_baselines_gets_them(folder: Path, patches: Path) -> None:
    """The same command again scores them and trains nothing; a third time there is nothing to do."""
    path = folder / "experiment.yaml"
    first = run(path, patches, replace(DEFAULTS, search=sleeping, baselines={}), trials=2)
    study = load_study(STORAGE, "s")
    without = {name: value for name, value in (study.result or {}).items() if name != "baselines"}
    study.note(Attribute.RESULT, without)
    before = len(runs())
    second = run(path, patches, trials=2)
    assert len(runs()) == before + 2
    assert [entry["what"] for entry in second.baselines] == ["simple", "broken"]
    assert (second.best_run_id, second.version) == (first.best_run_id, first.version)
    assert not run(path, patches, trials=2).fresh
    assert len(runs()) == before + 2


def test_failing_baselines_end_no_study(folder: Path, patches: Path) -> None:
    """Where one failed trial is one too many, two failed baselines are still only shown as failed."""
    path = folder / "experiment.yaml"
    path.write_text(path.read_text().replace("trials: 4", "trials: 4\n  max_failures: 1"))
    both = {"one": failing, "two": failing}
    result = run(path, patches, replace(DEFAULTS, search=sleeping, baselines=both), trials=1)
    assert [entry["f1"] for entry in result.baselines] == [None, None]
