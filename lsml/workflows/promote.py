"""Promotion: a model becomes champion if its file agrees with its run and the promotion policy finds it not worse."""

import getpass
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from lsml.config.experiment import check_name
from lsml.config.schema import TrainConfig, with_values
from lsml.data.pack import PackedSplit
from lsml.data.splits import StudyData
from lsml.evaluation.reload import ReloadedScores
from lsml.names import Alias, Role, State, Tag
from lsml.scoring.bootstrap import Difference
from lsml.scoring.comparison import ScoredModel, ScoreKind
from lsml.scoring.promotion_policy import Decision, decide, repeat_seed
from lsml.tracking.models import RunModel
from lsml.tracking.reading import RunReader
from lsml.tracking.registry import Registered, RegisteredModel, register_run, registered
from lsml.tracking.runs import retrainings_of
from lsml.tracking.store import Client, Run, find_run, open_store, study_of
from lsml.tracking.study import model_run, named_run, scored_run
from lsml.workflows.report import renew_report
from lsml.workflows.retrain import Retraining, trained_by
from lsml.workflows.sources import Listener, RecordedData
from lsml.workspace import exclusively, lock_file

_SHORTFALL = f"{Tag.PROMOTION}shortfall"

Check = Callable[[Path, PackedSplit, float], ReloadedScores]


@dataclass(frozen=True)
class Promotion:
    """The outcome of asking for a promotion.

    Attributes:
        verdict: `already` where the version was champion before; nothing was compared then.
        why: the reason, for people.
        champion_before: the version that it was compared with; None where there was none.
        scored_run_id: the run whose table of patches stands for the model: its own, or where it was trained on all
            patches, that of its configuration.
        reload: how the reloaded file agrees with its run, for people.
        patches: on how many both were scored.
        ahead: F1 above the champion's; None where there was none.
        repeats: the same of the mean over fresh seeds, where they were asked for.
        unreported: why the report of its study does not show it, in one line; empty where it does.
    """

    model: str
    version: str
    run_id: str
    verdict: Literal["promoted", "refused", "already"]
    why: str
    champion_before: str | None
    scored_run_id: str
    reload: str = ""
    patches: int = 0
    ahead: Difference | None = None
    repeats: Difference | None = None
    unreported: str = ""


class _Contender(NamedTuple):
    """A model's run, the run that was scored for it, and the scores of that one."""

    run: Run
    scored_run: Run
    scores: ScoredModel

    @property
    def own(self) -> bool:
        """Whether the scores are of the model itself, not of others of its configuration."""
        return self.scored_run is self.run and Tag.DATA_FOLDS not in self.run.data.tags


def promote(
    reference: str,
    *,
    repeats: int,
    data: Path | None,
    listener: Listener,
    model_name: str | None = None,
    force: bool = False,
    check: Check = ReloadedScores.of_file,
) -> Promotion:
    """Makes a model champion of its name, unless it is worse than the champion; registers it first if need be.

    Killed at any moment and called again, it ends as if it had not been killed. `promotion_policy` says what worse is.

    Args:
        reference: a run's id, or `NAME/VERSION` or `NAME@ALIAS` of the registry; a study's run stands for its best.
        repeats: how often to train its configuration again with fresh seeds, whose mean F1 must not be worse either.
        data: the folder of the patches, where they have moved.
        model_name: of the registered model to become champion of; None for the study's or experiment's.
        force: only warn of values that look wrong.
        check: what loads and scores the file anew.

    Raises:
        ConfigError: it is unknown under which name to register the model.
        DataError: the patches are not there, or the two models' scores are not comparable.
        ModelError: the run has no model, or its file does not load or gives something else than its run says.
        StorageError: MLflow cannot be used.
    """
    client = open_store()
    run, version = _find(client, reference, model_name and check_name("model", model_name))
    challenger = _contender(client, run)
    with _lock(version.name):
        model = RegisteredModel(client, version.name)
        before = model.holder(Alias.CHAMPION)
        promotion = Promotion(
            *version, run.info.run_id, "already", "it is champion already", before, challenger.scores.run_id
        )
        if before == version.version:
            return promotion
        patches, unusual = RecordedData(challenger.scored_run.data.tags, data, force).prepare(listener.step)
        listener.stage_started(f"scoring the registered file in a fresh process on {len(patches.splits[-1])} patches")
        reload = _reload(client, challenger, patches, check)
        again = _repeats(client, challenger, repeats, patches, data, listener)
        decision = _decide(client, challenger, again, model, before)
        promotion = replace(
            promotion,
            verdict="promoted" if decision.not_worse else "refused",
            why=decision.why,
            reload=reload,
            patches=len(challenger.scores.counts.ids),
            ahead=decision.ahead,
            repeats=decision.repeats,
        )
        tags = _tags(promotion, challenger.scores.kind, decision.shortfall, repeats) | {**unusual}
        (model.set_champion if decision.not_worse else model.tag_version)(version.version, tags=tags)
    return replace(promotion, unreported=renew_report(client, run))


