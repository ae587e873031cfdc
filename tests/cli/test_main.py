"""The command line's answers to what people type: help, typos, wrong paths, empty options."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment, lsml

DEMO = str(ROOT / "experiments" / "demo.yaml")


def test_help_names_every_command(tmp_path: Path) -> None:
    """Without arguments and with --help the commands are listed; nothing is written."""
    for arguments in ((), ("--help",)):
        done = lsml(tmp_path, *arguments, python=sys.executable)
        assert done.returncode == 0
        for command in ("data", "train", "tune", "study", "evaluate", "refit", "promote", "rollback"):
            assert command in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_of_tune_lists_every_hyperparameter(tmp_path: Path) -> None:
    """Names, defaults, bounds and meaning are read off TrainConfig."""
    from lsml.config.schema import TrainConfig

    # Help is wrapped, also after a hyphen.
    text = " ".join(lsml(tmp_path, "tune", "--help-all").stdout.split()).replace("- ", "-")
    for spec in TrainConfig.fields():
        assert f"{spec.name}={spec.default}" in text
        assert spec.description.split(":")[0].replace("- ", "-") in text, spec.name


def test_help_fits_a_screen_and_cuts_nothing_off(tmp_path: Path) -> None:
    """At 80 columns: summaries go on in the next line, tune's options are those used most, names are bare."""
    env = environment(COLUMNS="80")
    overview = lsml(tmp_path, "--help", env=env).stdout
    assert "..." not in overview.replace("[ARGS]...", "")
    short, full = (lsml(tmp_path, "tune", option, env=env).stdout for option in ("--help", "--help-all"))
    assert len(short.splitlines()) < 30
    assert ("--trials" in short, "--until" in short, "model.dropout" in short) == (True, False, False)
    assert all(word in full for word in ("--trials", "End of the search:", "--until", "Cluster:", "model.depth=4"))
    assert max(map(len, (overview + short + full).splitlines())) <= 80
    assert "Usage: lsml study show [OPTIONS] NAME\n" in lsml(tmp_path, "study", "show", "--help", env=env).stdout


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    """As the script that `lsml --install-completion` writes asks."""
    env = environment(_LSML_COMPLETE="complete_bash", COMP_WORDS="lsml study sh", COMP_CWORD="2")
    assert lsml(tmp_path, python=sys.executable, env=env).stdout.split() == ["show"]


