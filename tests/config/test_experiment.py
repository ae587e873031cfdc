"""Experiment files: those of the project, and those that are refused."""

import sys
from pathlib import Path

import pytest
import yaml

from lsml.config.experiment import Experiment, check_name, load_experiment
from lsml.config.schema import TrainConfig
from lsml.config.space import Space
from lsml.config.study import CmaEsSettings, GpSettings, QmcSettings, _MedianSettings
from lsml.data.sensor import LANDSLIDE4SENSE, RGB
from lsml.errors import ConfigError

ROOT = Path(__file__).parents[2]

GOOD = """
name: good
data: {path: somewhere}
space: {model.depth: {low: 3, high: 5}}
"""


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_experiments_are_valid_and_say_how_to_run_them(path: Path) -> None:
    """Each file loads, is named like its file, and opens with what, command and hardware."""
    assert load_experiment(path).name == path.stem
    opening = path.read_text().splitlines()[:6]
    for word in ("# What", "# Command", "# Hardware"):
        assert any(line.startswith(word) for line in opening), word


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\nspace: [", "line 2"),
        ("name: x\nname: y", "key 'name' is repeated"),
        ("a: &a [1]\nb: *a", "aliases are not allowed"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (GOOD + "spaces: {}", "unknown key 'spaces'; did you mean 'space'?"),
        ("name: x\ndata: {path: d}\nspaces: {}\n", "unknown key 'spaces'; did you mean 'space'?"),
        # A misspelt key comes before what follows from it, or is wrong besides, wherever it stands.
        (GOOD.replace("3, high: 5", "3, high: 3") + "bsae: {model: {depth: 3}}", "'bsae'; did you mean 'base'?"),
        (GOOD.replace("name", "nmae") + "study: {pruner: medain}", "unknown key 'nmae'; did you mean 'name'?"),
        (GOOD.replace("somewhere", "somewhere, flods: 1") + "base: 3", "'data.flods'; did you mean 'folds'?"),
        (GOOD + "study: {sampler: {name: tpe, sede: 1}, trials: 0, pruner: no}", "unknown key 'study.sampler.sede'"),
        (GOOD.replace("high", "hihg") + "base: {model: {depth: 99}}", "'space.model.depth.hihg'; did you mean 'high'?"),
        (GOOD.replace("depth", "dpeth") + "study: {trials: 0}", "'space.model.dpeth'; did you mean 'model.depth'?"),
        (GOOD + "study: {trails: 3}", "unknown key 'study.trails'; did you mean 'trials'?"),
        (
            GOOD.replace("somewhere", "somewhere, folds: 4") + "study: {keep_probabilities: true}",
            "study.keep_probabilities: data.folds leaves no model of each trial",
        ),
        (
            GOOD.replace("somewhere", "somewhere, folds: 4")
            + "study: {second_objective: latency, pruner: {name: none}, max_cost: 5}",
            "study.max_cost: limits what is registered, and the mean of all folds' networks costs as much as all of",
        ),
        (GOOD + "study: {final: refit}", "study.final: says what is made of folds, and there are none"),
        (GOOD + "study: {pruner: medain}", "study.pruner: no such name 'medain'; did you mean 'median'?"),
        (GOOD + "study: {pruner: {name: median, reduction: 3}}", "unknown key 'study.pruner.reduction'"),
        (GOOD + "study: {pruner: {name: hyperband}}", "study.pruner: max_epochs: is required; add it"),
        (GOOD + "study: {pruner: {name: hyperband, max_epochs: 4}}", "max_epochs: 4 is below min_epochs 5"),
        (GOOD + "study: {pruner: [none]}", "study.pruner: must be a name, or a mapping with a name, not ['none']"),
        (GOOD + "study: {sampler: {name: tpe, startup_trails: 3}}", "'study.sampler.startup_trails'; did you mean"),
        (GOOD + "study: {sampler: {name: random, startup_trials: 3}}", "unknown key 'study.sampler.startup_trials'"),
        (
            GOOD + "study: {sampler: {startup_trials: 3}}",
            "not {'startup_trials': 3}; allowed: cma-es, gp",
        ),
        (GOOD + "study: {sampler: {name: gp, startup_trials: 0}}", "startup_trials: must be at least 1, not 0"),
        (GOOD + "study: {second_objective: latency}", "pruner is successive_halving; set study.pruner: none"),
        (
            GOOD + "study: {second_objective: params, pruner: none}",
            "study.second_objective: must be 'none', 'parameters' or 'latency', not 'params'",
        ),
        (
            GOOD + "study: {second_objective: latency, pruner: none, max_cost: 0}",
            "study.max_cost: must be above 0, not 0",
        ),
        (
            GOOD + "study: {second_objective: latency, engine: keras-tuner}",
            "keras-tuner searches with one objective only",
        ),
        (
            GOOD + "study: {max_cost: 5}",
            "study.max_cost: limits the second objective, and there is none; give study.second_objective",
        ),
        (GOOD + "study: {sampler: {name: nsga2, population: 1}}", "population: must be at least 2, not 1"),
        (GOOD + "study: {engine: kerastuner}", "engine: must be 'optuna' or 'keras-tuner', not 'kerastuner'"),
        (GOOD + "study: {tuner: bayes}", "study.tuner: no such name 'bayes'; did you mean 'bayesian'?"),
        (GOOD + "study: {tuner: {name: hyperband, factor: 1}}", "factor: must be at least 2, not 1"),
        (GOOD + "study: {tuner: {name: random, beta: 1}}", "unknown key 'study.tuner.beta'"),
        (GOOD + "study: {trials: 0}", "study.trials: must be at least 1, not 0"),
        (GOOD + "base: {model: {dept: 3}}", "unknown key 'base.model.dept'; did you mean 'depth'?"),
        (GOOD + "base: {model: {pixel_share: 0.5}}", "'base.model.pixel_share'; it was renamed to 'model.tree_weight'"),
        (GOOD + "study: {against: latency}", "'study.against'; it was renamed to 'study.second_objective'"),
        (GOOD + "study: {limit: 5}", "'study.limit'; it was renamed to 'study.max_cost'"),
        (GOOD.replace("model.depth", "loss.hardest_share"), "it was renamed to 'loss.ohem_fraction'"),
        (GOOD + "base: {model: {depth: 2}}", "does not contain the base value 2"),
        (GOOD.replace("{path: somewhere}", "{}"), "data: needs either path or synthetic; give one of them"),
        (GOOD.replace("somewhere}", "somewhere, folds: 1}"), "data.folds: must be at least 2, not 1"),
        (GOOD.replace("somewhere}", "somewhere, folds: 4, repeats: 0}"), "data.repeats: must be at least 1, not 0"),
        (
            GOOD.replace("somewhere}", "somewhere, repeats: 3}"),
            "there are none; give data.folds too",
        ),
        (GOOD.replace("path: somewhere", "synthetic: {train: 3}, folds: 4"), "3 train patches cannot fill 4 folds"),
        (GOOD.replace("name: good", "name: ../good"), "experiment name '../good'"),
        ("[]", "must be a mapping, not []"),
        (GOOD.replace("good", "!!int abc"), "line 2: 'abc' is not of the type int; correct the YAML"),
        (GOOD.replace("good", "!!float abc"), "'abc' is not of the type float"),
        (GOOD.replace("good", "!!bool abc"), "'abc' is not of the type bool"),
        (GOOD.replace("good", "!!timestamp abc"), "'abc' is not of the type timestamp"),
        (GOOD.replace("good", "2024-13-45"), "'2024-13-45' is not of the type timestamp"),
        (GOOD.replace("good", "9" * 5000), "is not of the type int"),
        (GOOD.replace("good", "!!set {? [1]}"), "a key must be text"),
        (GOOD + "? [a, list]\n: 1", "a key must be text"),
        (GOOD + "? {a: mapping}\n: 1", "a key must be text"),
        (GOOD + "base: !!map [1]", "expected a mapping node, but found sequence"),
        (GOOD.replace("path: somewhere", "synthetic: {train: 100000000000}"), "train: must be at most 100000, not"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    """Broken YAML, unknown keys and refused values give one line with the file's name and the cure."""
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert str(caught.value).startswith(f"experiment {path}: ")
    assert says in str(caught.value)


def test_a_sampler_and_a_pruner_are_chosen_by_name(tmp_path: Path) -> None:
    """A name alone takes the defaults of that name; options beside it replace them, also after --trials."""
    path = tmp_path / "study.yaml"
    path.write_text(GOOD + "study: {sampler: qmc, pruner: {name: median, startup_trials: 3}}")
    study = load_experiment(path).with_settings(trials=7).study
    assert (study.trials, study.sampler, study.pruner) == (
        7,
        QmcSettings(sequence="sobol"),
        _MedianSettings(startup_trials=3, min_epochs=5),
    )


def test_a_sampler_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed, and a space without numbers for CMA-ES, are one line before anything runs."""
    numbers = Space.parse({"model.depth": {"low": 3, "high": 5}}, TrainConfig())
    words = Space.parse({"input.scaling": {"choices": ["standard", "minmax"]}}, TrainConfig())
    for sampler, package in ((CmaEsSettings(), "cmaes"), (GpSettings(), "torch")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=rf"needs the package {package}.*pip install 'lsml\[{sampler.name}\]'"):
            sampler.check(has_free_range=numbers.has_free_range)
    with pytest.raises(ConfigError, match="needs a range without a condition"):
        CmaEsSettings().check(has_free_range=words.has_free_range)


def test_folds_are_repeated_twice_unless_said(tmp_path: Path) -> None:
    """`folds` alone means two repeats; without it there are none to repeat."""
    path = tmp_path / "folds.yaml"
    for text, expected in (("somewhere", (None, 2)), ("x, folds: 4", (4, 2)), ("x, folds: 4, repeats: 1", (4, 1))):
        path.write_text(GOOD.replace("somewhere", text))
        data = load_experiment(path).data
        assert (data.folds, data.repeats) == expected


def test_a_missing_file_says_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path names the experiments in reach."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"did you mean experiments/demo\.yaml\?"):
        load_experiment(Path("experiments/dmo.yaml"))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a\n", "-a", ".a", "a" * 201, "ä"])
def test_names_that_a_store_could_choke_on_are_refused(name: str) -> None:
    """Only 1 to 200 letters, digits, dots, underscores and hyphens pass, a letter or digit first."""
    with pytest.raises(ConfigError):
        check_name("study", name)


def test_setting_a_searched_field_takes_it_out_of_the_search() -> None:
    """`--set` on a searched field fixes it, even outside the range that was searched."""
    experiment = load_experiment(ROOT / "experiments" / "demo.yaml")
    assert "training.batch_size" in experiment.space.dimensions
    fixed = experiment.with_fields({"training.batch_size": 1})
    assert fixed.base.training.batch_size == 1
    assert "training.batch_size" not in fixed.space.dimensions


def test_what_changes_nothing_with_the_bands_at_hand_is_not_searched() -> None:
    """Pictures have no near infrared, so no index and no red edge: two trials would train one network twice."""
    tree = {"input.indices": {"choices": ["none", "all"]}, "input.visible": {"choices": [True, False]}}
    experiment = _experiment(tree)
    assert set(experiment.for_data(RGB.without_effect).space.dimensions) == {"input.visible"}
    assert LANDSLIDE4SENSE.without_effect == frozenset()
    assert experiment.for_data(LANDSLIDE4SENSE.without_effect) == experiment
    with pytest.raises(ConfigError, match=r"searches input\.indices alone, which change nothing"):
        _experiment({"input.indices": tree["input.indices"]}).for_data(RGB.without_effect)


def _experiment(space: dict[str, object]) -> Experiment:
    tree = {"name": "pictures", "data": {"path": "pictures"}, "space": space}
    return Experiment.from_yaml(yaml.safe_dump(tree), "experiment")
