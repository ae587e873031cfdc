"""The run that `mlflow run` makes for a process, and what is left over in the environment from another one."""

from pathlib import Path

import pytest

from lsml.tracking.store import open_client, project_run

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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], end: str, counts: bool
) -> None:
    """`mlflow run` keeps its run open until the entry point has ended, and says which that is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = open_client()
    run_id = client.create_run("0", tags=tags).info.run_id
    if end == "finished":
        client.set_terminated(run_id)
    if end == "deleted":
        client.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert project_run(client) == (run_id if counts else None)
    for other in ("0" * 32, "no id at all", ""):
        monkeypatch.setenv("MLFLOW_RUN_ID", other)
        assert project_run(client) is None
