"""Models and runs that are none: rows 26 and 27 of what people hand to lsml, by the command line and the API."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

import lsml as api
from lsml.cli.main import main
from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.synthetic import synthesize
from lsml.errors import ConfigError, LsmlError, ModelError, StorageError
from lsml.models.export import ModelFile
from lsml.names import Role, Tag
from lsml.tracking.models import RunModel
from lsml.tracking.registry import RegisteredModel, register_run
from lsml.tracking.store import open_client
from tests.processes import ROOT, environment, lsml


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset."""
    root = tmp_path_factory.mktemp("sound") / "data"
    synthesize(root, train=1, validation=1, test=1, seed=1)
    return root


@pytest.fixture
def client(tmp_path: Path, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of a store in the working folder, without runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    return open_client()


def _archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def _layer(name: str) -> bytes:
    layer = {"class_name": name, "module": "keras.layers", "config": {}, "registered_name": None}
    tree = {"class_name": "Functional", "module": "keras.src.models.functional", "config": {"layers": [layer]}}
    return _archive({"metadata.json": b"{}", "config.json": json.dumps(tree).encode(), "model.weights.h5": b""})


ENDLESS = "26 weights without end"
MODELS = {
    "26 pickle": (b"\x80\x04K\x00.", "not a .keras file: a pickle"),
    "26 legacy": (b"\x89HDF\r\n\x1a\n", "not a .keras file: an HDF5 file (the legacy .h5 format)"),
    "26 Lambda layer": (_layer("Lambda"), "Lambda of module keras.layers is not one of lsml's layers"),
    "26 truncated": (_layer("Conv2D")[:-30], "truncated or damaged"),
    # Each read of it takes its five seconds.
    ENDLESS: (
        _archive(
            {
                "metadata.json": b"{}",
                "config.json": b'{"class_name": "Functional", "module": "keras.src.models.functional"}',
                "model.weights.h5": (ROOT / "tests/fuzz/found/weights-a-header-without-end").read_bytes(),
            }
        ),
        "its weights are refused: ",
    ),
}


def _refused_model(folder: Path, name: str, dataset: Path, kind: type[LsmlError]) -> str:
    """What the command and the function both say of a model, of a run or registered."""
    images = str(dataset / "TestData")
    with pytest.raises(kind) as error:
        api.predict(images, run_id=name)
    env = environment(MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    done = lsml(folder, "predict", images, "--run-id", name, env=env)
    assert (done.returncode, done.stdout) == (kind.exit_code, "")
    assert done.stderr == f"lsml: error: {error.value}\n"
    assert not (folder / "predictions").exists()
    return str(error.value)


@pytest.mark.parametrize("row", [pytest.param(row, marks=[pytest.mark.full] * (row == ENDLESS)) for row in MODELS])
def test_a_model_that_is_none_is_refused(row: str, dataset: Path, tmp_path: Path, client: MlflowClient) -> None:
    """Although its run vouches for the file."""
    content, says = MODELS[row]
    run_id = str(client.create_run("0").info.run_id)
    file = ModelFile(content, hashlib.sha256(content).hexdigest(), LANDSLIDE4SENSE)
    RunModel(client, run_id).log(file, threshold=0.5, backend="tensorflow")
    assert f"model of run {run_id}: {says}" in _refused_model(tmp_path, run_id, dataset, ModelError)


def _key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a key, which is configured from now on."""
    key = folder / "key"
    key.write_text("0123456789abcdef" * 2)
    key.chmod(0o600)
    monkeypatch.setenv("LSML_SIGNING_KEY_FILE", str(key))
    return key


def test_a_model_that_is_not_signed_is_refused_where_a_key_is_configured(
    dataset: Path, tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write into MLflow's database vouches for files of theirs there, and does not have the key."""
    run_id = str(client.create_run("0").info.run_id)
    file = ModelFile(b"PK", hashlib.sha256(b"PK").hexdigest(), LANDSLIDE4SENSE)
    RunModel(client, run_id).log(file, threshold=0.5, backend="tensorflow")
    key = _key(tmp_path, monkeypatch)
    says = f"model of run {run_id}: it is not signed, and LSML_SIGNING_KEY_FILE is set; train it again"
    assert _refused_model(tmp_path, run_id, dataset, ModelError) == says
    key.chmod(0o640)
    assert "chmod 600" in _refused_model(tmp_path, run_id, dataset, ConfigError)


def test_an_alias_that_is_not_signed_is_refused_where_a_key_is_configured(
    dataset: Path, tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved to another version, all of which is signed, by somebody who can write into MLflow's database."""
    _key(tmp_path, monkeypatch)
    registered = RegisteredModel(client, "demo")
    for content in (b"PK1", b"PK2"):
        run_id = str(client.create_run("0").info.run_id)
        file = ModelFile(content, hashlib.sha256(content).hexdigest(), LANDSLIDE4SENSE)
        RunModel(client, run_id).log(file, threshold=0.5, backend="tensorflow")
        registered.register(run_id, tags={})
    registered.set_champion("1", tags={})
    client.set_registered_model_alias("demo", "champion", "2")
    said = _refused_model(tmp_path, "demo@champion", dataset, ModelError)
    assert said.startswith(
        "model demo@champion: that version 2 has this alias is not signed, and LSML_SIGNING_KEY_FILE"
    )


def test_row_27_runs_that_are_none(dataset: Path, tmp_path: Path, client: MlflowClient) -> None:
    """One that nobody knows, one that would be part of a question to a database, and one without a model."""
    assert "no run has that id or name" in _refused_model(tmp_path, "0" * 31, dataset, StorageError)
    assert "no run has that id or name" in _refused_model(tmp_path, "x' or 'a' = 'a", dataset, StorageError)
    bare = str(client.create_run("0", tags={Tag.ROLE: Role.TRIAL}).info.run_id)
    assert "has no model" in _refused_model(tmp_path, bare, dataset, ModelError)


def _foreign(client: MlflowClient) -> str:
    """The id of a run with a model, scores and parameters, all of another project."""
    run_id = str(client.create_run("0", run_name="forest").info.run_id)
    logged = client.create_logged_model("0", "model", source_run_id=run_id)
    files = Path("forest") / "data"
    files.mkdir(parents=True)
    (files / "model.keras").write_bytes(b"PK")
    (files.parent / "MLmodel").write_text("flavors: {python_function: {loader_module: mlflow.sklearn}}")
    client.log_model_artifacts(logged.model_id, "forest")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.log_metric(run_id, "best_val_f1", 0.9)
    client.log_param(run_id, "depth", "4")
    return run_id


def test_row_27_a_run_of_another_project(
    dataset: Path, tmp_path: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command says so, by its id and by its name, whatever stands in it."""
    run_id = _foreign(client)
    says = f"run {run_id}: is of another project, and has no model of lsml's; lsml study list names the studies"
    assert says in _refused_model(tmp_path, run_id, dataset, ModelError)
    with pytest.raises(ModelError, match=says):
        api.evaluate(run_id=run_id)
    for command in ("evaluate", "promote", "refit", "reproduce", "leaderboard", "export", "compare forest"):
        assert main([*command.split(), "forest" if command != "compare forest" else run_id]) == 5
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"lsml: error: {says}"), command
    assert client.search_registered_models() == []


def test_row_27_a_run_without_a_model_is_not_registered(client: MlflowClient) -> None:
    """Nor is the name under which its model would have been."""
    tags = {Tag.ROLE: Role.TRAIN, Tag.EXPERIMENT: "empty"}
    run = client.get_run(client.create_run("0", tags=tags).info.run_id)
    with pytest.raises(ModelError, match="has no model"):
        register_run(client, run)
    assert client.search_registered_models() == []
