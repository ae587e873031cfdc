"""Runs that `mlflow run` makes for a process, what is left over of others, and the order of a run's tags."""

from typing import Any

import pytest

from lsml.tracking.store import project_run
from lsml.tracking.writes import Write, send

PROJECT = {"mlflow.project.entryPoint": "tune"}


@pytest.mark.parametrize(
    ("tags", "end", "counts"),
    [
        (PROJECT, "", True),
        (PROJECT, "finished", False),
        (PROJECT, "deleted", False),
        ({}, "", False),
    ],
    ids=["of this process", "of an earlier one", "deleted", "of another program"],
)
def test_a_run_of_the_environment_counts_while_a_project_waits_for_it(
    store: Any, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], end: str, counts: bool
) -> None:
    """`mlflow run` keeps its run open until the entry point has ended, and says which that is."""
    run_id = store.create_run("0", tags=tags).info.run_id
    if end == "finished":
        store.set_terminated(run_id)
    if end == "deleted":
        store.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert project_run(store) == (run_id if counts else None)
    for other in ("0" * 32, "no id at all", ""):
        monkeypatch.setenv("MLFLOW_RUN_ID", other)
        assert project_run(store) is None


def test_a_runs_page_shows_short_tags_before_hashes(store: Any) -> None:
    """MLflow's page shows the tags of a run in the order in which it was given them."""
    tags = {"lsml.data.train": "e" * 64, "lsml.role": "trial", "lsml.data.root": "/patches", "lsml.study": "demo"}
    run_id = send(store, "", Write.of_run("study/trial/0/1", "0", tags))
    shown = [key for key in store.get_run(run_id).data.tags if key in tags]
    assert shown == ["lsml.study", "lsml.role", "lsml.data.root", "lsml.data.train"]
