"""MLflow goes away in the middle of a study: the study goes on, and nothing of it is lost."""

import hashlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from lsml.errors import StorageError
from lsml.models.export import ModelFile
from lsml.names import EndState, Role, Tag
from lsml.tracking.spool import Outbox, _Spool, waiting_files
from lsml.tracking.store import Client, experiment_id, open_client
from lsml.tracking.writes import Write
from lsml.training.outcome import Attempt
from lsml.workflows.doctor import _waiting as waiting
from tests.bands import SENSOR
from tests.processes import lsml, wait_until
from tests.study.conftest import counted, environment
from tests.study.sleeping import sleeping
from tests.study.test_tune import Listener, run

from .conftest import Proxy

MODEL = b"weights"


def writes(experiment: str) -> list[Write]:
    """All that there is to write of one run."""
    name = "parent/trial/0/1"
    model = ModelFile(MODEL, hashlib.sha256(MODEL).hexdigest(), SENSOR)
    return [
        Write.of_run(name, experiment, {"lsml.role": "trial"}),
        Write.of_values(name, params={"a": 1}),
        *(Write.of_values(name, metrics={"val_f1": step / 10}, step=step) for step in range(1, 21)),
        Write("files", name, files={"table.csv": b"a,b\n1,2\n"}),
        Write.of_model(name, model, threshold=0.5, backend="tensorflow"),
        Write.of_end(name, "FINISHED"),
    ]


def check_once(client: Client, experiment: str) -> None:
    """Fails unless there is that one run, with everything, once."""
    (found,) = client.search_runs([experiment])
    run_id = found.info.run_id
    assert (found.info.status, found.data.params) == ("FINISHED", {"a": "1"})
    curve = client.get_metric_history(run_id, "val_f1")
    assert [(point.step, point.value) for point in curve] == [(step, step / 10) for step in range(1, 21)]
    assert [entry.path for entry in client.list_artifacts(run_id)] == ["table.csv"]
    (model,) = client.search_logged_models([experiment])
    assert (model.source_run_id, model.status) == (run_id, "READY")


def senders() -> set[threading.Thread]:
    """The threads that send."""
    return {thread for thread in threading.enumerate() if thread.name == "mlflow"}


@pytest.mark.full
def test_a_server_that_never_answers_takes_five_seconds_in_all(folder: Path, proxy: Proxy) -> None:
    """Every write is kept; once it answers, all are sent, those too that it had got before it fell silent."""
    client = open_client()
    experiment = experiment_id(client, folder.name)
    outbox = Outbox(client, folder / "a.spool")
    waited = 0.0
    for number, write in enumerate(writes(experiment)):
        if number == 3:
            proxy.fault = "hang"
        started = time.monotonic()
        outbox.put(write)
        waited += time.monotonic() - started if number >= 3 else 0
    # 2.5 s, then half as long each time; 22 writes that each wait as long as the first would take 55.
    assert waited < 20
    assert (folder / "a.spool").exists()
    proxy.fault = None
    outbox.flush()
    assert not (folder / "a.spool").exists()
    check_once(client, experiment)


def test_what_a_killed_process_kept_is_sent_by_hand(folder: Path, proxy: Proxy) -> None:
    """`lsml sync` sends all of it once; `lsml doctor` says that it waits. What was sent already is not sent again."""
    client = open_client()
    experiment = experiment_id(client, folder.name)
    proxy.fault = "down"
    kept = folder / ".lsml" / "spool" / "a.spool"
    outbox = Outbox(client, kept)
    for write in writes(experiment):
        assert outbox.put(write) == "parent/trial/0/1"
    with pytest.raises(StorageError, match=r"25 writes wait in .*a\.spool; once it answers: lsml sync"):
        outbox.flush(0.2)
    content = kept.read_bytes()
    proxy.fault = None
    outbox.flush()
    # As if that process had been killed before it had sent anything, and again after it had sent all.
    for _ in range(2):
        kept.write_bytes(content)
        assert waiting_files() == [kept]
        assert (waiting().state, waiting().detail) == ("warning", f"{len(content):,} bytes in {kept}")
        done = lsml(folder, "sync", env=environment())
        assert (done.returncode, done.stdout) == (0, f"sent: 25 writes of {kept}\n"), done.stderr
        assert waiting_files() == []
        check_once(client, experiment)


