"""What several files of tests of tracking start from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsml.tracking.store import open_client


@pytest.fixture
def store(tmp_path: Path, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an empty store of this test's own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    monkeypatch.chdir(tmp_path)
    return open_client()
