"""What vouches for a model: tags of its run, whatever stands in its files, in the registry or beside it."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model

from lsml.errors import ConfigError, ModelError
from lsml.models.export import ModelFile
from lsml.names import Alias, Tag
from lsml.tracking.models import RunModel
from lsml.tracking.registry import RegisteredModel
from lsml.tracking.store import describe_experiment, experiment_id, open_client
from lsml.tracking.study import named_run
from lsml.workflows.doctor import _mlflow
from tests.bands import SENSOR

CONTENT = b"a network"


class Store(NamedTuple):
    """An MLflow store."""

    folder: Path
    client: Any

    def logged(self) -> str:
        """The id of a run with a model."""
        run_id = str(self.client.create_run("0").info.run_id)
        self.model(run_id).log(_file(CONTENT), threshold=0.5, backend="tensorflow")
        return run_id

    def model(self, run_id: str) -> RunModel:
        """That of a run."""
        return RunModel(self.client, run_id)

    def files(self, run_id: str) -> Path:
        """Where they are."""
        return Path(self.model(run_id).location()[1])


def _file(content: bytes) -> ModelFile:
    return ModelFile(content, hashlib.sha256(content).hexdigest(), SENSOR)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Iterator[Store]:
    """One for the whole file; each test has runs and names of its own."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder))
        yield Store(folder, open_client())


def test_a_model_comes_back_as_it_was_logged(store: Store, tmp_path: Path) -> None:
    """Its bytes, threshold and bands; the run's tags name the model and the SHA-256 of its file."""
    run_id = store.logged()
    found = store.model(run_id).fetch(tmp_path)
    assert (found.path.read_bytes(), found.threshold, found.sensor) == (CONTENT, 0.5, SENSOR)
    tags = store.client.get_run(run_id).data.tags
    assert tags[Tag.MODEL_ID] == store.model(run_id).location()[0]
    assert tags[Tag.MODEL_SHA256] == hashlib.sha256(CONTENT).hexdigest()
    assert tags[Tag.MODEL_THRESHOLD] == "0.5"
    shown = store.client.get_logged_model(tags[Tag.MODEL_ID]).params
    assert shown == {"bands": ", ".join(band.name for band in SENSOR.bands), "threshold": "0.5"}


def test_a_model_has_an_input_example_of_its_bands(store: Store) -> None:
    """A small patch of usual values, as MLflow loads it and as a server takes it; small beside the network."""
    files = store.files(store.logged())
    model = Model.load(files)
    example = model.load_input_example(str(files))
    assert (example.shape, example.dtype) == ((1, 32, 32, len(SENSOR)), np.float32)
    assert example[0, 0, 0].tolist() == pytest.approx([band.typical for band in SENSOR.bands])
    served = json.loads((files / "serving_input_example.json").read_text())
    assert served["inputs"] == example.tolist()
    assert [band["name"] for band in json.loads(model.metadata[Tag.MODEL_SENSOR])["bands"]] == [
        band.name for band in SENSOR.bands
    ]
    assert sum(path.stat().st_size for path in files.glob("*example.json")) < 500_000


def test_experiment_model_and_version_say_what_they_are(store: Store) -> None:
    """In their descriptions; one that somebody has written stays. The kind has MLflow's UI open its training pages."""
    run_id = store.logged()
    run, experiment = store.client.get_run(run_id), experiment_id(store.client, "described")
    assert "finds landslides" in store.client.get_experiment(experiment).tags["mlflow.note.content"]
    assert store.client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"
    ours = {"mlflow.note.content": "ours", "mlflow.experimentKind": "genai_development"}
    for tag, text in ours.items():
        store.client.set_experiment_tag(experiment, tag, text)
    describe_experiment(store.client, experiment)
    assert store.client.get_experiment(experiment).tags == ours
    version = RegisteredModel(store.client, "described").register(run_id, tags={})
    assert "Finds landslides" in store.client.get_registered_model("described").description
    said = store.client.get_model_version("described", version).description
    assert said == f"Run `{run.info.run_name}`: no score of its own, landslide from probability 0.5."


