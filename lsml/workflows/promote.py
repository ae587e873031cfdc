"""The champion gate: a model becomes champion if its file holds what its run says, and it is not worse."""

import getpass
import re
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lsml.config.schema import from_parameters, with_values
from lsml.data.pack import PackedSplit
from lsml.data.splits import StudyData
from lsml.errors import DataError, ModelError
from lsml.evaluation.evaluate import FreshScores, judged_afresh
from lsml.scoring.bootstrap import Difference
from lsml.scoring.comparison import PatchCounts, disagreement, mean_f1_above
from lsml.scoring.promotion_policy import Verdict, verdict
from lsml.study.trial import train_trial
from lsml.workflows.compare import counts_of
from lsml.workflows.retrain import Training, train_again
from lsml.workflows.sources import recorded_data, recorded_root
from lsml.workflows.train import TrainWatcher, register_run
from lsml.workspace import STATE_FOLDER, alone

SAME_ARITHMETIC, OTHER_ARITHMETIC = 1e-5, 1e-3
"""The share of pixels that a reloaded model may call otherwise than its run did: on the backend and device that the
run had, where only the size of batches differs, and on others, whose last digits differ.

TensorFlow and JAX on one processor, and batches of 2 and 16, agreed on all of 196,608 pixels for six networks; the room
is for GPUs, which may round the factors of a float32 convolution to TF32.
"""

_TAG = "lsml.promotion."
_SHORTFALL = f"{_TAG}shortfall"
_ROLLED_BACK = "lsml.rolled_back"
_SEEDS = 4
_RUN_ID = re.compile("[0-9a-f]{32}")

Check = Callable[[Path, PackedSplit, float], FreshScores]


@dataclass(frozen=True)
class Promotion:
    """What the gate found.

    Attributes:
        verdict: `already` where the version was champion before; nothing was looked at then.
        why: in words.
        champion_before: the version that it was held against; None where there was none.
        judged_run_id: the run whose table of patches speaks for the model: its own, or where it was trained on all
            patches, that of its configuration.
        reload: what the file gave in a fresh process, in words.
        patches: how many both were judged on.
        ahead: F1 above the champion's; None where there was none.
        repeats: the same of the mean over fresh seeds, where they were asked for.
    """

    model: str
    version: str
    run_id: str
    verdict: Literal["promoted", "refused", "already"]
    why: str
    champion_before: str | None
    judged_run_id: str
    reload: str = ""
    patches: int = 0
    ahead: Difference | None = None
    repeats: Difference | None = None


class _Contender(NamedTuple):
    """A model as the gate sees it: its run, the run that was judged for it, and that run's table and kind of score."""

    run: Any
    judged: Any
    counts: PatchCounts
    kind: Any

    @property
    def own(self) -> bool:
        """Whether the table is of the model itself, not of others of its configuration."""
        from lsml.tracking.runs import FOLDS

        return self.judged is self.run and FOLDS not in self.run.data.tags


class _Decision(NamedTuple):
    """What comparing came to; the verdict of a first champion is on nothing."""

    verdict: Verdict
    ahead: Difference | None
    repeats: Difference | None


