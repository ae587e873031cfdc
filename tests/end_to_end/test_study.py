"""A real study from the command line: what it prints, what it leaves in MLflow, what it never touches."""

import json
import re
import stat
from pathlib import Path

import pytest
from mlflow.models import Model

from tests.bands import N_BANDS
from tests.end_to_end.conftest import Study, client, runs
from tests.processes import lsml

PANELS = 3


def test_the_output_says_what_to_do_next(study: Study) -> None:
    """The end names the registered version and the two commands to type, and nothing but text is on stdout."""
    assert "registered: first version 1\nalias: first@candidate is version 1\n" in study.output
    assert f"lsml evaluate --run-id {study.best_run}" in study.output
    assert "lsml ui" in study.output


def test_no_test_file_is_opened(study: Study) -> None:
    """Every process of the study was watched: train and validation masks were opened, no file of the test split."""
    below = [path for path in study.opened.read_text().splitlines() if path.startswith(str(study.data))]
    assert any("/TrainData/mask/" in path for path in below)
    assert any("/ValidData/img/" in path for path in below)
    assert not any("/TestData/" in path for path in below)


def test_what_a_study_leaves_is_its_users_alone(study: Study) -> None:
    """Both databases, the state folder with its logs, and the files of runs; what tests write there is the tests'."""
    made = {name: stat.S_IMODE((study.folder / name).stat().st_mode) for name in study.left}
    assert made == {"optuna.db": 0o600, "mlflow.db": 0o600, ".lsml": 0o700, "mlruns": 0o700}
    assert list((study.folder / ".lsml").rglob("workers.log"))


def test_trials_are_children_of_the_study(study: Study) -> None:
    """Three children below one parent, FINISHED or KILLED as their trials were complete or pruned."""
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    children = runs(study.folder, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`lsml.role` = 'trial'")
    assert parent.info.status == "FINISHED"
    assert len(children) == 3
    for child in children:
        assert child.info.status == {"complete": "FINISHED", "pruned": "KILLED"}[child.data.tags["lsml.state"]]
        assert child.info.experiment_id == parent.info.experiment_id
    assert parent.data.tags["lsml.best_run_id"] == study.best_run
    assert {"study.name", "study.seed", "study.trials"} <= parent.data.params.keys()
    assert all(name.startswith("study.") for name in parent.data.params)


def test_what_a_network_has_to_beat_stands_beside_the_best(study: Study) -> None:
    """Three baselines scored on the same patches: printed with their runs, compared with a network, warned of."""
    rows = re.findall(r"^(\S.*?)  +(\d\.\d{4})  +(.*?) +([0-9a-f]{32})$", study.output, re.MULTILINE)
    names = ["logistic regression on single pixels", "gradient boosting on single pixels", "NDVI and slope threshold"]
    assert [row[0] for row in rows[1:]] == names
    assert (rows[0][2].strip(), rows[0][3]) == ("registered", study.best_run)
    better = [what for what, f1, *_ in rows[1:] if float(f1) > float(rows[0][1])]
    assert (f"warning: higher F1, but not by more than chance: {', '.join(better)}" in study.output) == bool(better)
    store = client(study.folder)
    for what, f1, _, run_id in rows[1:]:
        run = store.get_run(run_id)
        assert (run.data.tags["lsml.role"], run.data.params) == ("baseline", {"baseline": what})
        assert f"{run.data.metrics['best_val_f1']:.4f}" == f1
    shown = json.loads(lsml(study.folder, "study", "show", "first", "--json").stdout)
    assert [entry["run_id"] for entry in shown["baselines"]] == [row[3] for row in rows[1:]]
    done = lsml(study.folder, "compare", study.best_run, rows[1][3], "--json")
    assert done.returncode == 0, done.stderr
    assert [run["parameters"].keys() for run in json.loads(done.stdout)["runs"]] == [{"baseline"}] * 2


def test_a_trials_run_holds_all_that_there_is_to_compare(study: Study) -> None:
    """Parameters that were searched or are not the default's, all of them in a file, one point an epoch, both datasets
    with the start of their fingerprints, versions, device.
    """
    from lsml.config.fields import flatten
    from lsml.config.schema import TrainConfig

    run = client(study.folder).get_run(study.best_run)
    searched, of_base = {"model.dropout", "loss.jaccard"}, {"model.filters", "model.depth"}
    of_base |= {f"training.{name}" for name in ("epochs", "batch_size", "patience", "learning_rate")}
    assert set(run.data.params) == {*searched, *of_base, "seed"}
    store = client(study.folder)
    config = TrainConfig.from_yaml(Path(store.download_artifacts(study.best_run, "config.yaml")).read_text(), "run")
    assert {name: str(value) for name, value in flatten(config).items()}.items() >= run.data.params.items()
    assert (config.model.filters, config.model.architecture) == (4, "unet")
    for name in ("loss", "val_loss", "val_f1", "val_iou", "learning_rate", "system/process_memory_megabytes"):
        assert [point.step for point in store.get_metric_history(study.best_run, name)] == [1, 2, 3, 4], name
    scored = ("f1", "calibration_error", "object_hit_rate", "object_precision")
    assert all(0 <= run.data.metrics[f"best_val_{name}"] <= 1 for name in scored)
    digests = {given.dataset.name: given.dataset.digest for given in run.inputs.dataset_inputs}
    tags = run.data.tags
    assert digests == {
        "landslide4sense-train": tags["lsml.data.train"][:32],
        "landslide4sense-validation": tags["lsml.data.validation"][:32],
    }
    assert len(tags["lsml.data.train"]) == 64
    assert {
        "lsml.device",
        "lsml.precision",
        "lsml.backend",
        "lsml.keras",
        "lsml.version",
    } <= tags.keys()


def test_panels_have_the_same_keys_in_every_trial(study: Study) -> None:
    """The pictures of one patch line up over trials: equal keys, all at step 0."""
    store = client(study.folder)
    keys = set()
    for run in runs(study.folder, "tags.`lsml.role` = 'trial'"):
        names = [entry.path for entry in store.list_artifacts(run.info.run_id, "images")]
        found = {re.sub(r"\+timestamp.*", "", name) for name in names if "validation~" in name}
        assert len(found) == PANELS
        keys.add(frozenset(found))
    assert len(keys) == 1
    assert all(re.fullmatch(r"images/validation~image_\d+\+step\+0", key) for key in next(iter(keys)))


def test_the_studys_run_holds_its_figures(study: Study) -> None:
    """Optuna's pages, the table and the space are artifacts of the parent; each page is complete in itself."""
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    store = client(study.folder)
    names = {entry.path.removeprefix("study/") for entry in store.list_artifacts(parent.info.run_id, "study")}
    assert {"history.html", "parallel_coordinates.html", "timeline.html", "trials.csv", "space.json"} <= names
    page = store.download_artifacts(parent.info.run_id, "study/history.html", str(study.folder))
    text = Path(page).read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text
    assert not re.search(r"<script[^>]+src=", text)


def test_the_best_trial_is_registered_once_with_its_signature_and_threshold(study: Study) -> None:
    """Version 1 under the alias candidate; the MLmodel says what goes in, what comes out, and from where it counts."""
    store = client(study.folder)
    (version,) = store.search_model_versions("name='first'")
    assert (str(version.version), version.run_id) == ("1", study.best_run)
    assert str(store.get_model_version_by_alias("first", "candidate").version) == "1"
    (output,) = store.get_run(study.best_run).outputs.model_outputs
    model = Model.load(store.get_logged_model(output.model_id).artifact_location)
    (entry,) = model.signature.inputs.to_dict()
    assert entry["tensor-spec"] == {"dtype": "float32", "shape": (-1, -1, -1, N_BANDS)}
    assert 0 < model.metadata["lsml.threshold"] < 1


def test_the_same_command_again_has_nothing_to_do(study: Study) -> None:
    """A study that has its trials says so, prints its best run again, trains nothing and registers nothing."""
    before = len(runs(study.folder))
    arguments = ("tune", "experiment.yaml", "--data", str(study.data), "--study", "first")
    done = lsml(study.folder, *arguments, "--workers", "99")
    assert done.returncode == 0, done.stderr
    assert "study first has its 3 trials: nothing to do; --workers is not used\n" in done.stdout
    assert done.stdout.splitlines()[-1] == f"best run: {study.best_run}"
    told = json.loads(lsml(study.folder, *arguments, "--json").stdout)
    assert (told["best_run_id"], sum(told["counts"].values())) == (study.best_run, 3)
    assert len(runs(study.folder)) == before
    assert len(client(study.folder).search_model_versions("name='first'")) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--seed", "8"), "was started with another search (seed: 7, now 8)"),
        (("--set", "model.depth=2"), "was started with another base (model.depth: 1, now 2)"),
        (("--set", "model.dropout=0.2"), "was started with another"),
    ],
)
def test_a_study_is_not_resumed_with_something_else(study: Study, change: tuple[str, ...], says: str) -> None:
    """Another seed, base or space under the same name is refused with what differs and what to do."""
    done = lsml(study.folder, "tune", "experiment.yaml", "--data", str(study.data), "--study", "first", *change)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()[-1:]
    assert line.startswith("lsml: error: study 'first'")
    assert says in line
    assert "--study NAME" in line


