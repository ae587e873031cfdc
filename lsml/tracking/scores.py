"""What a run's scores are scores of: tags that say it, read back as one value, and the tables behind the scores.

Two F1s may be set side by side only where all four of their facts agree. What an older run does not say is unknown,
and agrees with nothing.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from lsml.data.splits import POOLED, UNKNOWN, Judged, ScoredSplit
from lsml.tracking.store import storage_errors
from lsml.training.outcome import PATCH_TABLE, PIXEL_TABLE

SAME_PATCHES, OTHER_PATCHES = "best F1 on these patches", "best F1 on other patches"

TABLES: dict[ScoredSplit, str] = {"validation": PATCH_TABLE, "test": "test_patches.csv"}
"""The artifact with one row a patch, of which the scores are sums."""

_PREFIX = "lsml.score."
_WORDS = {"split": "split", "patches": "patches", "averaging": "averaging", "threshold": "source of the threshold"}
# Enough of a fingerprint to tell it apart; all other words are shorter.
_SHOWN = 40


class ScoreKind(NamedTuple):
    """What must agree between two scores that are compared.

    Attributes:
        split: how the patches were set apart, see `lsml.data.splits`.
        patches: the fingerprint of the patches.
        averaging: over what.
        threshold: which patches it was chosen on.
    """

    split: str
    patches: str
    averaging: str
    threshold: str


def score_tags(name: ScoredSplit, judged: Judged) -> dict[str, str]:
    """The tags of a run whose scores of that split are those of lsml: pooled, at a threshold that validation chose."""
    threshold = SAME_PATCHES if name == "validation" else OTHER_PATCHES
    kind = ScoreKind(judged.split, judged.fingerprint, POOLED, threshold)
    return {f"{_PREFIX}{name}.{fact}": value for fact, value in kind._asdict().items()}


def score_kind(tags: Mapping[str, str], name: ScoredSplit) -> ScoreKind:
    """What the tags of a run say of its scores of that split; `UNKNOWN` where they say nothing."""
    return ScoreKind(*(tags.get(f"{_PREFIX}{name}.{fact}", UNKNOWN) for fact in ScoreKind._fields))


def obstacle(first: ScoreKind, second: ScoreKind) -> str | None:
    """Why two scores must not be ranked, as the rest of a sentence; None where they may."""
    for fact, words in _WORDS.items():
        one, other = getattr(first, fact), getattr(second, fact)
        if UNKNOWN in (one, other):
            which = "neither says" if one == other else f"the {'first' if one == UNKNOWN else 'second'} does not say"
            return f"{which} its {words}, as runs of an older lsml do not"
        if one != other:
            return f"their {words} differ: {one[:_SHOWN]} and {other[:_SHOWN]}"
    return None


def has_table(client: MlflowClient, run_id: str, name: ScoredSplit) -> bool:
    """Whether a run has a table of that split.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    return _has(client, run_id, TABLES[name])


def _has(client: MlflowClient, run_id: str, path: str) -> bool:
    with storage_errors(f"tables of run {run_id}"):
        return path in {entry.path for entry in client.list_artifacts(run_id)}


def patch_table(client: MlflowClient, run_id: str, name: ScoredSplit) -> str | None:
    """The CSV text of a run's table of that split; None where it has none.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    return _text(client, run_id, TABLES[name])


def pixel_table(client: MlflowClient, run_id: str) -> str | None:
    """The CSV text of a run's validation pixels by probability; None where it has none, as runs of an older lsml.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    return _text(client, run_id, PIXEL_TABLE)


def _text(client: MlflowClient, run_id: str, path: str) -> str | None:
    if not _has(client, run_id, path):
        return None
    with storage_errors(f"table of run {run_id}"), tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8")


def picture_files(client: MlflowClient, run_id: str, name: ScoredSplit) -> dict[str, str]:
    """The artifact path of a run's latest picture of each patch of that split, by the patch's id.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors(f"pictures of run {run_id}"):
        paths = [entry.path for entry in client.list_artifacts(run_id, "images")]
    found = {}
    # A file is called `validation~image_7+step+0+timestamp+1234567890123+uuid.png`: sorted, the latest comes last.
    for path in sorted(path for path in paths if path.endswith(".png")):
        split, tilde, patch = path.rpartition("/")[2].partition("+")[0].partition("~")
        if tilde and split == name:
            found[patch] = path
    return found


def pictures(client: MlflowClient, run_id: str, name: ScoredSplit, patches: Iterable[str]) -> dict[str, bytes]:
    """Those of a run's pictures that show the given patches, as PNG, by the patch's id.

    Raises:
        StorageError: MLflow cannot be asked, or they are gone meanwhile.
    """
    files = picture_files(client, run_id, name)
    with storage_errors(f"pictures of run {run_id}"), tempfile.TemporaryDirectory() as folder:
        return {
            patch: Path(client.download_artifacts(run_id, files[patch], folder)).read_bytes()
            for patch in patches
            if patch in files
        }
