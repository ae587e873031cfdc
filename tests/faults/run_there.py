"""A study of unhurried trials on a cluster: `python -m tests.faults.run_there SCHEDULER STUDY DATA TRIALS`.

In the current folder, which has the experiment; both stores as the environment names them. Leaves as `lsml tune` does.
"""

import sys
from dataclasses import replace
from pathlib import Path

from lsml.cli.output import Reporter
from lsml.config.experiment import load_experiment
from lsml.errors import LsmlError
from lsml.workflows.tune import tune
from tests.study.sleeping import FUNCTIONS, unhurried


def main(scheduler: str, study: str, data: str, trials: str) -> int:
    """The exit code."""
    experiment = load_experiment(Path("experiment.yaml")).with_settings(trials=int(trials))
    functions = replace(FUNCTIONS, search=unhurried, baselines={})
    try:
        with Reporter() as reporter:
            tune(experiment, study=study, data=data, scheduler=scheduler, listener=reporter, functions=functions)
    except LsmlError as error:
        sys.stderr.write(f"lsml: error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
