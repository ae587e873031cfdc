"""`lsml ui` and the addresses that `lsml tune` prints: right runs, right order, loopback only, no process left."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import psutil
import pytest

from lsml.tracking import ui as server
from tests.end_to_end.conftest import Study, client, runs
from tests.processes import PATIENCE, environment, free_port, living, lsml, wait_until


class Ui(NamedTuple):
    """A UI under way: its process, its port, and the lines that it printed."""

    process: subprocess.Popen
    port: int
    lines: list[str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start(folder: Path) -> Ui:
    """Starts the UI in `folder` and waits until it says that it runs."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "lsml", "ui", "--no-open", "--port", str(port)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if "Ctrl-C" in line:
            return Ui(process, port, lines)
    raise AssertionError(f"ended: {lines} {process.communicate()}")


@pytest.fixture(scope="module")
def ui(study: Study) -> Iterator[Ui]:
    """The UI over the finished study."""
    running = start(study.folder)
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(PATIENCE)


def query_of(address: str) -> dict[str, str]:
    """The parameters of an address behind its `#`."""
    return {key: values[0] for key, values in parse_qs(address.partition("?")[2]).items()}


def view_of(folder: Path, address: str) -> dict[str, Any]:
    """The state of the saved view that an address opens, as MLflow's page reads it."""
    found = re.search(r"#/experiments/(\d+)/runs\?", address)
    assert found, address
    key = query_of(address)["viewStateShareKey"]
    tag = json.loads(client(folder).get_experiment(found[1]).tags[f"mlflow.sharedViewState.{key}"])
    kind, _, packed = tag["state"].partition(";")
    assert kind == "deflate"
    return dict(json.loads(zlib.decompress(base64.b64decode(packed))))


def test_the_server_answers_on_loopback_only(study: Study, ui: Ui) -> None:
    """Its page and its API answer, and every socket that its processes listen on is bound to 127.0.0.1."""
    with urllib.request.urlopen(ui.address, timeout=PATIENCE) as page:
        assert b"<title>MLflow</title>" in page.read()
    (version,) = client(study.folder).search_model_versions("name='first'")
    path = f"/ajax-api/2.0/mlflow/model-versions/get?name=first&version={version.version}"
    with urllib.request.urlopen(ui.address + path, timeout=PATIENCE) as answer:
        assert json.load(answer)["model_version"]["run_id"] == study.best_run
    children = psutil.Process(ui.process.pid).children(recursive=True)
    sockets = [link for child in children for link in child.net_connections("tcp") if link.status == "LISTEN"]
    assert {(link.laddr.ip, link.laddr.port) for link in sockets} == {("127.0.0.1", ui.port)}


