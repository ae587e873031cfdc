"""What the process that `tests.warm` forks imports: Keras, MLflow, all of lsml, and what that loads later."""

import importlib
import os
import pkgutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import lsml

# MLflow's settings come first.
from lsml.tracking import store  # noqa: F401
from lsml.training import device
from tests import garbage, migrations, warm  # noqa: F401

garbage.collect_seldom()
migrations.read_once()
device.prepare()
with device.quietly():
    import keras  # noqa: F401
    import mlflow.keras
    import mlflow.pyfunc
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import sqlalchemy.dialects.sqlite  # noqa: F401

    for module in pkgutil.walk_packages(lsml.__path__, "lsml."):
        if module.name != "lsml.__main__":
            importlib.import_module(module.name)
    migrations.read_now()
    for name in ("optuna.importance", "optuna.visualization", "rasterio", "sklearn.ensemble"):
        importlib.import_module(name)

garbage.keep()