def test_a_model_that_mlflow_was_asked_for_by_name_is_the_same(store: Store, tmp_path: Path) -> None:
    """MLflow notes the name beside the files of a model of this machine, whoever made them."""
    run_id = store.logged()
    asked = RegisteredModel(store.client, "asked")
    asked.give_alias("candidate", asked.register(run_id, tags={}), tags={})
    mlflow.artifacts.download_artifacts(artifact_uri="models:/asked@candidate")
    assert (store.files(run_id) / "registered_model_meta").exists()
    assert store.model(run_id).fetch(tmp_path).path.read_bytes() == CONTENT


def _rewritten(files: Path) -> None:
    """Another model, and its SHA-256 where that of the first stood."""
    (files / "data" / "model.keras").write_bytes(b"another")
    described = (files / "MLmodel").read_text()
    old, new = (hashlib.sha256(content).hexdigest() for content in (CONTENT, b"another"))
    assert old in described
    (files / "MLmodel").write_text(described.replace(old, new))


def _one_more_flavor(files: Path) -> None:
    described = (files / "MLmodel").read_text()
    (files / "MLmodel").write_text(described.replace("loader_module: mlflow.keras", "loader_module: evil"))


def _linked(files: Path) -> None:
    (files / "data" / "model.keras").rename(files.parent / "elsewhere")
    (files / "data" / "model.keras").symlink_to(files.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_rewritten, "its SHA-256 differs from its record"),
        (_one_more_flavor, "its SHA-256 differs from its record"),
        (lambda files: (files / "data" / "keras_module.txt").write_text("evil"), "its SHA-256 differs"),
        (lambda files: (files / "code.py").write_text("evil"), "its SHA-256 differs"),
        (lambda files: (files / "requirements.txt").unlink(), "its SHA-256 differs"),
        (lambda files: (files / "MLmodel").write_text(""), "its MLmodel is damaged"),
        (lambda files: (files / "MLmodel").write_text("[1, 2]"), "its MLmodel is damaged"),
        (lambda files: (files / "MLmodel").write_text("metadata: [1]"), "its MLmodel is damaged"),
        (lambda files: (files / "MLmodel").write_text("{a: 1}: b"), "its MLmodel is damaged"),
        (lambda files: (files / "MLmodel").write_text("a: 2001-99-99"), "its MLmodel is damaged"),
        (lambda files: (files / "MLmodel").write_text("[" * 5000), "its MLmodel is damaged"),
        (lambda files: (files / "data" / "model.keras").unlink(), "its model was not made by lsml"),
        (_linked, "model.keras is a link or no plain file"),
    ],
)
def test_files_that_are_not_those_that_were_logged_are_refused(
    store: Store, tmp_path: Path, change: Callable[[Path], object], why: str
) -> None:
    """Every one of them counts, because whoever loads the model by MLflow uses all: the record is in the database."""
    run_id = store.logged()
    change(store.files(run_id))
    with pytest.raises(ModelError, match=why) as error:
        store.model(run_id).fetch(tmp_path, unrecorded=True)
    assert error.value.exit_code == 5
    assert "\n" not in str(error.value)


def test_a_run_without_record_is_taken_at_its_files_word_where_that_is_allowed(store: Store, tmp_path: Path) -> None:
    """As those of an earlier lsml, which predict and evaluate; to become champion they are trained again."""
    run_id = store.logged()
    for tag in (Tag.MODEL_ID, Tag.MODEL_SHA256, Tag.MODEL_FILES, Tag.MODEL_THRESHOLD):
        store.client.delete_tag(run_id, tag)
    assert store.model(run_id).fetch(tmp_path / "a", unrecorded=True).threshold == 0.5
    with pytest.raises(ModelError, match="an earlier lsml made it"):
        store.model(run_id).fetch(tmp_path / "b")
    (store.files(run_id) / "data" / "model.keras").write_bytes(b"another")
    with pytest.raises(ModelError, match="its SHA-256 differs from its record"):
        store.model(run_id).fetch(tmp_path / "c", unrecorded=True)