def test_what_waits_is_had_by_the_next_in_the_same_process(folder: Path, proxy: Proxy) -> None:
    """As where a notebook calls `lsml.tune` again after an outage; the first one's thread has ended."""
    client = open_client()
    experiment = experiment_id(client, folder.name)
    proxy.fault = "down"
    before = senders()
    with Outbox(client, folder / "a.spool") as outbox:
        for write in writes(experiment):
            outbox.put(write)
        with pytest.raises(StorageError, match="locked by another process"):
            Outbox(client, folder / "a.spool")
    proxy.fault = None
    with Outbox(client, folder / "a.spool") as outbox:
        outbox.flush()
        assert outbox.kept == 25
    check_once(client, experiment)
    wait_until(lambda: senders() <= before)


def test_a_record_with_another_length_is_not_taken_for_one_that_was_cut_off(folder: Path) -> None:
    """Whichever bit of the first length is flipped: what follows it stays in the file, and an error names the place."""
    path, magic = folder / "a.spool", len(b"lsml write 2\n")
    spool = _Spool(path)
    for write in writes("7"):
        spool.append(write)
    spool.close()
    content = path.read_bytes()
    for bit in range(64):
        damaged = bytearray(content)
        damaged[magic + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(StorageError, match="the record at byte 0 is damaged"):
            _Spool(path)
        assert path.read_bytes() == damaged


def test_a_file_cut_off_anywhere_keeps_what_is_whole(folder: Path) -> None:
    """At each of twenty offsets the records before it are there, and the next one is appended behind them."""
    path = folder / "a.spool"
    spool, ends = _Spool(path), []
    for write in writes("7"):
        spool.append(write)
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    spool.close()
    for cut in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        again = _Spool(path)
        assert len(again) == whole
        again.append(writes("7")[0])
        again.close()
        assert len(_Spool(path)) == whole + 1
        _Spool(path).close()
    path.write_bytes(content[:-1] + b"!")
    with pytest.raises(StorageError, match="is damaged"):
        _Spool(path)


class Outage(Listener):
    """MLflow is away from the second trial's first epoch until the search has ended, and some time after."""

    def __init__(self, proxy: Proxy, fault: str, trials: int) -> None:
        super().__init__()
        self._proxy, self._fault, self._trials = proxy, fault, trials

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        if (attempt.slot, step) == (1, 1):
            self._proxy.fault = self._fault

    def trial_ended(self, attempt: Attempt, state: EndState, value: float | None, reason: str) -> None:
        super().trial_ended(attempt, state, value, reason)
        if len(self.ended) == self._trials:
            threading.Timer(1, setattr, (self._proxy, "fault", None)).start()


@pytest.mark.full
def test_a_study_goes_on_while_its_server_is_down(folder: Path, patches: Path, proxy: Proxy) -> None:
    """At its end MLflow has every run with all of its curve and its model, and the database has every run's id."""
    outage = Outage(proxy, "down", trials=4)
    result = run(patches, sleeping, outage, trials=4)
    client = open_client()
    experiment = experiment_id(client, folder.name)
    found = {r.info.run_id: r for r in client.search_runs([experiment]) if r.data.tags[Tag.ROLE] == Role.TRIAL}
    assert {entry["run_id"] for entry in counted("s")} == found.keys()
    assert len(found) == 4
    for entry in counted("s"):
        curve = client.get_metric_history(entry["run_id"], "val_f1")
        assert {point.step: point.value for point in curve} == entry["curve"]
        assert found[entry["run_id"]].info.status == {"complete": "FINISHED", "pruned": "KILLED"}[entry["state"]]
    assert len(client.search_logged_models([experiment])) == 4
    assert client.get_run(result.study_run_id).info.status == "FINISHED"
    assert waiting_files() == []


def test_nothing_is_kept_on_disk_while_the_store_answers(folder: Path, patches: Path, monkeypatch) -> None:
    """With the database in the working folder no write goes through a file."""
    monkeypatch.setattr(_Spool, "append", lambda *_: pytest.fail("kept on disk"))
    run(patches, sleeping, Listener(), trials=1)
