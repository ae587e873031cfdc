"""Opens the test split for one run in several processes at once.

Usage: python -m tests.tracking.open_at_once RUN COUNT

Forks before the first database is opened: SQLite does not survive a fork with one open.
"""

import os
import sys

from lsml.tracking.ledger import Ledger
from lsml.tracking.store import find_run, open_client

if __name__ == "__main__":
    run_id, count = sys.argv[1], int(sys.argv[2])
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            client = open_client()
            run = find_run(client, run_id)
            ledger = Ledger.of_run(client, run)
            ledger.complete(ledger.record(run, model_sha256="0" * 64, data="patches"), "f" * 64)
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
