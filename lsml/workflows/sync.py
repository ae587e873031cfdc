"""Sends MLflow what waits in the working folder since it did not answer."""

from pathlib import Path

from lsml.tracking.spool import Outbox, waiting_files
from lsml.tracking.store import open_store


def sync() -> dict[Path, int]:
    """Sends all that waits; gives how many writes of which file.

    Raises:
        StorageError: MLflow does not answer or says no, or a file is damaged, of another store, or in use.
    """
    files = waiting_files()
    if not files:
        return {}
    client, sent = open_store(), {}
    for path in files:
        with Outbox(client, path) as outbox:
            outbox.flush()
        sent[path] = outbox.kept
    return sent
