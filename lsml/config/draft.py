"""An experiment file to begin with, for patches that were looked at: what fits them, and why, in its comments."""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

_FEW = 60
"""Patches: below this a validation split says so little that each configuration is scored in folds."""

_ENOUGH_FOR_TEST = 24
"""Of patches in one folder: with fewer, all of them go into the folds and none are left for a test."""

_RARE = 0.05
"""Share of landslide pixels from which on patches without any need not be drawn less often."""

_LARGE = 512
"""Pixels: networks may look at squares of such a side from further away."""

_COARSEST = 8
"""Pixels: the side that the coarsest level of the base is to have at least, so that it still has a place."""


class SeenPatches(NamedTuple):
    """What a look at a dataset told.

    Attributes:
        path: the folder, as the experiment is to name it.
        train, validation: numbers of patches.
        one_folder: whether there are no splits, but one folder that they are taken from.
        held_out: what validation is, in words.
        side: pixels of the shorter side of what is trained on.
        sensor: the name of what measured them.
        bands: names of bands.
        landslide: share of landslide pixels in the masks that were read.
        empty: share of these masks without any.
        idle: fields that change nothing with these bands.
    """

    path: str
    train: int
    validation: int
    one_folder: bool
    held_out: str
    side: int
    sensor: str
    bands: Sequence[str]
    landslide: float
    empty: float
    idle: Collection[str]


def draft_experiment(name: str, seen: SeenPatches, file: str) -> str:
    """The text of an experiment file called `file`, with an experiment of that name."""
    few = seen.train + seen.validation < _FEW and seen.train > 1
    parts = [_head(name, seen, file), _data(seen, few=few), _base(seen, few=few), *_space(seen, few=few)]
    return "\n".join([*parts, _study(few=few)]) + "\n"


def _head(name: str, seen: SeenPatches, file: str) -> str:
    patches = f"{seen.train + seen.validation} patches of {seen.side} pixels"
    return f"""\
# What     {patches}, {len(seen.bands)} bands ({seen.sensor}): {_some(seen.bands)}
#          of the pixels of masks {seen.landslide:.2%} are landslide; {seen.empty:.0%} of the masks have none
# Command  lsml tune {file}
# Each hyperparameter that could stand below base or space: lsml config reference
name: {name}
description: Written by lsml init after a look at the patches; a place to begin."""


def _some(bands: Sequence[str]) -> str:
    return ", ".join(bands) if len(bands) <= _NAMED else f"{', '.join(bands[: _NAMED - 1])} and others"


_NAMED = 5


def _data(seen: SeenPatches, *, few: bool) -> str:
    path = json.dumps(seen.path)
    if not few:
        return f"""\
# Trained on {seen.train} patches, scored on {seen.validation} ({seen.held_out}).
data: {{path: {path}}}"""
    total = seen.train + seen.validation
    held_out = seen.one_folder and total >= _ENOUGH_FOR_TEST
    left = "The last 15 % are left for lsml evaluate."
    if not held_out:
        left = "All are in the folds." if seen.one_folder else "Those of train are in the folds, no others."
    return f"""\
# So few patches are scored in folds, each by a network that has not seen it, twice with other seeds.
# {left}
data: {{path: {path}, folds: {min(4, seen.train)}, repeats: 2{", hold_out_test: true" if held_out else ""}}}"""


_DOWNSCALE = """
  # A landslide may be larger than what a network looks around; it sees means of 2 x 2 pixels.
  input: {downscale: 2}"""


def _base(seen: SeenPatches, *, few: bool) -> str:
    filters, epochs, batch = (16, 80, 4) if few else (32, 60, 16)
    downscale = _DOWNSCALE if seen.side >= _LARGE else ""
    return f"""\
# The configuration that the search starts from and is compared with: usual values, chosen without a look at a score.
base:{downscale}
  model: {{filters: {filters}, depth: {_depth(seen)}, dropout: 0.1}}
  loss: {{cross_entropy: 0.5, dice: 0.5, jaccard: 0.0}}
  training: {{epochs: {epochs}, batch_size: {min(batch, seen.train)}, learning_rate: 2e-3, patience: 15}}
  augment: {{strength: 0.5}}"""


def _depth(seen: SeenPatches) -> int:
    """Levels, of which the coarsest is still some pixels wide; 1 to 4, and 3 below what `input.downscale` may be."""
    most = (4, 3, 2) if seen.side < _LARGE else (3,)
    return next((depth for depth in most if seen.side >> depth >= _COARSEST), 1)


def _space(seen: SeenPatches, *, few: bool) -> Iterator[str]:
    yield "# What is searched; a line that is removed leaves its field as the base has it."
    yield "space:"
    if seen.side >= _LARGE:
        yield "  input.downscale: {choices: [1, 2, 4]}"
    if "input.indices" not in seen.idle:
        yield "  input.indices: {choices: [none, vegetation, all]}"
    yield f"  model.filters: {{choices: [{'8, 12, 16' if few else '16, 32, 48'}]}}"
    if (depth := _depth(seen)) > 1:
        yield f"  model.depth: {{low: {depth - 1}, high: {depth}}}"
    yield "  model.dropout: {low: 0.0, high: 0.3}"
    yield "  loss.cross_entropy: {low: 0.1, high: 1.0}"
    yield "  loss.dice: {low: 0.0, high: 1.0}"
    yield "  augment.strength: {low: 0.0, high: 1.0}"
    if not few and seen.empty > 0 and seen.landslide < _RARE:
        yield "  # Landslides are rare here: half of the patches of an epoch may be such that have one."
        yield "  training.positive_fraction: {choices: [0.0, 0.5]}"
    yield "  training.learning_rate: {low: 5e-4, high: 1e-2, log: true}"
    yield "  training.weight_decay: {low: 1e-6, high: 1e-2, log: true}"


def _study(*, few: bool) -> str:
    if few:
        return """\
# The two best are trained again in other folds beside the base, which is registered unless one is ahead of it.
study:
  trials: 8
  confirm: 2
  sampler: {name: tpe, startup_trials: 6}
  pruner: {name: successive_halving, min_epochs: 2, reduction: 3}"""
    return """\
# lsml tune --trials N goes on with the same study.
study:
  trials: 20
  sampler: {name: tpe, startup_trials: 8}
  pruner: {name: successive_halving, min_epochs: 5, reduction: 3}"""
