"""Runs the code of a file as a notebook does: as that of no module, which other processes would import anew."""

import sys
from pathlib import Path

if __name__ == "__main__":
    exec(compile(Path(sys.argv[1]).read_text(encoding="utf-8"), "cells", "exec"), {"__name__": "cells"})
