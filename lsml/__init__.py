"""Tunes, tracks, evaluates and applies networks that find landslides in satellite patches.

    import lsml

    experiment = lsml.load_experiment("experiments/demo.yaml")
    result = lsml.tune(experiment, study="demo")
    report = lsml.evaluate(run_id=result.best_run_id)

These are the functions behind the command line. Importing lsml is cheap: each function loads what it needs when it is
first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lsml.names import VERSION as __version__

if TYPE_CHECKING:
    from lsml.config.experiment import load_experiment
    from lsml.models.unet import build_model
    from lsml.workflows.evaluate import evaluate
    from lsml.workflows.predict import predict, predict_scene
    from lsml.workflows.sources import open_dataset
    from lsml.workflows.train import train
    from lsml.workflows.tune import tune

__all__ = [
    "__version__",
    "build_model",
    "evaluate",
    "load_experiment",
    "open_dataset",
    "predict",
    "predict_scene",
    "train",
    "tune",
]

_HOMES = {
    "load_experiment": ".config.experiment",
    "open_dataset": ".workflows.sources",
    "build_model": ".models.unet",
    "train": ".workflows.train",
    "tune": ".workflows.tune",
    "evaluate": ".workflows.evaluate",
    "predict": ".workflows.predict",
    "predict_scene": ".workflows.predict",
}


def __getattr__(name: str) -> object:
    """The function of that name, from the module that has it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lsml' has no attribute '{name}'")
    if name == "build_model":
        # With its backend's start-up messages held back.
        import_module(".training.device", __name__).load_keras()
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