def promote(
    reference: str, *, repeats: int, data: Path | None, watcher: TrainWatcher, check: Check = judged_afresh
) -> Promotion:
    """Makes a model champion of its name, unless it is worse than the one that is; registers it first if need be.

    Killed at any moment and called again, it ends as if it had not been killed. `promotion_policy` says what worse is.

    Args:
        reference: a run's id, or `NAME/VERSION` or `NAME@ALIAS` of the registry; a study's run speaks for its best.
        repeats: how often to train its configuration again with fresh seeds, whose mean F1 must not be worse either.
        data: the folder of the patches, where they have moved.
        check: what judges the file anew.

    Raises:
        ConfigError: it is unknown under which name to register the model.
        DataError: the patches are not there, or the two models' scores are not comparable.
        ModelError: the run has no model, or its file does not load or gives something else than its run says.
        StorageError: MLflow cannot be used.
    """
    from lsml.tracking.models import champion_of, crown, tag_version
    from lsml.tracking.store import open_client

    client = open_client()
    run = _find(client, reference)
    registered = register_run(client, run)
    challenger = _contender(client, run)
    with _lock(registered.name):
        before = champion_of(client, registered.name)
        found = Promotion(
            *registered, run.info.run_id, "already", "it is champion already", before, challenger.judged.info.run_id
        )
        if before == registered.version:
            return found
        patches = recorded_data(challenger.judged.data.tags, data, watcher.step)
        reload = _reloaded(client, challenger, patches, check)
        again = _repeats(client, challenger, repeats, patches, data, watcher)
        decision = _decided(client, challenger, again, registered.name, before)
        found = replace(
            found,
            verdict="promoted" if decision.verdict.not_worse else "refused",
            why=decision.verdict.why,
            reload=reload,
            patches=len(challenger.counts.ids),
            ahead=decision.ahead,
            repeats=decision.repeats,
        )
        tags = _tags(found, challenger.kind, decision.verdict.shortfall, repeats)
        if found.verdict == "promoted":
            crown(client, *registered, tags=tags)
        else:
            tag_version(client, *registered, tags=tags)
    return found


def rollback(name: str) -> tuple[str, str]:
    """Moves the alias `champion` back to the version that had it before; gives the one that had it, and that one.

    Raises:
        StorageError: there is no such model, or none was champion before.
    """
    from lsml.tracking.models import uncrown
    from lsml.tracking.store import open_client

    client = open_client()
    with _lock(name):
        return uncrown(client, name, tag=_ROLLED_BACK, record=_signed())


def _lock(name: str) -> AbstractContextManager[None]:
    lock = STATE_FOLDER / "locks" / f"champion-{name.replace('/', '_')}.lock"
    return alone(lock, f"champion of {name}")


def _find(client: Any, reference: str) -> Any:
    from lsml.tracking.models import registered_run
    from lsml.tracking.runs import find_run
    from lsml.tracking.study import model_run_id

    run_id = reference if _RUN_ID.fullmatch(reference) else registered_run(client, reference)
    return find_run(client, model_run_id(find_run(client, run_id)))


def _contender(client: Any, run: Any) -> _Contender:
    from lsml.tracking.scores import score_kind

    judged = _judged(client, run)
    return _Contender(run, judged, counts_of(client, judged, "validation"), score_kind(judged.data.tags, "validation"))


def _judged(client: Any, run: Any) -> Any:
    """A model that was trained on all patches was judged on none: the run of its configuration speaks for it."""
    from lsml.tracking.runs import OF_RUN, ROLE, find_run, study_of
    from lsml.tracking.study import judged_run_id

    if run.data.tags.get(ROLE) != "refit":
        return run
    if OF_RUN in run.data.tags:
        return find_run(client, run.data.tags[OF_RUN])
    study = study_of(client, run)
    return run if study is None else find_run(client, judged_run_id(client, study.info.run_id))


def _reloaded(client: Any, challenger: _Contender, patches: StudyData, check: Check) -> str:
    """What the registered file gave in a fresh process, in words."""
    from lsml.tracking.models import fetch

    run_id, split = challenger.run.info.run_id, patches.splits[-1]
    with tempfile.TemporaryDirectory() as folder:
        stored = fetch(client, run_id, Path(folder))
        fresh = check(stored.path, split, stored.threshold)
    if not challenger.own:
        return f"loads, and gives probabilities of {len(split)} patches; it was trained on them, so they are no score"
    if fresh.counts.ids != challenger.counts.ids:
        raise ModelError(f"model of run {run_id}", "its table names other patches than there are", "train it again")
    tags, pixels = challenger.run.data.tags, len(split) * split.mask(0).size
    same = (fresh.backend, fresh.device_name) == (tags.get("lsml.backend"), tags.get("lsml.device_name"))
    allowed = SAME_ARITHMETIC if same else OTHER_ARITHMETIC
    # Of a landslide pixel called otherwise TP and FN change, of another one FP.
    moved = int(np.abs(fresh.counts.confusion - challenger.counts.confusion)[:, :2].sum())
    if moved > allowed * pixels:
        raise ModelError(
            f"model of run {run_id}",
            f"in a fresh process it calls {moved} of {pixels} validation pixels otherwise than its run says",
            "train it again",
        )
    return f"loads, and calls {moved} of {pixels} validation pixels otherwise ({fresh.backend}, {fresh.device_name})"


