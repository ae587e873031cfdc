"""A study read in one go: the trials that Optuna reads, and what decides which of them are the best."""

import contextlib
import math
import sqlite3
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages._rdb import storage as rdb
from optuna.trial import FrozenTrial, TrialState, create_trial

from lsml.errors import ConfigError, StorageError
from lsml.names import Attribute
from lsml.study.database import CountedStudy, load_studies, load_study, make_study
from lsml.study.results import importances
from tests.processes import lsml
from tests.study.conftest import environment

STORAGE = "sqlite:///optuna.db"
DISTRIBUTIONS = {
    "model.architecture": CategoricalDistribution(["unet", "resnet_unet"]),
    "model.filters": IntDistribution(8, 32, step=8),
    "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
}


def _params(slot: int) -> dict[str, object]:
    return {
        "model.architecture": ("unet", "resnet_unet")[slot % 2],
        "model.filters": 8 * (1 + slot // 2 % 4),
        "training.learning_rate": 10 ** (-4 + 2 * (slot * 7 % 40) / 40),
    }


def _comparable(trials: list[FrozenTrial]) -> list[dict[str, object]]:
    """All that they hold; the values on the way as text, because NaN is no number's equal."""
    return [{**vars(trial), "intermediate_values": repr(sorted(trial.intermediate_values.items()))} for trial in trials]


def test_trials_are_read_as_optuna_reads_them(folder: Path) -> None:
    """Complete, pruned, failed, running and waiting ones; of two objectives; with NaN and infinities on the way."""
    study = make_study(STORAGE, "two", pruner=optuna.pruners.NopPruner(), cost="parameters")
    other = make_study(STORAGE, "another", pruner=optuna.pruners.NopPruner())
    slots = {Attribute.SLOT: 0, Attribute.ORDINAL: 1}
    study.add_trial(
        create_trial(params=_params(0), distributions=DISTRIBUTIONS, values=[0.5, 9000.0], user_attrs=slots)
    )
    course = {1: 0.1, 3: math.nan, 2: math.inf, 4: -math.inf}
    other.add_trial(
        create_trial(
            params=_params(1),
            distributions=DISTRIBUTIONS,
            value=math.inf,
            user_attrs={**slots, "more": [1, {"a": None}]},
            system_attrs={"of": "optuna's own"},
            intermediate_values=course,
        )
    )
    other.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=slots, intermediate_values={1: 0.25}))
    other.add_trial(create_trial(state=TrialState.FAIL, user_attrs={**slots, Attribute.SUPERSEDED: "killed"}))
    other.enqueue_trial({"model.filters": 8}, user_attrs=slots)
    other.ask()
    other.enqueue_trial({"model.filters": 16}, user_attrs=slots)

    for name in ("two", "another"):
        stored, plain = load_study(STORAGE, name), CountedStudy(name, STORAGE)
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        assert _comparable(stored.all_trials()) == _comparable(plain.all_trials())
        assert _comparable(stored.get_trials()) == _comparable(plain.get_trials())
        assert _comparable(stored.get_trials(states=states)) == _comparable(plain.get_trials(states=states))
    assert len(load_study(STORAGE, "another").all_trials()) == 5
    assert len(load_study(STORAGE, "another").get_trials()) == 4


def test_a_database_that_this_optuna_has_made_is_opened_without_a_look_at_its_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic, which looks, is asked of a new database and of another Optuna's; an old form is refused."""
    asked: list[str] = []
    look = rdb._VersionManager.get_current_version
    monkeypatch.setattr(rdb._VersionManager, "get_current_version", lambda self: asked.append("form") or look(self))
    make_study(STORAGE, "one", pruner=optuna.pruners.NopPruner())
    assert asked == ["form"]
    load_study(STORAGE, "one")
    assert asked == ["form"]
    with contextlib.closing(sqlite3.connect("optuna.db")) as database, database:
        database.execute("update version_info set library_version = '3.0.0'")
    load_study(STORAGE, "one")
    assert asked == ["form", "form"]
    with contextlib.closing(sqlite3.connect("optuna.db")) as database, database:
        database.execute("update alembic_version set version_num = 'v2.6.0.a'")
    with pytest.raises(StorageError, match=r"no longer compatible .*set up by optuna 3\.0\.0"):
        load_study(STORAGE, "one")


def test_all_studies_are_read_without_what_a_list_does_not_show(folder: Path) -> None:
    """State, values and attributes are those of the whole trial; parameters and course are left out."""
    study = make_study(STORAGE, "one", pruner=optuna.pruners.NopPruner())
    attributes = {Attribute.SLOT: 0, Attribute.ORDINAL: 1, Attribute.RUN_ID: "abc"}
    trial = create_trial(
        params=_params(0), distributions=DISTRIBUTIONS, value=0.5, user_attrs=attributes, intermediate_values={1: 0.5}
    )
    study.add_trial(trial)
    (found,) = load_studies(STORAGE)
    (read,) = found.get_trials()
    assert (read.state, read.values, read.user_attrs) == (TrialState.COMPLETE, [0.5], attributes)
    assert (read.params, read.intermediate_values) == ({}, {})
    best = found.best_so_far()
    assert best is not None
    assert best.run_id == "abc"


