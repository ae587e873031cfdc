"""Trainings in a process that may take only so much more memory than it has: a real allocation that fails."""

import contextlib
import resource
import sys
from collections.abc import Iterator

import psutil

from lsml.training.device import Device, load_keras


@contextlib.contextmanager
def spare(megabytes: int) -> Iterator[None]:
    """Within it this process, with its backend loaded, may take `megabytes` more address space than it has."""
    load_keras()

    Device.current()
    free = resource.getrlimit(resource.RLIMIT_AS)
    taken = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 10**6, free[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, free)


def command(megabytes: int, arguments: list[str]) -> int:
    """The exit code of `lsml ARGUMENTS` within that."""
    # What the command would load itself is there before the limit is.
    import mlflow.tracking
    import sqlalchemy.dialects.sqlite  # noqa: F401

    from lsml.cli.main import main

    assert mlflow.tracking
    with spare(megabytes):
        return main(arguments)


if __name__ == "__main__":
    sys.exit(command(int(sys.argv[1]), sys.argv[2:]))
