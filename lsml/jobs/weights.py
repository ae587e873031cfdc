"""Pretrained weights before a study begins: are they there, and is there a configuration that they fit?"""

import multiprocessing
import signal
from multiprocessing.connection import Connection

from lsml import backend
from lsml.config import TrainConfig
from lsml.errors import ConfigError, LsmlError, ModelError
from lsml.models.weights import FIELDS, check_suits, identity
from lsml.space import Space, combinations


def check_weights(space: Space, base: TrainConfig) -> dict[str, str]:
    """SHA-256 of every file of weights that the search can choose, by its name in the configuration.

    The base configuration, with which a study starts, has to be one that can start from its weights; of all others
    that the search can choose, each source of weights needs one. Where there is any source, Keras reads them all, in
    a process of its own: this one, which is to coordinate, loads none of it.

    Raises:
        ModelError: weights cannot be had, or fit no encoder that the search can choose with them.
        ConfigError: the rest of the configuration does not suit them.
    """
    configs = [config for config in combinations(space, base, FIELDS) if config.model.pretrained]
    if not configs:
        return {}
    files = {config.model.weights: config.model for config in configs if config.model.weights != "imagenet"}
    found = {path: identity(model) for path, model in files.items()}
    sources = {
        source: [config for config in configs if config.model.weights == source]
        for source in dict.fromkeys(config.model.weights for config in configs)
    }
    if base.model.pretrained:
        sources[base.model.weights] = [base]
    _in_own_process(list(sources.values()))
    return found


def _in_own_process(groups: list[list[TrainConfig]]) -> None:
    """Raises what `_check` does, in a process of its own that does not outlive this one for long."""
    backend.prepare()
    context = multiprocessing.get_context("spawn")
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, groups), daemon=True)
    process.start()
    sender.close()
    try:
        refusal = answer.recv()
    except EOFError:
        refusal = ModelError("model.weights", "the process that reads them was killed", "run the same command again")
    finally:
        process.kill()
        process.join()
    if refusal is not None:
        raise refusal


def _answer(sender: Connection, groups: list[list[TrainConfig]]) -> None:
    """Runs in the other process; sends the first error, or None."""
    # A terminal interrupts both; this one is killed by the other.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        backend.load_keras()
        for group in groups:
            _check(group)
    except LsmlError as refusal:
        sender.send(refusal)
    else:
        sender.send(None)


def _check(group: list[TrainConfig]) -> None:
    """Raises why none of the group can start from its weights, unless one can."""
    from lsml.models.pretrained import read

    refusals: list[LsmlError] = []
    tried: set[tuple[str, int]] = set()
    for config in group:
        encoder = config.model.encoder, config.model.filters
        try:
            check_suits(config)
            if encoder in tried:
                continue
            tried.add(encoder)
            read(config.model)
        except (ConfigError, ModelError) as refusal:
            refusals.append(refusal)
        else:
            return
    raise next((refusal for refusal in refusals if isinstance(refusal, ModelError)), refusals[0])
