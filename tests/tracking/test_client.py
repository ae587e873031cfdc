"""The client of a real MLflow store, where another process writes what it is about to write."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput
from sqlalchemy import event
from sqlalchemy.engine import Engine

INPUT = DatasetInput(Dataset(name="patches", digest="ab12", source_type="local", source="data"))


@pytest.fixture
def overtaken(store: Any, tmp_path: Path) -> Iterator[list[str]]:
    """Each table named here has MLflow's next row for it written by another connection right before, once."""
    tables: list[str] = []

    def overtake(_: object, __: object, statement: str, rows: Any, ___: object, many: bool) -> None:
        table = statement.removeprefix("INSERT INTO ").partition(" ")[0]
        if table in tables:
            tables.remove(table)
            with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
                database.executemany(statement, rows if many else [rows])

    event.listen(Engine, "before_cursor_execute", overtake)
    yield tables
    event.remove(Engine, "before_cursor_execute", overtake)


@pytest.mark.parametrize(
    ("table", "write"),
    [
        ("datasets", lambda client, run: client.log_inputs(run, [INPUT])),
        ("tags", lambda client, run: client.set_tag(run, "a", "b")),
        ("experiment_tags", lambda client, _: client.set_experiment_tag("0", "a", "b")),
        ("registered_model_tags", lambda client, _: client.set_registered_model_tag("known", "a", "b")),
    ],
)
def test_a_row_that_another_process_writes_first_is_taken(
    store: Any, overtaken: list[str], table: str, write: Callable[[Any, str], None]
) -> None:
    """MLflow looks for a row and, where there is none, writes it: one that came in between is no error."""
    store.create_registered_model("known")
    run = store.create_run("0").info.run_id
    overtaken.append(table)
    write(store.with_patience(0), run)
    assert overtaken == []
    if table == "datasets":
        (logged,) = store.get_run(run).inputs.dataset_inputs
        assert (logged.dataset.name, logged.dataset.digest) == ("patches", "ab12")


def test_a_model_that_exists_is_said_to_exist(store: Any, overtaken: list[str]) -> None:
    """Of one that another process made first, MLflow says that it exists, which is no race to be run again."""
    overtaken.append("registered_models")
    with pytest.raises(Exception, match="already exists"):
        store.create_registered_model("known")
    assert store.get_registered_model("known").name == "known"
