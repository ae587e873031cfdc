"""Trains one configuration on one device and on all that the backend sees: `python -m tests.training.sharing`.

Prints the losses and F1 of each epoch, by number of devices, of training by single batches and by Keras's `fit`; the
devices on which the weights lie in the end; and of folds the F1 of all.
"""

import json
import sys
from functools import partial
from typing import Any
from unittest.mock import PropertyMock, patch

from lsml.training import device
from lsml.training.device import Arithmetic, load_keras


def main() -> None:
    """Prints it as JSON."""
    load_keras()
    found = {
        way: {str(asked or "all"): _trained(asked, by_fit) for asked in (1, None)}
        for way, by_fit in (("batches", False), ("fit", True))
    }
    sys.stdout.write(json.dumps(found))


def _trained(devices: int | None, by_fit: bool) -> dict[str, Any]:
    from lsml.training.trainer import Trainer, last_epoch
    from tests.training.test_trainer import toy_config, toy_data

    data, config = toy_data(), toy_config(training__epochs=3, model__dropout=0.2, training__weight_averaging=0.9)
    choose = (lambda *_: devices) if devices else device._choose_devices
    with (
        patch.object(device, "_choose_devices", choose),
        patch.object(Arithmetic, "trains_by_fit", PropertyMock(return_value=by_fit)),
    ):
        make = partial(Trainer, config, data.train, data.statistics, keep=last_epoch, checkpoint=None)
        trainer = make(validation=data.validation)
        epochs = [dict(trainer.epoch().metrics) for _ in range(config.training.epochs)]
    return {
        "loss": [epoch["loss"] for epoch in epochs],
        "val_f1": [epoch["val_f1"] for epoch in epochs],
        "devices": len(trainer.network.trainable_variables[0].value.devices()),
        "said": trainer.environment.get("devices", "1"),
    }


if __name__ == "__main__":
    main()