def test_what_a_description_says_in_other_kinds_of_values_is_not_said(store: Store, tmp_path: Path) -> None:
    """A list whose text would have 10**12 words, and a number of more digits than Python prints."""
    run_id = store.logged()
    for tag in (Tag.MODEL_ID, Tag.MODEL_SHA256, Tag.MODEL_FILES, Tag.MODEL_THRESHOLD):
        store.client.delete_tag(run_id, tag)
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 13))]
    for value in ("*a12", f"0x{'f' * 5000}"):
        said = f"metadata: {{{Tag.MODEL_SHA256}: {value}, {Tag.MODEL_THRESHOLD}: {value}}}"
        (store.files(run_id) / "MLmodel").write_text("\n".join([*lines, said]))
        with pytest.raises(ModelError, match="its SHA-256 differs from its record"):
            store.model(run_id).fetch(tmp_path, unrecorded=True)


def test_of_several_models_of_a_run_it_is_the_one_that_its_tags_name(store: Store, tmp_path: Path) -> None:
    """Whatever somebody else logs with the run, before or after; where no tag says which, none is taken."""
    run_id = store.logged()
    model_id, _ = store.model(run_id).location()
    stranger = mlflow.MlflowClient()
    other = stranger.create_logged_model("0", "other", source_run_id=run_id)
    stranger.finalize_logged_model(other.model_id, LoggedModelStatus.READY)
    stranger.log_outputs(run_id, [LoggedModelOutput(other.model_id, step=0)])
    assert store.model(run_id).location()[0] == model_id
    assert store.model(run_id).fetch(tmp_path).path.read_bytes() == CONTENT
    store.client.delete_tag(run_id, Tag.MODEL_ID)
    with pytest.raises(ModelError, match="2 models were logged with it"):
        store.model(run_id).location()


@pytest.mark.parametrize("threshold", [0.0, 2.0, -1.0, float("nan")])
def test_a_threshold_that_is_none_is_refused(store: Store, tmp_path: Path, threshold: float) -> None:
    """When it is logged, and when it is read."""
    run_id = str(store.client.create_run("0").info.run_id)
    with pytest.raises(ModelError, match="which is not above 0 and at most 1"):
        store.model(run_id).log(_file(CONTENT), threshold=threshold, backend="tensorflow")
    run_id = store.logged()
    store.client.set_tag(run_id, Tag.MODEL_THRESHOLD, repr(threshold))
    with pytest.raises(ModelError, match="which is not above 0 and at most 1"):
        store.model(run_id).fetch(tmp_path)


def test_a_version_of_other_files_is_neither_used_nor_crowned(store: Store) -> None:
    """Its run is a good one, its source is not: the run's model gets a version of its own, and the alias."""
    run_id = store.logged()
    store.client.create_registered_model("forged")
    store.client.create_model_version("forged", str(store.folder / "evil"), run_id=run_id)
    store.client.set_registered_model_alias("forged", "own", "1")
    for name in ("forged/1", "forged@own", "models:/forged/1"):
        with pytest.raises(ModelError, match=f"model forged/1: its files are not those of run {run_id}"):
            named_run(store.client, name)
    registered = RegisteredModel(store.client, "forged")
    assert RegisteredModel.holding(store.client, run_id, "forged") is None
    assert registered.register(run_id, tags={}) == "2"
    registered.give_alias(Alias.CANDIDATE, "2", tags={})
    with pytest.raises(ModelError, match="its files are not those of run"):
        registered.set_champion("1", tags={})
    registered.set_champion("2", tags={})
    assert store.client.get_model_version_by_alias("forged", Alias.CHAMPION).version == 2
    assert named_run(store.client, "forged@champion").info.run_id == run_id


