#!/bin/bash
#SBATCH --job-name=lsml
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=24:00:00
# A study whose workers are jobs of Slurm, which dask-jobqueue asks for; this job has the coordinator and dask's scheduler.
#
#     pip install dask-jobqueue
#     deploy/secrets.sh ~/lsml-secrets
#     LSML_DASK_PEM=~/lsml-secrets/dask.pem LSML_WORKERS=4 sbatch deploy/slurm.sh tune EXPERIMENT [OPTION...]
#
# Start it in a folder that all nodes see, with the environment of lsml active. What a worker is given stands below.
set -euo pipefail
: "${LSML_DASK_PEM:?name the file dask.pem that deploy/secrets.sh made}" "${LSML_WORKERS:=2}"

# For the scheduler and the coordinator here, and by their jobs for the workers.
export LSML_WORKERS
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true
export DASK_DISTRIBUTED__COMM__TLS__CA_FILE=$LSML_DASK_PEM
export DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__CERT=$LSML_DASK_PEM
export DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT=$LSML_DASK_PEM
export DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT=$LSML_DASK_PEM
# It is in the same file; dask-jobqueue would name the file None for it.
export DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY=$LSML_DASK_PEM
# A network that is away for less than that costs nothing; dask would end its workers after 30 s.
export DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP=120s
# Without a dashboard either, dask tells everybody in plain HTTP of tasks and hosts.
export DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES=[]
export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES=[]

exec python - "$@" <<'END'
import os
import subprocess
import sys

from dask_jobqueue import SLURMCluster
from distributed import Security

with SLURMCluster(
    cores=1,  # One thread a worker, as a process has one trial.
    processes=1,
    job_cpu=4,
    memory="16GB",
    walltime="24:00:00",
    job_extra_directives=[],  # Such as "--gres=gpu:1".
    security=Security(),
    scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    worker_extra_args=["--no-dashboard"],
    local_directory=os.environ.get("TMPDIR", "/tmp"),
    log_directory=os.getcwd(),
) as cluster:
    cluster.scale(jobs=int(os.environ["LSML_WORKERS"]))
    command = [sys.executable, "-m", "lsml", *sys.argv[1:], "--scheduler", cluster.scheduler_address]
    sys.exit(subprocess.run(command, check=False).returncode)
END
