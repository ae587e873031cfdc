"""Runs the commands that follow a study in one process, which loads Keras once.

Usage: python -m tests.end_to_end.run_promotions RUN DATA

Works on the study in the working folder, of which RUN is the best. Prints what each command printed and left with, as
JSON. The first file to be promoted is loaded by a new interpreter, the later ones by forks of one that has Keras.
"""

import contextlib
import io
import json
import sys

from lsml.cli.main import main
from tests.warm import cold

_FEW = ("--set", "training.epochs=1", "--set", "training.learning_rate=1e-6")


def commands(best: str, data: str) -> dict[str, dict[str, object]]:
    """By a name for each: its exit code, and its two streams."""
    found: dict[str, dict[str, object]] = {}

    def call(name: str, *arguments: str) -> str:
        said, complaint = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
            code = main(list(arguments))
        found[name] = {"code": code, "said": said.getvalue(), "complaint": complaint.getvalue()}
        return said.getvalue()

    poor = call("train", "train", "experiment.yaml", "--data", data, *_FEW).split()[-1]
    with cold():
        call("first", "promote", best, "--json")
    call("worse", "promote", poor, "--model-name", "first")
    refit = json.loads(call("refit", "refit", best, "--json"))["run_id"]
    call("refit again", "refit", best, "--json")
    call("seen", "evaluate", "--run-id", refit, "--split", "valid")
    call("repeats", "promote", refit, "--repeats", "2", "--json")
    call("same again", "promote", best, "--json")
    return found


if __name__ == "__main__":
    print(json.dumps(commands(*sys.argv[1:])))  # noqa: T201