def test_a_version_under_the_models_own_name_comes_first(store: Store) -> None:
    """Whatever names come before it in the alphabet."""
    run_id = store.logged()
    for name in ("zoo", "ants"):
        RegisteredModel(store.client, name).register(run_id, tags={})
    assert RegisteredModel.holding(store.client, run_id, "zoo") == ("zoo", "1")
    assert RegisteredModel.holding(store.client, run_id, "neither") == ("ants", "1")


KEY = b"0123456789abcdef" * 4
"""As long as a block of SHA-256, which HMAC uses as it is."""


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the key that models are signed with."""
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    path.chmod(0o600)
    monkeypatch.setenv("LSML_SIGNING_KEY_FILE", str(path))
    return path


def test_a_model_is_signed_with_the_key_that_is_configured(store: Store, tmp_path: Path, key: Path) -> None:
    """RFC 2104 of the run's id and its record, worked out: H(key xor 5c.., H(key xor 36.., text))."""
    run_id = store.logged()
    tags = store.client.get_run(run_id).data.tags
    record = (tags[Tag.MODEL_ID], tags[Tag.MODEL_SHA256], tags[Tag.MODEL_FILES], "0.5")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in KEY) + "\n".join((run_id, *record)).encode()).digest()
    assert tags["lsml.signature"] == hashlib.sha256(bytes(byte ^ 0x5C for byte in KEY) + inner).hexdigest()
    assert store.model(run_id).fetch(tmp_path).path.read_bytes() == CONTENT
    assert not any(KEY.decode() in value for value in tags.values())
    assert _mlflow().detail.endswith(" experiments, models are signed")


def _record_of(store: Store, run_id: str) -> dict[str, str]:
    keys = (Tag.MODEL_ID, Tag.MODEL_SHA256, Tag.MODEL_FILES, Tag.MODEL_THRESHOLD, "lsml.signature")
    tags = store.client.get_run(run_id).data.tags
    return {key: tags[key] for key in keys if key in tags}


