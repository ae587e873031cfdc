"""Which files a process opens, noted in the file that `LSML_TEST_AUDIT` names."""

import os
import sys


def note() -> None:
    """Has this process note them, from now on, if the variable is set; `sitecustomize` calls it in new interpreters."""
    if not (log := os.environ.get("LSML_TEST_AUDIT")):
        return
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            os.write(file, os.fsencode(arguments[0]) + b"\n")

    sys.addaudithook(hook)
