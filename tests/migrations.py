"""Databases' migrations, which alembic reads anew, some dozens of files, whenever Optuna or MLflow opens a database."""

import functools
from importlib.resources import files

from alembic.config import Config
from alembic.script import ScriptDirectory


def read_once() -> None:
    """Has this process read each folder of them once."""
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    @functools.wraps(read)
    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


def read_now() -> None:
    """Reads those of Optuna and MLflow."""
    for place in (files("optuna") / "storages/_rdb/alembic", files("mlflow") / "store/db_migrations"):
        config = Config()
        config.set_main_option("script_location", str(place))
        ScriptDirectory.from_config(config).get_heads()