def test_study_list_and_show_tell_the_same_story(study: Study) -> None:
    """Both commands name the best run; `list` counts what `show` lists."""
    (row,) = json.loads(lsml(study.folder, "study", "list", "--json").stdout)
    shown = json.loads(lsml(study.folder, "study", "show", "first", "--json").stdout)
    assert row["best run"] == shown["best_run_id"] == study.best_run
    states = [attempt["state"] for attempt in shown["attempts"]]
    assert (row["complete"], row["pruned"]) == (states.count("complete"), states.count("pruned"))
    assert study.best_run in lsml(study.folder, "study", "show", "first").stdout


def test_trials_are_compared_by_their_tables(study: Study) -> None:
    """The F1 that follows from each trial's table is the one that its run has, and pictures are drawn beside it."""
    shown = json.loads(lsml(study.folder, "study", "show", "first", "--json").stdout)
    run_ids = [attempt["run_id"] for attempt in shown["attempts"]]
    done = lsml(study.folder, "compare", *run_ids, "--split", "validation", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["n_patches"], record["reference_run_id"]) == (3, run_ids[0])
    store = client(study.folder)
    trained = {run_id: store.get_run(run_id).data.metrics["best_val_f1"] for run_id in run_ids}
    found = {run["run_id"]: run["f1"] for run in record["runs"]}
    # Tables are of the exported float32 network; training may use bfloat16, which moves F1 in the fourth digit.
    assert found == pytest.approx(trained, abs=2e-3)
    for run in record["runs"]:
        if ahead := run["f1_above_reference"]:
            assert ahead["value"] == pytest.approx(found[run["run_id"]] - found[run_ids[0]])
    assert (study.folder / record["figure"]).read_bytes().startswith(b"\x89PNG")