def rollback(name: str) -> tuple[str, str, str]:
    """Moves the alias `champion` back to the version that had it before; gives the model, the version and that one.

    Args:
        name: of the registered model, or a version, run or study of it.

    Raises:
        ConfigError: the run is of no model.
        StorageError: there is no such model, or none was champion before.
    """
    client = open_store()
    model = RegisteredModel.named(client, name) or RegisteredModel.of_run(client, named_run(client, name))
    with _lock(model.name):
        return model.name, *model.restore_champion(tag=Tag.ROLLED_BACK, record=_signed())


def _lock(name: str) -> AbstractContextManager[None]:
    return exclusively(lock_file(f"champion-{name.replace('/', '_')}"), f"champion of {name}")


def _find(client: Client, reference: str, name: str | None) -> tuple[Run, Registered]:
    """The run of a model, and the version that may become champion: of a version that was named, itself."""
    if (named := registered(client, reference)) and name in (None, named.name):
        return find_run(client, str(named.run_id)), Registered(str(named.name), str(named.version))
    run = model_run(client, named_run(client, reference))
    return run, register_run(client, run, name)


def _contender(client: Client, run: Run) -> _Contender:
    scored = scored_run(client, run)
    return _Contender(run, scored, RunReader(client, scored).scored_model("validation"))


def _reload(client: Client, challenger: _Contender, patches: StudyData, check: Check) -> str:
    """How the registered file, loaded in a fresh process, agrees with its run."""
    run, split = challenger.run, patches.splits[-1]
    with tempfile.TemporaryDirectory() as folder:
        stored = RunModel(client, run.info.run_id).fetch(Path(folder))
        reloaded = check(stored.path, split, stored.threshold)
    if not challenger.own:
        return f"loads, and gives probabilities of {len(split)} patches; it was trained on them, so they are no score"
    arithmetic = run.data.tags.get(Tag.BACKEND, ""), run.data.tags.get(Tag.DEVICE, "")
    name = f"model of run {run.info.run_id}"
    return reloaded.verify(challenger.scores.counts, split, name=name, arithmetic=arithmetic)


def _repeats(
    client: Client, challenger: _Contender, count: int, patches: StudyData, given: Path | None, listener: Listener
) -> list[ScoredModel]:
    """The scored configuration with fresh seeds, each a run below the same study."""
    scored = challenger.scored_run
    config = RunReader(client, scored).config() or TrainConfig()
    models = []
    for number in range(1, count + 1):
        training = Retraining(
            of=scored,
            below=study_of(client, scored),
            role=Role.REPEAT,
            number=number,
            title=f"{scored.info.run_name} repeat {number}",
            config=with_values(config, {"seed": repeat_seed(config.seed, number)}),
            data=patches,
            root=RecordedData(scored.data.tags, given).root,
            tags={},
            scores={},
        )
        run_id = training.run(client, trained_by(scored), steps=patches.steps(training.config), listener=listener)
        models.append(_contender(client, find_run(client, run_id)).scores)
    return models


def _decide(
    client: Client, challenger: _Contender, again: list[ScoredModel], model: RegisteredModel, before: str | None
) -> Decision:
    """By the promotion policy, with the champion's own repeats where the challenger has some.

    A network that a baseline of its own study is ahead of is refused.
    """
    if behind := challenger.run.data.tags.get(Tag.BEHIND):
        return Decision(False, 0.0, f"worse than a baseline of its study: {behind}")
    if before is None:
        return decide(challenger.scores, None)
    version = model.version(before)
    champion = _contender(client, find_run(client, str(version.run_id)))
    complete = {Tag.ROLE: Role.REPEAT, Tag.STATE: State.COMPLETE}
    others = retrainings_of(client, champion.scored_run, complete) if again else []
    return decide(
        challenger.scores,
        champion.scores,
        shortfall=float(version.tags.get(_SHORTFALL, 0.0)),
        repeats=again,
        champion_repeats=[_contender(client, run).scores for run in others],
    )


def _signed() -> dict[str, str]:
    """Who, and when."""
    return {
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _tags(promotion: Promotion, kind: ScoreKind, shortfall: float, repeats: int) -> dict[str, str]:
    """What was compared, as tags of the version."""
    tags = {
        **_signed(),
        "verdict": promotion.verdict,
        "why": promotion.why,
        "champion_before": promotion.champion_before or "none",
        "judged_run_id": promotion.scored_run_id,
        "reload": promotion.reload,
        "split": kind.split,
        "data_fingerprint": kind.patches,
        "patches": str(promotion.patches),
        "repeats": str(repeats),
        "shortfall": repr(shortfall),
        "f1_above": promotion.ahead.describe(6) if promotion.ahead else "nothing",
        "f1_above_repeats": promotion.repeats.describe(6) if promotion.repeats else "nothing",
    }
    return {f"{Tag.PROMOTION}{name}": value for name, value in tags.items()}