def test_the_page_lists_the_trials_of_the_study_by_falling_f1(study: Study, ui: Ui) -> None:
    """The view's own filter and order, put to MLflow, give trials and baselines without the parent, the best first."""
    (line,) = [line for line in ui.lines if line.startswith("trials of study first compared: ")]
    address = line.rpartition(": ")[2]
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    assert address.startswith(f"{ui.address}/#/experiments/{parent.info.experiment_id}/runs?")
    assert query_of(address)["workflowType"] == "machine_learning"
    view = view_of(study.folder, address)
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best_val_f1`", False)
    listed = client(study.folder).search_runs(
        [parent.info.experiment_id], view["searchFilter"], order_by=[f"{view['orderByKey']} DESC"]
    )
    scores = [run.data.metrics["best_val_f1"] for run in listed]
    roles = [run.data.tags["lsml.role"] for run in listed]
    assert (roles.count("trial"), roles.count("baseline"), len(roles)) == (3, 3, 6)
    assert scores == sorted(scores, reverse=True)
    assert parent.info.run_id not in {run.info.run_id for run in listed}


def test_the_view_names_only_what_the_runs_have(study: Study, ui: Ui) -> None:
    """Every chart stands in a section of the view and draws metrics, parameters and pictures of the best run."""
    view = view_of(study.folder, ui.lines[1].rpartition(": ")[2])
    store = client(study.folder)
    best = store.get_run(study.best_run)
    images = {entry.path.rpartition("/")[2] for entry in store.list_artifacts(study.best_run, "images")}
    drawn = {image.partition("+")[0].replace("~", "/") for image in images}
    charts, sections = view["compareRunCharts"], view["compareRunSections"]
    assert {chart["metricSectionId"] for chart in charts} == {section["uuid"] for section in sections}
    metrics = {chart["metricKey"] for chart in charts if "metricKey" in chart}
    assert "val_f1" in metrics
    assert metrics <= best.data.metrics.keys()
    (parallel,) = [chart for chart in charts if chart["type"] == "PARALLEL"]
    assert set(parallel["selectedParams"]) == {"model.dropout", "loss.jaccard"} <= best.data.params.keys()
    pictured = {key for chart in charts if chart["type"] == "IMAGE" for key in chart["imageKeys"]}
    assert pictured
    assert pictured <= drawn
    assert len({chart["uuid"] for chart in charts}) == len(charts)


def test_the_best_trials_are_compared_side_by_side(study: Study, ui: Ui) -> None:
    """The second address holds the trials' run ids, the best first, and their experiment."""
    address = ui.lines[2].removeprefix("its best trials compared: ")
    # MLflow's page finds the runs only where they come first.
    assert address.startswith(f"{ui.address}/#/compare-runs?runs=")
    query = query_of(address)
    compared = json.loads(query["runs"])
    assert compared[0] == study.best_run
    assert len(compared) == 3
    assert json.loads(query["experiments"]) == [client(study.folder).get_run(study.best_run).info.experiment_id]


def test_a_server_of_ones_own_is_not_started_twice(study: Study, ui: Ui, tmp_path: Path) -> None:
    """Where MLFLOW_TRACKING_URI names a server, its addresses are printed, without a password, and that is all."""
    address = f"http://me:secret@127.0.0.1:{ui.port}"
    done = lsml(tmp_path, "ui", "--study", "first", env=environment(MLFLOW_TRACKING_URI=address))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ui.lines[:-1]
    unknown = lsml(tmp_path, "ui", "--study", "other", env=environment(MLFLOW_TRACKING_URI=address))
    assert unknown.returncode == 2
    assert "there is: first" in unknown.stderr


def test_a_port_in_use_is_one_line(study: Study, ui: Ui) -> None:
    """A port that was asked for and is taken ends with code 4 and says so."""
    done = lsml(study.folder, "ui", "--no-open", "--port", str(ui.port))
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lsml: error: port {ui.port}: address already in use; ")


def test_without_a_port_the_next_free_one_is_taken() -> None:
    """While 5000 is taken, by whomever, a later port is chosen, and it is free."""
    with contextlib.ExitStack() as held:
        # Where another process has it already, that is as good.
        with contextlib.suppress(OSError):
            held.enter_context(socket.create_server(("127.0.0.1", 5000)))
        chosen = server.free_port(None)
        assert 5000 < chosen < 5050
        socket.create_server(("127.0.0.1", chosen)).close()


def test_ctrl_c_ends_every_process_and_a_store_without_a_study_is_shown(
    tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    """After SIGINT all has ended with code 0; before, an empty store said what to do next."""
    new_store(tmp_path)
    running = start(tmp_path)
    assert "no study yet; lsml tune starts one" in running.lines
    children = [child.pid for child in psutil.Process(running.process.pid).children(recursive=True)]
    assert children
    os.kill(running.process.pid, signal.SIGINT)
    output, errors = running.process.communicate(timeout=PATIENCE)
    assert (running.process.returncode, errors) == (0, "")
    # A signal between a write and the end of its flush has Python write the last line again.
    assert output.removeprefix("Ctrl-C ends it\n") == "stopped\n"
    wait_until(lambda: not living(children))


def test_tune_prints_the_same_pages_each_time(study: Study, ui: Ui) -> None:
    """A finished study prints its two addresses again; apart from the port they are those of the UI."""
    again = lsml(study.folder, "tune", "experiment.yaml", "--data", str(study.data), "--study", "first")
    for output in (study.output, again.stdout):
        for line, begin in zip(ui.lines[1:3], ("trials compared: ", "the best compared: "), strict=True):
            page = line.partition("/#/")[2]
            assert f"{begin}http://127.0.0.1:5000/#/{page}\n" in output


def test_runs_describe_themselves(study: Study) -> None:
    """The study's note names the best run and how to evaluate it; a trial's note and colour tell it from the others."""
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    note = parent.data.tags["mlflow.note.content"]
    assert f"lsml evaluate --run-id {study.best_run}" in note
    assert "| model.dropout | 0 to 0.3 |" in note
    trials = runs(study.folder, "tags.`lsml.role` = 'trial'")
    first = next(run for run in trials if run.data.tags["lsml.slot"] == "0")
    # The base configuration: dropout .1, weight .5 of the soft Jaccard loss.
    assert first.data.tags["mlflow.note.content"] == "model.dropout=0.1, loss.jaccard=0.5"
    assert len({run.data.tags["mlflow.runColor"] for run in trials}) == 3
    history = client(study.folder).get_metric_history(study.best_run, "best_val_f1")
    assert [point.step for point in history] == [0]