@pytest.mark.parametrize("cost", [None, "parameters"], ids=["one objective", "two"])
def test_the_field_that_decides_is_the_most_important(folder: Path, cost: str | None) -> None:
    """F1 grows with the filters, 8 to 32 in turns, and falls with nothing else; two thirds of the weight are theirs.

    Of 40 trials 5 count as the best. All of them have 32 filters; both architectures and all rates are among them.
    Shares add up to 1, the largest first, and a field that half of the trials do not have counts with the others.
    """
    study = make_study(STORAGE, "s", pruner=optuna.pruners.NopPruner(), cost=cost)
    for slot in range(40):
        params = _params(slot)
        dropped = slot % 4 == 0
        if dropped:
            del params["training.learning_rate"]
        f1 = params["model.filters"] / 100 + slot * 1e-5  # type: ignore[operator]
        study.add_trial(
            create_trial(
                params=params,
                distributions={name: DISTRIBUTIONS[name] for name in params},
                values=[f1, *([1000.0 * slot] if cost else [])],
                user_attrs={Attribute.SLOT: slot, Attribute.ORDINAL: 1},
            )
        )
    loaded = "sklearn" in sys.modules
    found = importances(load_study(STORAGE, "s"))
    assert next(iter(found)) == "model.filters"
    assert found["model.filters"] > 2 / 3
    assert found.keys() == DISTRIBUTIONS.keys()
    assert sum(found.values()) == pytest.approx(1)
    assert ("sklearn" in sys.modules) == loaded


def test_importances_need_trials_that_differ(folder: Path) -> None:
    """None of one complete trial, nor of two of the same F1."""
    study = make_study(STORAGE, "s", pruner=optuna.pruners.NopPruner())
    assert importances(study) == {}
    for slot in range(2):
        study.add_trial(
            create_trial(
                params=_params(slot),
                distributions=DISTRIBUTIONS,
                value=0.5,
                user_attrs={Attribute.SLOT: slot, Attribute.ORDINAL: 1},
            )
        )
        assert importances(load_study(STORAGE, "s")) == {}


def _foreign(name: str, trials: int, direction: str) -> optuna.Study:
    study = optuna.create_study(study_name=name, storage=STORAGE, direction=direction)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials)
    return study


@pytest.mark.parametrize(("trials", "direction"), [(2, "maximize"), (0, "minimize")])
def test_a_study_that_another_program_made_is_refused(folder: Path, patches: Path, trials: int, direction: str) -> None:
    """By name in one line with exit code 2, and its trials are left as they are; a list of studies leaves it out."""
    theirs = _foreign("theirs", trials, direction)
    make_study(STORAGE, "ours", pruner=optuna.pruners.NopPruner())
    tune = ("tune", "experiment.yaml", "--data", str(patches), "--study", "theirs")
    for command in (tune, ("study", "show", "theirs"), ("study", "report", "theirs")):
        done = lsml(folder, *command, env=environment())
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()[-1:]
        assert line.startswith("lsml: error: study 'theirs': lsml did not make it, or not all of its trials; ")
        assert "--study NAME" in line
        assert "Traceback" not in done.stderr
    assert [study.study_name for study in load_studies(STORAGE)] == ["ours"]
    assert len(theirs.get_trials()) == trials


def test_a_study_to_which_another_program_added_a_trial_is_refused(folder: Path) -> None:
    """lsml cannot tell for which slot that is to be."""
    study = make_study(STORAGE, "ours", pruner=optuna.pruners.NopPruner())
    study.enqueue_trial({"x": 0.5}, user_attrs={Attribute.SLOT: 0, Attribute.ORDINAL: 1})
    assert len(load_study(STORAGE, "ours").get_trials()) == 1
    optuna.load_study(study_name="ours", storage=STORAGE).enqueue_trial({"x": 0.5})
    with pytest.raises(ConfigError, match="not all of its trials"):
        load_study(STORAGE, "ours")
    with pytest.raises(ConfigError, match="not all of its trials"):
        make_study(STORAGE, "ours", pruner=optuna.pruners.NopPruner())


def test_viewers_of_the_database_are_told_what_a_study_is(folder: Path) -> None:
    """Its objectives have names, and a note, where optuna-dashboard keeps it, says what stands beside; once."""
    for stage, cost, names, said in (
        ("", "latency_ms", ["val_f1", "latency_ms"], "A search by lsml"),
        ("confirm", None, ["val_f1"], "the search of study `told`: its stage `confirm`"),
    ):
        pruner = optuna.pruners.NopPruner()
        study = make_study(STORAGE, "told", stage=stage, pruner=pruner, cost=cost)
        attributes = study.gate.get_study_system_attrs(study._study_id)
        assert study.metric_names == names
        assert (attributes["dashboard:note_ver"], said in attributes["dashboard:note_str:0"]) == (1, True)
        assert len(attributes["dashboard:note_str:0"]) < 2045
        # What people write there stays.
        study.gate.set_study_system_attr(study._study_id, "dashboard:note_str:0", "mine")
        again = make_study(STORAGE, "told", stage=stage, pruner=pruner, cost=cost)
        assert again.gate.get_study_system_attrs(study._study_id)["dashboard:note_str:0"] == "mine"


def test_what_lsml_compares_later_is_kept_where_viewers_do_not_show_it(folder: Path) -> None:
    """Among Optuna's system attributes; a study of an earlier lsml has it as a user attribute, and is read too."""
    study = make_study(STORAGE, "now", pruner=optuna.pruners.NopPruner())
    study.note(Attribute.SPEC, {"space": {}})
    study.note(Attribute.RESULT, {"best_value": 0.5})
    then = make_study(STORAGE, "then", pruner=optuna.pruners.NopPruner())
    then.set_user_attr(Attribute.SPEC, {"space": {}})
    then.set_user_attr(Attribute.RESULT, {"best_value": 0.5})
    assert optuna.load_study(study_name="now", storage=STORAGE).user_attrs == {}
    for name in ("now", "then"):
        assert load_study(STORAGE, name).spec == {"space": {}}
        assert load_study(STORAGE, name).result == {"best_value": 0.5}
    then.note(Attribute.RESULT, {"best_value": 0.75})
    assert load_study(STORAGE, "then").result == {"best_value": 0.75}
