"""dask's dashboard of a study's own workers: on request, at loopback alone."""

import re
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from lsml.config.experiment import load_experiment
from lsml.errors import ConfigError
from lsml.workflows.tune import tune
from tests.processes import lsml

from .conftest import ROOT
from .test_clusters import Told, run


def test_a_dashboard_that_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that says what to install, before patches are looked for; so is one beside a scheduler's own."""
    monkeypatch.setitem(sys.modules, "distributed.dashboard.scheduler", None)
    with pytest.raises(ConfigError) as caught:
        tune(load_experiment(ROOT / "experiments/demo.yaml"), data=tmp_path / "none", dashboard=True)
    assert list(tmp_path.iterdir()) == []
    assert str(caught.value) == "--dashboard: needs the package bokeh; pip install 'lsml[dashboard]'"
    done = lsml(
        tmp_path, "tune", str(ROOT / "experiments/demo.yaml"), "--dashboard", "--scheduler", "tcp://127.0.0.1:1"
    )
    said = "lsml: error: --dashboard: the scheduler has one of its own, or none; leave it out\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_a_dashboard_is_served_where_it_is_asked_for(folder: Path, patches: Path) -> None:
    """At the address that a line names, while the study runs; nothing listens elsewhere than at loopback."""
    seen: list[str] = []

    class Looking(Told):
        def trial_started(self, *_: object) -> None:
            (line,) = [line for line in self.lines if "dashboard" in line]
            assert re.fullmatch(r"dask's dashboard, open to all .*: http://127\.0\.0\.1:\d+/status", line)
            with urllib.request.urlopen(line.rpartition(" ")[2], timeout=30) as page:
                seen.append(page.read().decode())
            listening = [entry.laddr.ip for entry in psutil.Process().net_connections() if entry.status == "LISTEN"]
            assert set(listening) == {"127.0.0.1"}

    run(patches, None, listener=Looking(), trials=1, dashboard=True)
    assert "<title>Dask Diagnostic UI</title>" in seen[0]