def _repeats(
    client: Any, challenger: _Contender, count: int, patches: StudyData, given: Path | None, watcher: TrainWatcher
) -> list[_Contender]:
    """The judged configuration with fresh seeds, each a run below the same study."""
    from lsml.tracking.runs import find_run, study_of

    judged = challenger.judged
    config = from_parameters(judged.data.params)
    found = []
    for number in range(1, count + 1):
        seed = int(np.random.SeedSequence(config.seed, spawn_key=(_SEEDS, number)).generate_state(1)[0] >> 1)
        training = Training(
            of=judged,
            below=study_of(client, judged),
            role="repeat",
            number=number,
            title=f"{judged.info.run_name} repeat {number}",
            config=with_values(config, {"seed": seed}),
            data=patches,
            root=recorded_root(judged.data.tags, given),
            tags={},
            scores={},
        )
        run_id = train_again(client, training, train_trial, steps=patches.steps(training.config), watcher=watcher)
        found.append(_contender(client, find_run(client, run_id)))
    return found


def _decided(
    client: Any, challenger: _Contender, again: Sequence[_Contender], name: str, before: str | None
) -> _Decision:
    """The challenger against the champion; with fresh seeds their mean too, against the champion's where it has some.

    A trial was chosen for its score, so the score flatters it; fresh seeds were not. The model itself is what is
    promoted, so both must not be worse.
    """
    from lsml.tracking.runs import ROLE, STATE, find_run, trained_again

    if before is None:
        return _Decision(Verdict(True, 0.0, "the first champion: there is none to compare it with"), None, None)
    version = client.get_model_version(name, before)
    champion = _contender(client, find_run(client, version.run_id))
    _check_comparable(champion, challenger, *again)
    ahead = mean_f1_above([challenger.counts], [champion.counts])
    own = verdict(ahead, shortfall=float(version.tags.get(_SHORTFALL, 0.0)))
    if not again:
        return _Decision(own, ahead, None)
    others = trained_again(client, champion.judged, {ROLE: "repeat", STATE: "complete"})
    theirs = [_contender(client, run) for run in others] or [champion]
    _check_comparable(champion, *theirs)
    mean = mean_f1_above([one.counts for one in again], [one.counts for one in theirs])
    with_seeds = verdict(mean, shortfall=0.0)
    if own.not_worse and not with_seeds.not_worse:
        own = Verdict(False, own.shortfall, f"over fresh seeds {with_seeds.why}")
    return _Decision(own, ahead, mean)


def _check_comparable(champion: _Contender, *others: _Contender) -> None:
    from lsml.tracking.scores import obstacle

    for other in others:
        why = obstacle(champion.kind, other.kind) or disagreement(champion.counts, other.counts)
        if why:
            one, two = champion.judged.info.run_id, other.judged.info.run_id
            raise DataError(
                f"validation scores of the champion's run {one} and of run {two} are not comparable",
                why,
                "promote a model that was judged on the champion's patches, or move the alias by hand: lsml ui",
            )


def _signed() -> dict[str, str]:
    """Who, and when."""
    return {
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _tags(found: Promotion, kind: Any, shortfall: float, repeats: int) -> dict[str, str]:
    """What was compared, as tags of the version."""
    tags = {
        **_signed(),
        "verdict": found.verdict,
        "why": found.why,
        "champion_before": found.champion_before or "none",
        "judged_run_id": found.judged_run_id,
        "reload": found.reload,
        "split": kind.split,
        "data_fingerprint": kind.patches,
        "patches": str(found.patches),
        "repeats": str(repeats),
        "shortfall": repr(shortfall),
    }
    for name, ahead in (("f1_above", found.ahead), ("f1_above_repeats", found.repeats)):
        tags[name] = "nothing"
        if ahead:
            low, high = ahead.interval
            tags[name] = f"{ahead.value:+.6f} (95 % interval {low:+.6f} to {high:+.6f})"
    return {f"{_TAG}{name}": value for name, value in tags.items()}