@pytest.mark.parametrize("arguments", [("-q", "data", "synth", "out"), ("data", "synth", "out", "--quiet")])
def test_quiet_shows_no_progress(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Wherever it stands; results and errors are shown, and without it the steps too."""
    few = ("--train", "1", "--validation", "1", "--test", "1")
    done = lsml(tmp_path, *arguments, *few)
    assert (done.returncode, done.stderr) == (0, "")
    assert "made 1 train" in done.stdout
    assert "patches: 3 of 3" in lsml(tmp_path, "data", "synth", "again", *few).stderr
    assert "already exists" in lsml(tmp_path, *arguments, *few).stderr


@pytest.mark.parametrize("split", ["valid", "val", "validation"])
def test_validation_goes_by_its_three_names(tmp_path: Path, split: str) -> None:
    """Whichever command asks for a split; another is refused with those that there are."""
    for command in (("evaluate", "demo"), ("compare", "a", "b"), ("data", "show", "nowhere")):
        assert "--split" not in lsml(tmp_path, *command, "--split", split).stderr
        done = lsml(tmp_path, *command, "--split", "vaild")
        assert (done.returncode, "'vaild' is none of" in done.stderr) == (2, True)


def test_version(tmp_path: Path) -> None:
    """One line with the version."""
    assert lsml(tmp_path, "--version", python=sys.executable).stdout == "lsml 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("tune", DEMO, "--until", "IoU=0.7"), 2, "'IoU=0.7' is not F1 and a number, such as F1=0.7"),
        (("tune", DEMO, "--until", "F1=high"), 2, "'high' is no number"),
        (("tune", DEMO, "--until", "F1=1.5"), 2, "study.until_f1"),
        (("tune", DEMO, "--timeout", "-1"), 2, "study.timeout"),
        (("tune", DEMO, "--trial-timeout", "soon"), 2, "'soon' is no number"),
        (("tuen",), 2, "tuen"),
        (("tune", "--trails", "3"), 2, "--trails"),
        (("tune", "--trials", "three"), 2, "--trials"),
        (("tune", DEMO, "--workers", "2", "--workers-per-gpu", "2"), 2, "--workers or --scheduler says how many"),
        (("tune", DEMO, "--trials", "0"), 2, "experiment demo: study.trials: must be at least 1, not 0"),
        (("tune", "nowhere.yaml"), 2, "experiment nowhere.yaml: No such file or directory"),
        (("tune", DEMO, "--set", "model.dept=3"), 2, "did you mean 'model.depth'?"),
        (("tune", DEMO, "--data", "nowhere"), 3, "dataset nowhere: no such folder"),
        (("tune", DEMO, "--study", "a/b"), 2, "study name 'a/b'"),
        (("tune", DEMO, "--data", ".", "--storage", "nonsense"), 3, "dataset"),
        (("train", DEMO, "--data", "nowhere"), 3, "dataset nowhere: no such folder"),
        (("evaluate",), 2, "run: is not given; name a run, study or model, such as demo-000, demo or demo@candidate"),
        (("compare",), 2, "give either runs or --study"),
        (("evaluate", "demo", "--model", "demo/1"), 2, "run: given as demo and as demo/1; give one of them"),
        (("leaderboard",), 2, "run: is not given"),
        (("refit",), 2, "run: is not given"),
        (("promote",), 2, "run: is not given"),
        (("reproduce",), 2, "run: is not given"),
        (("ensemble", "demo", "--members", "1"), 2, "--members"),
        (("promote", "x", "--repeats", "-1"), 2, "--repeats"),
        (
            ("promote", "x"),
            4,
            "mlflow.db: there is no such file; work in the folder of your studies, or set MLFLOW_TRACKING_URI",
        ),
        (("rollback",), 2, "NAME"),
        (("refit", "x", "--on", "test"), 2, "--on"),
        (("study", "show", "none"), 2, "optuna.db; work in your studies' folder, or give --storage"),
        (("study", "report", "none"), 2, "optuna.db; work in your studies' folder, or give --storage"),
        (("study", "list", "--storage", "my.db"), 4, "database my.db: a path where a database's URL is needed; give"),
        (("study", "list", "--storage", "my.sqlite"), 4, "give --storage sqlite:///my.sqlite"),
        (("study", "list", "--storage", "/a/journal.log"), 4, "give --storage sqlite:////a/journal.db"),
        (("study", "list", "--storage", "sqlite://"), 4, "it is in memory"),
        (("study", "list", "--storage", "sqlite:///:memory:"), 4, "it is in memory"),
        (("study", "list", "--storage", "postgresql://u:secret@h/d"), 2, "it holds a password, and arguments are for"),
        (("study", "list", "--storage=postgresql://h/d?user=u&password=secret"), 2, "give the URL by LSML_STORAGE or"),
        (("study", "list", "--storage", "u:secret@h/d"), 2, "argument u:***@h/d: it holds a password"),
        (("data", "show", "nowhere"), 3, "dataset nowhere: no such folder"),
        (("data", "show", "nowhere", "--augment", "0.8"), 3, "dataset nowhere: no such folder"),
        (("data", "show", "nowhere", "--augment", "1.8"), 2, "--augment"),
        (("data", "show", "nowhere", "--seed", "1"), 2, "give --augment S too"),
        (("data", "show", "nowhere", "--augment", "0.8", "--set", "model.depth=3"), 2, "set fields of augment"),
        (("data", "synth", ".", "--train", "1"), 3, "."),
        (("data", "synth", "something"), 3, "already exists; choose another folder"),
        (("data", "synth", "out", "--train", "0"), 2, "--train"),
        (("data", "check", "something"), 3, "dataset something: is no folder; give the folder that holds the patches"),
        (("data", "check", "."), 3, "no known layout (found: latin, mine.yaml, something); expected"),
        (("data", "chek", "."), 2, "No such command 'chek'. Did you mean 'check'?"),
        (("data", "audit", "nowhere", "--seed", "-1"), 2, "--seed"),
        (("data", "download", "something"), 3, "folder something: cannot be written: Not a directory; choose another"),
        (("tune", "."), 2, "experiment .: Is a directory; did you mean mine.yaml? give a YAML file, or one that"),
        (("tune", "something"), 2, "experiment something"),
        (("tune", DEMO, "--trials", "-3"), 2, "study.trials: must be at least 1, not -3"),
        (("tune", DEMO, "--workers", "-1"), 2, "study.workers: must be at least 0, not -1"),
        (("tune", DEMO, "--engine", "optona"), 2, "study.engine"),
        (("tune", DEMO, "--data", "something"), 3, "dataset something: is no folder; give its path with --data"),
        (("tune", DEMO, "--set", "model.filters"), 2, "not of the form FIELD=VALUE; write --set model.depth=4"),
        (("train", DEMO, "--set", "model.filters=many"), 2, "model.filters: must be a whole number, not 'many'"),
        (("train", DEMO, "--set", "model.filters=1000"), 2, "model.filters: must be at most 128, not 1000"),
        (("train", DEMO, "--trials", "3"), 2, "No such option: --trials"),
        (("evaluate", "demo", "--splt", "test"), 2, "Possible options: --split"),
        (("evaluate", "demo", "--tta", "d8"), 2, "'--tta': 'd8' is not one of 'none', 'd4'"),
        (("evaluate", "demo"), 4, "mlflow.db: there is no such file; work in the folder of your studies"),
        (("predict", "nowhere"), 2, "run: is not given; name a run, study or model"),
        (
            ("predict", "scene.tif", "demo", "--pictures", "3"),
            2,
            "--pictures: is for a folder of patches; leave it out",
        ),
        (("compare", "a", "--split", "tset"), 2, "'tset' is none of test, validation, valid, val"),
        (("study", "lst"), 2, "Did you mean 'list'?"),
        (
            ("config", "check", "nowhere.yaml"),
            2,
            "give a YAML file, or one that comes with lsml by its name: demo, ",
        ),
        (
            ("tune", "mine.yml"),
            2,
            "experiment mine.yml: No such file or directory; did you mean mine.yaml? give a YAML",
        ),
        (("tune", "dmo"), 2, "experiment dmo: No such file or directory; did you mean demo? give a YAML file"),
        (("tune", "mine.yaml"), 2, "experiment mine.yaml: is empty; lsml init DIR writes one for your patches"),
        (("tune",), 2, "experiment experiments/demo.yaml: No such file or directory; "),
        (("tune", "latin"), 2, "experiment latin: not text in UTF-8; save it as UTF-8"),
        (("tune", DEMO, "--trials", "three"), 2, "'--trials': 'three' is no whole number; see lsml tune --help"),
        (("study", "show", "demo"), 2, "study 'demo': no database"),
        (("train", DEMO, "--model-name", "a/b"), 2, "model name 'a/b': must be 1 to 200 letters"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """Usage and configuration are 2, data 3; one line on standard error, none on standard output, no traceback."""
    (tmp_path / "something").write_text("here")
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "latin").write_bytes(b"name: \xef")
    done = lsml(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("lsml: error: ")
    assert says in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("space:", "spaces:"), "unknown key 'spaces'; did you mean 'space'?"),
        (("filters: 8", "filter: 8"), "unknown key 'base.model.filter'; did you mean 'filters'?"),
        (("depth: 3", "depth: three"), "base.model.depth: must be a whole number, not 'three'"),
        (("study:", "study"), "correct the YAML: often a colon is missing or an indent is wrong, in that line or"),
        (("name: tpe", "name: tpee"), "study.sampler"),
        (("{low: 0.25, high: 1.0}", "{low: 1.0, high: 0.25}"), "loss.jaccard"),
        (("  trials: 6", "\ttrials: 6"), "a tab, where YAML takes spaces alone; indent with spaces"),
    ],
)
def test_a_typo_in_an_experiment_is_told_with_its_place(tmp_path: Path, typed: tuple[str, str], says: str) -> None:
    """By the key or the line, and with what may have been meant."""
    text = Path(DEMO).read_text(encoding="utf-8")
    assert typed[0] in text
    (tmp_path / "mine.yaml").write_text(text.replace(typed[0], typed[1], 1))
    done = lsml(tmp_path, "tune", "mine.yaml", "--data", "nowhere")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("lsml: error: experiment mine.yaml: ")
    assert says in line


def test_a_field_that_set_takes_out_of_the_search_is_told(tmp_path: Path) -> None:
    """With those that depended on it: nobody wonders later why they have one value."""
    experiment = str(ROOT / "experiments" / "landslide4sense.yaml")
    done = lsml(tmp_path, "tune", experiment, "--data", "nowhere", "--set", "model.architecture=unet")
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "not searched, as --set gives them a value: model.architecture, model.encoder"


def test_a_disk_that_is_full_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    """Of 400 kB at most that a file may have here: HDF5 would say what it was doing, and at which address."""
    command = f"ulimit -f 400; exec {sys.executable} -m lsml data synth out --train 1 --validation 1 --test 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 3
    assert "synthetic dataset out: cannot be written (File too large); free " in done.stderr
    assert list(tmp_path.iterdir()) == []


READING = (
    ("study", "list"),
    ("study", "show", "demo"),
    ("study", "report", "demo"),
    ("study", "repair", "demo"),
    ("compare", "a", "b"),
    ("leaderboard", "a"),
    ("evaluate", "--run-id", "demo"),
    ("ensemble", "demo"),
    ("promote", "demo"),
    ("rollback", "demo"),
    ("refit", "demo"),
    ("sync",),
    ("relocate",),
    ("dashboard",),
    ("doctor",),
)


@pytest.mark.parametrize("arguments", READING, ids="-".join)
def test_what_only_reads_makes_no_database(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """In a folder without studies, which may be the wrong one, no database is left and no folder of lsml's."""
    done = lsml(tmp_path, *arguments)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_is_another_name_of_out(tmp_path: Path) -> None:
    """As a word and with its value; help shows the one name."""
    for option in (("--output", "found"), ("--output=found",)):
        done = lsml(tmp_path, "data", "audit", "nowhere", *option)
        assert done.stderr.startswith("lsml: error: dataset nowhere: ")
    assert "--output" not in lsml(tmp_path, "data", "audit", "--help").stdout


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    """With --debug the traceback comes before the one line, and the exit code stays."""
    done = lsml(tmp_path, "--debug", "tune", "nowhere.yaml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("lsml: error: ")


def test_an_empty_option_is_not_given(tmp_path: Path) -> None:
    """MLflow's project runner passes every parameter: empty ones change nothing, not even the error."""
    empty = ("--data", "", "--trials", "", "--study", "", "--seed", "", "--workers", "", "--storage", "")
    done = lsml(tmp_path, "tune", "nowhere.yaml", *empty)
    assert done.returncode == 2
    assert "experiment nowhere.yaml" in done.stderr


@pytest.mark.parametrize("before", ["", "--data="])
def test_the_home_folder_has_its_short_name(tmp_path: Path, before: str) -> None:
    """`~`, as MLflow's runner hands it over: no shell has looked at it, and after `=` none may."""
    home = tmp_path / "home"
    (home / "l4s").mkdir(parents=True)
    options = [f"{before}~/l4s"] if before else ["--data", "~/l4s"]
    done = lsml(tmp_path, "train", DEMO, *options, env=environment(HOME=str(home)))
    assert done.returncode == 3
    assert f"dataset {home / 'l4s'}: no known layout (found: nothing)" in done.stderr


@pytest.mark.parametrize("path", ["~nobody-of-this-name/l4s", "a~/l4s", "./~/l4s"])
def test_another_tilde_stays(tmp_path: Path, path: str) -> None:
    """What names no home folder is a path like others."""
    done = lsml(tmp_path, "data", "check", path)
    assert done.returncode == 3
    assert f"{path.removeprefix('./')}: no such folder" in done.stderr


@pytest.mark.parametrize("option", [("--set", "model.weights=~/w.weights.h5"), ()])
def test_files_that_an_experiment_names_may_lie_in_the_home_folder(tmp_path: Path, option: tuple[str, ...]) -> None:
    """Patches and weights, by the file and by the command line."""
    text = Path(DEMO).read_text(encoding="utf-8")
    assert "model: {" in text
    path = tmp_path / "home" / "experiment.yaml"
    path.parent.mkdir()
    weights = "" if option else "weights: ~/w.weights.h5, "
    few = text.replace("{train: 96, validation: 32, test: 32,", "{train: 2, validation: 1, test: 1,")
    assert few != text
    path.write_text(few.replace("model: {", f"model: {{architecture: resnet_unet, {weights}"))
    done = lsml(tmp_path, "train", "~/experiment.yaml", *option, env=environment(HOME=str(path.parent)))
    assert done.returncode == 5
    shown = path.parent / "w.weights.h5" if option else "~/w.weights.h5"
    assert f"model.weights {shown}: cannot be read: No such file or directory" in done.stderr


def test_synth_makes_what_show_draws(tmp_path: Path) -> None:
    """A dataset in the official layout, and pictures of two of its patches, as they are and augmented."""
    made = lsml(tmp_path, "data", "synth", "out", "--train", "3", "--validation", "1", "--test", "1")
    assert made.returncode == 0, made.stderr
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*/*/*_1.h5"))
    assert found == [
        f"{split}/{kind}/{name}_1.h5"
        for split in ("TestData", "TrainData", "ValidData")
        for kind, name in (("img", "image"), ("mask", "mask"))
    ]
    drawn = lsml(tmp_path, "data", "show", "out", "--patches", "2", "--out", "two.png")
    assert drawn.returncode == 0, drawn.stderr
    assert "image_1, image_3" in drawn.stdout
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")
    augmented = ("data", "show", "out", "--patches", "2", "--augment", "0.8", "--set", "augment.cutmix=1")
    for seed, name in (("0", "zero.png"), ("0", "again.png"), ("1", "one.png")):
        drawn = lsml(tmp_path, *augmented, "--seed", seed, "--out", name)
        assert drawn.returncode == 0, drawn.stderr
        assert "image_1, image_3" in drawn.stdout
    zero, again_zero, one = ((tmp_path / name).read_bytes() for name in ("zero.png", "again.png", "one.png"))
    assert zero.startswith(b"\x89PNG")
    assert zero == again_zero != one
    again = lsml(tmp_path, "data", "synth", "out")
    assert again.returncode == 3
    assert "out" in again.stderr


def test_an_error_gives_no_orders_to_the_terminal(tmp_path: Path) -> None:
    """A key that would clear the screen is shown as it is written."""
    (tmp_path / "e.yaml").write_text('name: e\ndata: {path: .}\nspace: {model.depth: {choices: [4]}}\n"\\e[2J": 1\n')
    done = lsml(tmp_path, "config", "check", "e.yaml")
    assert done.returncode == 2
    assert "unknown key '\\x1b[2J'" in done.stderr
    assert "\x1b" not in done.stderr
