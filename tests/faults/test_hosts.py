"""A study on two hosts, by the commands of `deploy/compose.yaml`: the link between them fails; who must not take part.

Scheduler, PostgreSQL, MLflow's server and the coordinator are on one, the workers on the other.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, services
from tests.hosts import ADDRESSES, FAR, NEAR, Hosts, two_hosts
from tests.processes import wait_until
from tests.study.conftest import EXPERIMENT, attempts, counted
from tests.study.test_clusters import other_packs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

PORTS = {"mlflow": 5000, "scheduler": 8786}
DOWN_SECONDS = 30


class Site:
    """Both hosts with all that runs on them.

    Attributes:
        storage: the URL of the studies' database, as the near host has it.
    """

    def __init__(self, hosts: Hosts, deployment: Deployment, folder: Path, storage: str) -> None:
        self.hosts, self.deployment, self.folder, self.storage = hosts, deployment, folder, storage
        self.scheduler = f"tls://{ADDRESSES[NEAR]}:{PORTS['scheduler']}"

    def worker(self, name: str, *arguments: str, **environment: str) -> None:
        """Starts one on the far host, and waits until the scheduler has it."""
        with self.hosts.on(FAR):
            place = ("--name", name, "--host", ADDRESSES[FAR])
            self.deployment.start("worker", *place, *arguments, name=name, **environment)
        wait_until(lambda: name in self.working())

    def working(self) -> dict[str, int]:
        """How many tasks each worker has, by name."""
        code = (
            "import json, sys; from distributed import Client\n"
            "with Client(sys.argv[1], timeout=30) as client:\n"
            "    tasks, workers = client.processing(), client.scheduler_info(n_workers=-1)['workers']\n"
            "print(json.dumps({w['name']: len(tasks.get(at, ())) for at, w in workers.items()}))"
        )
        words, env = [sys.executable, "-c", code, self.scheduler], self.deployment.environment("coordinator")
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return found

    def tune(self, host: str, study: str, data: Path, trials: int, name: str) -> "subprocess.Popen[bytes]":
        """A coordinator on that host, in a folder of that name."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "experiment.yaml").write_text(EXPERIMENT)
        words = [sys.executable, "-m", "tests.faults.run_there", self.scheduler, study, str(data), str(trials)]
        env = self.deployment.environment("coordinator")
        with self.hosts.on(host):
            return self.deployment.run(["env", "-C", str(folder), *words], name, env)

    def check_whole(self, study: str, trials: int) -> None:
        """Fails unless each slot has one attempt that counts, all complete, and neither store has one open."""
        ended = counted(study, self.storage)
        assert [entry["slot"] for entry in ended] == list(range(trials))
        assert {entry["state"] for entry in ended} <= {"complete", "pruned"}
        assert [entry for entry in attempts(study, self.storage) if entry["state"] == "running"] == []
        assert self.deployment.open_runs() == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With two workers, which are started anew where they end. This process, too, is on the near host meanwhile."""
    folder = tmp_path_factory.mktemp("site")
    with two_hosts() as hosts, hosts.on(NEAR), services(folder, ADDRESSES[NEAR], PORTS) as (deployment, postgres):
        started = Site(hosts, deployment, folder, postgres.url("studies"))
        started.worker("first")
        started.worker("second")
        yield started


def test_a_link_that_is_down_for_a_while_loses_no_trial(site: Site, patches: Path) -> None:
    """Half a minute in the middle: each slot ends once, nothing is open, and both workers are free in the end."""
    process = site.tune(NEAR, "link", patches, 16, "link")
    wait_until(lambda: "trial 3" in site.deployment.log("link"))
    before = time.monotonic()
    site.hosts.disconnect()
    time.sleep(DOWN_SECONDS)
    site.hosts.connect()
    assert process.wait(timeout=500) == 0, site.deployment.log("link")
    print(f"\nended {time.monotonic() - before - DOWN_SECONDS:.0f} s after the link was up again")  # noqa: T201
    site.check_whole("link", 16)
    wait_until(lambda: site.working() == {"first": 0, "second": 0})


def test_workers_that_differ_are_refused_by_name(site: Site, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with other data and one with another lsml, on the other host: a line each, and the study goes on."""
    assert site.tune(NEAR, "same", patches, 2, "near").wait(timeout=500) == 0, site.deployment.log("near")
    monkeypatch.chdir(site.folder / "near")
    old = site.folder / "old.py"
    old.write_text("import lsml.study.worker as w; w.VERSION = '0.0.9'")
    site.worker("data", LSML_PACKS=str(other_packs(site.folder)))
    site.worker("old", "--preload", str(old))
    assert site.tune(NEAR, "same", patches, 8, "near").wait(timeout=500) == 0, site.deployment.log("near")
    said = site.deployment.log("near")
    assert (
        "worker data on far is refused: its data is train 0000000000000000, validation 0000000000000000, not " in said
    )
    assert "worker old on far is refused: its version of lsml is 0.0.9, not 0.1.0; install lsml 0.1.0 there" in said
    site.check_whole("same", 8)


def test_of_two_coordinators_one_is_refused(site: Site, patches: Path) -> None:
    """The second, on the other host, is told which process runs the study; the first one ends it."""
    first = site.tune(NEAR, "shared", patches, 8, "one")
    wait_until(lambda: "trial 1" in site.deployment.log("one"))
    second = site.tune(FAR, "shared", patches, 8, "other")
    assert second.wait(timeout=120) == 4, site.deployment.log("other")
    last = site.deployment.log("other").splitlines()[-1]
    assert last.startswith(f"lsml: error: study 'shared': process {first.pid} on near runs it, alive at ")
    assert first.wait(timeout=500) == 0, site.deployment.log("one")
    site.check_whole("shared", 8)
