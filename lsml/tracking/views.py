"""A saved view of MLflow's runs page that says which trial of a study is better, and where.

MLflow's own arrangement draws every metric and prints every parameter above every picture. A saved view is a tag of
the experiment, JSON with a name, two times and the page's state, as MLflow 3.17 writes it; it stands in the page's menu
"Views" beside those that people save. Other versions that do not read it show their own arrangement.
"""

import base64
import json
import time
import zlib
from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.config.schema import OBJECTIVE
from lsml.tracking.runs import BEST_METRIC, ROLE, STATE, competitors_query
from lsml.tracking.store import storage_errors

_TAG = "mlflow.sharedViewState."
_WHICH, _WHERE, _WHY, _PATCHES = "which", "where", "why", "patches"

# Pixels, wide enough for most heads; MLflow's own 80 show no head in full.
_COLUMN_WIDTH = 140

# MLflow's names of the page's settings; those left out have its defaults.
_LINE = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}


def has_view(client: MlflowClient, experiment_id: str, key: str) -> bool:
    """Whether the experiment has a saved view of that key."""
    return f"{_TAG}{key}" in client.get_experiment(experiment_id).tags


def save_study_view(client: MlflowClient, parent: Run, *, study: str, best_run: str, searched: Sequence[str]) -> None:
    """Saves the view of a study's trials and baselines under the id of its run, in place of an earlier one.

    Args:
        parent: the study's run.
        best_run: a run that has the pictures that every trial has.
        searched: the parameters that differ from trial to trial.

    Raises:
        StorageError: MLflow cannot store it.
    """
    state = _state(competitors_query(parent.info.run_id), searched, _picture_keys(client, best_run, "validation"))
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode())).decode()
    now = int(time.time() * 1000)
    tag = {"name": f"{study}: which trial is better, and where", "createdAt": now, "updatedAt": now}
    with storage_errors("saved view of the study"):
        client.set_experiment_tag(
            parent.info.experiment_id,
            f"{_TAG}{parent.info.run_id}",
            json.dumps(tag | {"state": f"deflate;{packed}"}),
        )


def _state(query: str, searched: Sequence[str], pictures: Sequence[str]) -> dict[str, Any]:
    columns = [
        *(f"metrics.`{metric}`" for metric in (BEST_METRIC, "best_val_precision", "best_val_recall")),
        *(f"params.`{parameter}`" for parameter in searched),
        *(f"tags.`{tag}`" for tag in (STATE, ROLE)),
    ]
    return {
        "searchFilter": query,
        "orderByKey": f"metrics.`{BEST_METRIC}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, _COLUMN_WIDTH),
        "compareRunCharts": [
            _bar(_WHICH, BEST_METRIC),
            _line(_WHICH, OBJECTIVE),
            _scatter(_WHICH, "best_val_recall", "best_val_precision"),
            _line(_WHICH, "val_loss", scaleType="log"),
            _pictures(_WHERE, pictures),
            _chart(_WHY, "PARALLEL", selectedParams=list(searched), selectedMetrics=[BEST_METRIC], showAllRuns=True),
            _differences(),
            *(_pictures(_PATCHES, [picture]) for picture in pictures),
        ],
        "compareRunSections": [
            _section(_WHICH, "Which trial is better", columns=2),
            _section(_WHERE, "Where it is better: the same patches by every trial", columns=1, cardHeight=800),
            _section(_WHY, "What differs between them", columns=1, cardHeight=440),
            _section(_PATCHES, "One patch, larger", columns=1, cardHeight=620),
        ],
        "isAccordionReordered": True,
    }


def _section(key: str, name: str, **layout: int) -> dict[str, Any]:
    return {"uuid": key, "name": name, "display": True, "isReordered": True, "deleted": False} | layout


def _chart(section: str, kind: str, **settings: Any) -> dict[str, Any]:
    about = "+".join(map(str, settings.get("imageKeys", [settings.get("metricKey", kind)])))
    base = {"uuid": f"{section}-{kind}-{about}", "type": kind, "metricSectionId": section, "runsCountToCompare": 10}
    return base | {"deleted": False, "isGenerated": False} | settings


def _bar(section: str, metric: str) -> dict[str, Any]:
    return _chart(section, "BAR", metricKey=metric, displayName=metric)


def _line(section: str, metric: str, **settings: str) -> dict[str, Any]:
    return _chart(section, "LINE", metricKey=metric, displayName=metric, **_LINE | settings)


def _scatter(section: str, across: str, up: str) -> dict[str, Any]:
    axes = {name: {"key": metric, "type": "METRIC"} for name, metric in (("xaxis", across), ("yaxis", up))}
    return _chart(section, "SCATTER", **axes)


def _differences() -> dict[str, Any]:
    return _chart(
        _WHY,
        "DIFFERENCE",
        chartName="Parameters and scores that differ",
        compareGroups=["Parameters", "Model metrics"],
        showChangeFromBaseline=False,
        showDifferencesOnly=True,
        baselineColumnUuid="",
    )


def _pictures(section: str, keys: Sequence[str]) -> dict[str, Any]:
    return _chart(section, "IMAGE", imageKeys=list(keys), step=0, showRunParams=False)


def _picture_keys(client: MlflowClient, run_id: str, split: str) -> list[str]:
    """The keys of the pictures of patches of `split` that a run has, by name."""
    with storage_errors(f"pictures of run {run_id}"):
        files = [entry.path.rpartition("/")[2] for entry in client.list_artifacts(run_id, "images")]
    # `log_image` writes a key's slashes as tildes, and puts step and time behind a plus.
    keys = {file.partition("+")[0].replace("~", "/") for file in files}
    return sorted(key for key in keys if key.startswith(f"{split}/"))