def test_a_record_that_is_not_signed_with_that_key_is_refused(
    store: Store, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed threshold, a record of another run, another key, no signature, no record; without a key all goes."""
    run_id, other = store.logged(), store.logged()

    def refused(why: str) -> None:
        with pytest.raises(
            ModelError, match=f"model of run {run_id}: {why}, and LSML_SIGNING_KEY_FILE is set"
        ) as error:
            store.model(run_id).fetch(tmp_path, unrecorded=True)
        assert error.value.exit_code == 5

    whole = _record_of(store, run_id)
    store.client.set_tag(run_id, Tag.MODEL_THRESHOLD, "0.01")
    refused("its signature is not that of its record")
    for tag, value in _record_of(store, other).items():
        store.client.set_tag(run_id, tag, value)
    store.client.log_outputs(run_id, [LoggedModelOutput(_record_of(store, other)[Tag.MODEL_ID], step=0)])
    refused("its signature is not that of its record")
    for tag, value in whole.items():
        store.client.set_tag(run_id, tag, value)
    assert store.model(run_id).fetch(tmp_path).threshold == 0.5
    key.write_bytes(KEY[::-1])
    refused("its signature is not that of its record")
    store.client.set_tag(run_id, "lsml.signature", "not ä signature")
    refused("its signature is not that of its record")
    store.client.delete_tag(run_id, "lsml.signature")
    refused("it is not signed")
    store.client.delete_tag(run_id, Tag.MODEL_SHA256)
    refused("it is not signed")
    monkeypatch.delenv("LSML_SIGNING_KEY_FILE")
    assert store.model(run_id).fetch(tmp_path, unrecorded=True).threshold == 0.5


def test_no_alias_goes_to_a_model_that_is_not_signed(store: Store, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered before the key was configured, it is not found by its name either."""
    with monkeypatch.context() as before:
        before.delenv("LSML_SIGNING_KEY_FILE")
        registered = RegisteredModel(store.client, "unsigned")
        version = registered.register(store.logged(), tags={})
    with pytest.raises(ModelError, match="it is not signed"):
        registered.give_alias(Alias.CANDIDATE, version, tags={})
    with pytest.raises(ModelError, match="it is not signed"):
        named_run(store.client, f"unsigned/{version}")


def test_an_alias_is_signed_with_the_key_that_is_configured(
    store: Store, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 2104 of name, alias, version, run. Where somebody else moved it to a signed version, it is refused."""
    registered, runs = RegisteredModel(store.client, "moved"), [store.logged() for _ in range(2)]
    for run_id in runs:
        registered.register(run_id, tags={})
    registered.set_champion("1", tags={})
    tag = "lsml.alias_signature.champion"
    signed = store.client.get_model_version("moved", "1").tags[tag]
    said = f"alias\nmoved\nchampion\n1\n{runs[0]}".encode()
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in KEY) + said).digest()
    assert signed == hashlib.sha256(bytes(byte ^ 0x5C for byte in KEY) + inner).hexdigest()
    assert named_run(store.client, "moved@champion").info.run_id == runs[0]

    def refused(alias: str) -> None:
        says = f"model moved@{alias}: that version 2 has this alias is not signed, and LSML_SIGNING_KEY_FILE is set"
        with pytest.raises(ModelError, match=says) as error:
            named_run(store.client, f"moved@{alias}")
        assert error.value.exit_code == 5

    store.client.set_registered_model_alias("moved", "champion", "2")
    refused("champion")
    store.client.set_model_version_tag("moved", "2", tag, signed)
    refused("champion")
    refused("latest")
    assert registered.holder("champion") is None
    assert named_run(store.client, "moved/2").info.run_id == runs[1]
    with monkeypatch.context() as without:
        without.delenv("LSML_SIGNING_KEY_FILE")
        assert named_run(store.client, "moved@champion").info.run_id == runs[1]
    assert registered.restore_champion(tag="back", record={}) == ("2", "1")
    assert named_run(store.client, "moved@champion").info.run_id == runs[0]
    assert tag not in store.client.get_model_version("moved", "2").tags


def test_an_alias_does_not_go_back_by_the_signature_that_it_once_had(store: Store, key: Path) -> None:
    """The version that lsml moves it away from keeps none, also one that a kill had left it."""
    registered, runs = RegisteredModel(store.client, "once"), [store.logged() for _ in range(2)]
    for run_id in runs:
        registered.register(run_id, tags={})
    for version in ("1", "2"):
        registered.set_champion(version, tags={})
    assert registered.holder("champion") == "2"
    store.client.set_registered_model_alias("once", "champion", "1")
    with pytest.raises(ModelError, match="that version 1 has this alias is not signed"):
        named_run(store.client, "once@champion")


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (KEY, 0o644, r"others than its owner may read or change it \(mode 0644\); chmod 600 "),
        (KEY, 0o620, r"others than its owner may read or change it \(mode 0620\)"),
        (KEY[:31] + b"\n", 0o600, "holds 31 bytes, expected 32 to 4096; make one: openssl rand -hex 32"),
        (KEY * 65, 0o600, "holds 4097 bytes"),
        (None, 0o600, "cannot be read: No such file or directory"),
    ],
)
def test_a_key_that_is_none_is_refused_before_anything_is_trained(
    store: Store, key: Path, content: bytes | None, mode: int, says: str
) -> None:
    """When the store is opened: exit code 2, and never what is in the file."""
    if content is None:
        key.unlink()
    else:
        key.write_bytes(content)
        key.chmod(mode)
    with pytest.raises(ConfigError, match=says) as error:
        open_client()
    assert KEY[:8].decode() not in str(error.value)
