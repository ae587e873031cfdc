"""Repairs stores: what a study has left open where its processes are gone, and where the files of runs are."""

from collections.abc import Iterator
from pathlib import Path

from lsml.errors import StorageError
from lsml.names import State
from lsml.study.database import AttemptRecord, load_study
from lsml.study.ownership import owned
from lsml.study.stages import begun_stages
from lsml.tracking import check_there, tracking_uri
from lsml.tracking.places import Relocation, relocate
from lsml.tracking.runs import close_children
from lsml.tracking.spool import STUDY_FILE, Outbox
from lsml.tracking.store import find_run, open_store, storage_errors
from lsml.tracking.study import StudyRun
from lsml.workflows.studies import stored_study
from lsml.workspace import database_file, exclusively, in_turn, lock_file, storage_url, study_folder

_REASON = "its process was gone"


def repair_study(name: str, storage: str | None) -> list[str]:
    """Closes every attempt and run of a study that is open; gives what it did, a line each.

    Attempts are superseded: `lsml tune` runs their slots again. Runs are closed as the database says that they ended.

    Raises:
        ConfigError: no such study.
        StorageError: a store cannot be used, or a living process runs the study.
    """
    study, fix = stored_study(storage, name), "it is alive: there is nothing to repair"
    name, storage = study.study_name, storage_url(storage)
    folder = study_folder(name, storage)
    with (
        exclusively(folder / "lock", f"study '{name}'", fix=fix),
        owned(study, fix=fix),
        Outbox(open_store(), folder / STUDY_FILE) as outbox,
    ):
        return list(_repaired(name, storage, outbox, study.parent_run_id))


def _repaired(name: str, storage: str, outbox: Outbox, parent_id: str | None) -> Iterator[str]:
    outbox.flush()
    if outbox.kept:
        yield f"sent to MLflow: {outbox.kept} writes that waited"
    parent = find_run(outbox.client, parent_id) if parent_id else None
    for role, stage in begun_stages(storage, name).items():
        for number in stage.close_open(_REASON):
            attempt = next(AttemptRecord(t) for t in stage.all_trials(deepcopy=False) if t.number == number)
            yield f"{role}, slot {attempt.slot}, attempt {attempt.ordinal}: {State.SUPERSEDED}"
        if parent:
            ids = {identity: outbox.run_id(identity) for identity in stage.unlocated()}
            stage.locate(ids)
            for run_id, state in close_children(outbox.client, parent, role, stage.states(), _REASON):
                yield f"{role}, MLflow run {run_id}: closed as {state}"
    if parent and parent.info.status == "RUNNING":
        status = "FINISHED" if load_study(storage, name).result else "KILLED"
        StudyRun(outbox.client, parent).end(status, outbox)
        yield f"study, MLflow run {parent.info.run_id}: closed as {status}"


def relocate_files(files: Path | None) -> Relocation | None:
    """Has MLflow's database name one folder of files; gives what was changed, None where it names no other.

    Args:
        files: that folder, instead of `mlruns` beside the database.

    Raises:
        StorageError: the store is no database file, or one that cannot be read or written.
    """
    check_there()
    uri = tracking_uri()
    database = database_file(uri)
    if database is None:
        fix = "say where its files are where it is started"
        raise StorageError(f"MLflow store {uri}", "is no database file, which alone names folders here", fix)
    with storage_errors("MLflow store"), in_turn(lock_file("mlflow-store")):
        return relocate(database, uri, files)
