"""Work in a forked process, which may be killed or end itself in the middle of it."""

import os
import traceback
from collections.abc import Callable


def exit_code(work: Callable[[], object]) -> int:
    """That of a process of its own that does the work: 1 where it raised, -N where signal N killed it, else its own."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except SystemExit as left:
            os._exit(int(left.code or 0))
        except BaseException:  # noqa: BLE001 (a forked child must never return into the parent's code)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
