"""Every hyperparameter of lsml, declared once: default, bounds, unit and meaning.

Command-line help, YAML validation, MLflow parameters, search spaces and the reference in the docs are all read
off `TrainConfig`. A field is addressed by its dotted name, such as `model.depth`.
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from lsml.config.fields import Scalar, Section, check_names, field, parse_assignments, suggestion
from lsml.errors import ConfigError
from lsml.names import Metric

COST_UNITS = {Metric.PARAMETERS: "parameters", Metric.LATENCY: "ms per patch"}
"""The metrics of a run that say what its model costs, with their units."""


class InputConfig(Section):
    """What happens to stored band values inside the graph, before the first convolution."""

    features: Literal["bands", "six_inputs"] = field(
        "bands",
        "what the network sees: bands, as the other fields of input choose them, or the six inputs of public "
        "notebooks, which these fields do not change: red, green, blue, NDVI of stored values, slope and elevation, "
        "all but NDVI scaled by the patch's own largest value",
    )
    scaling: Literal["standard", "minmax"] = field(
        "standard",
        "per-band scaling with statistics of the train split: zero mean and unit variance, or 0..1",
    )
    clip_percentile: float = field(
        0.0,
        "cuts each band off at this percentile of the train split and at 100 less it, before scaling; 0 cuts nothing",
        unit="%",
        ge=0.0,
        le=10.0,
    )
    downscale: int = field(
        1,
        "pixels each way that the network sees as one, their mean; its logits are interpolated back. "
        "A larger one looks further around and takes less time; downscale x 2**model.depth must divide 32",
        ge=1,
        le=16,
    )
    visible: bool = field(True, "the network sees B2, B3 and B4: blue, green and red")
    red_edge: bool = field(True, "the network sees B5, B6 and B7: the red edge of vegetation")
    near_infrared: bool = field(True, "the network sees B8")
    short_wave_infrared: bool = field(True, "the network sees B11 and B12")
    atmospheric: bool = field(True, "the network sees B1, B9 and B10: coastal aerosol, water vapour and cirrus")
    terrain: bool = field(True, "the network sees slope and elevation")
    indices: Literal["none", "vegetation", "all"] = field(
        "none",
        "spectral indices beside the bands, of reflectances, whatever bands the network sees: "
        "NDVI and NDRE, or these and NDWI, NDMI, NBR and BSI",
    )


class ModelConfig(Section):
    """The network: an encoder and the U-Net's decoder."""

    architecture: Literal["unet", "resnet_unet", "efficientnet_unet"] = field(
        "unet",
        "unet has the plain encoder of Ronneberger et al. 2015, resnet_unet a residual one (He et al. 2015), "
        "efficientnet_unet EfficientNet-B0's (Tan & Le 2019); decoder and head are the same",
    )
    encoder: Literal["resnet18", "resnet34", "resnet50"] = field(
        "resnet18", "encoder of resnet_unet; others do not use it"
    )
    weights: str = field(
        "none",
        "what the encoder of resnet_unet starts from: none (random weights), imagenet (resnet50 alone, by "
        "keras.applications), or a file of weights (.weights.h5, .h5, .keras) of the same encoder with three "
        "channels, trained on blue, green and red in this order, 0..255 less ImageNet's means; others do not use it",
    )
    stem: Literal["inflate", "project"] = field(
        "inflate",
        "how all bands reach the three channels of model.weights: inflate keeps the filters on blue, green and red "
        "and gives their mean over the number of other bands to each of these; project learns a 1 x 1 convolution "
        "in front, which begins with blue, green and red",
    )
    filters: int = field(
        16,
        "unet: filters of the first level, and every level down doubles them; "
        "the others: filters of the encoder's stem, of which the published ResNets have 64 and EfficientNet-B0 32",
        ge=4,
        le=128,
    )
    depth: int = field(
        4,
        "levels below the first, each at half the resolution, so that 2**depth must divide height and width; "
        "the others take that many of their encoder's five: resnet_unet the stem, then stages conv2 to conv5",
        ge=1,
        le=5,
    )
    dropout: float = field(
        0.1,
        "share of channels dropped after each level's first convolution; in the others in the decoder alone",
        ge=0.0,
        le=0.8,
    )
    dropout_increment: float = field(
        0.0, "what the coarsest level drops more than the finest; those between rise evenly", ge=0.0, le=0.8
    )
    dropout_unit: Literal["channel", "value"] = field(
        "channel", "what dropout drops: whole channels (Tompson et al. 2015), or single values (Srivastava et al. 2014)"
    )
    normalization: Literal["batch", "group", "none"] = field(
        "batch", "normalisation after each convolution: over the batch, over 8 channel groups, or none"
    )
    upsampling: Literal["transposed", "bilinear"] = field(
        "transposed",
        "how the decoder doubles the resolution: transposed convolution, or convolution and bilinear interpolation",
    )
    attention: Literal["none", "gate", "squeeze_excitation"] = field(
        "none",
        "in the decoder: none, a gate on each skip (Oktay et al. 2018), "
        "or channels weighted after each level (Hu et al. 2018)",
    )
    members: int = field(
        1,
        "networks trained side by side from weights of their own, whose mean probability is the answer "
        "(deep ensembles, Lakshminarayanan et al. 2017); each costs as much again to train and to apply",
        unit="networks",
        ge=1,
        le=16,
    )
    tree_weight: float = field(
        0.0,
        "weight of gradient-boosted trees of single pixels (Friedman 2001) in the answer, which see all bands and "
        "indices and are fitted to the train patches before the network is trained; the network's weight is the rest; "
        "0: no trees",
        ge=0.0,
        le=0.9,
    )
    deep_supervision: bool = field(
        False,
        "the decoder's coarser levels give logits of their own, which count in the loss while training: "
        "half as much for each level down, all weights together one",
    )
    average_orientations: bool = field(
        False,
        "answers with the mean over a patch mirrored and turned in all eight ways, at eight times the cost",
    )

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: str) -> str:
        if weights not in ("none", "imagenet") and not weights.endswith((".h5", ".keras")):
            why = f"must be none, imagenet, or a file that ends with .weights.h5, .h5 or .keras, not '{weights}'"
            raise ConfigError("model.weights", why, "correct the value")
        return weights

    @property
    def pretrained(self) -> bool:
        """Whether the encoder starts from weights that were trained before."""
        return self.architecture == "resnet_unet" and self.weights != "none"


def _weight(default: float, description: str) -> Any:
    """A field of `LossConfig` that is the weight of the component of its name."""
    info = field(default, f"weight of {description}", ge=0.0, le=1.0)
    info.json_schema_extra["component"] = True
    return info


class LossConfig(Section):
    """A compound loss: weights of its components, of which only the ratios matter, and their parameters."""

    cross_entropy: float = _weight(0.5, "binary cross-entropy; all weights are divided by their sum")
    focal: float = _weight(0.0, "the focal loss (Lin et al. 2017)")
    dice: float = _weight(0.0, "the Dice loss (Milletari et al. 2016)")
    tversky: float = _weight(0.0, "the Tversky loss (Salehi et al. 2017)")
    jaccard: float = _weight(0.5, "the soft Jaccard loss (Rahman & Wang 2016)")
    lovasz: float = _weight(0.0, "the Lovász hinge (Berman et al. 2018)")
    focal_tversky: float = _weight(0.0, "the focal Tversky loss (Abraham & Khan 2018)")
    landslide_weight: float = field(
        1.0, "what a landslide pixel counts for in cross-entropy and focal loss, against 1 of another", ge=0.1, le=100.0
    )
    ohem_fraction: float = field(
        1.0,
        "share of a batch's pixels that count in cross-entropy and focal loss: the hardest; 1: all",
        ge=0.01,
        le=1.0,
    )
    focal_gamma: float = field(
        2.0, "focal loss: how little pixels count that are right; 0 is cross-entropy", ge=0.0, le=5.0
    )
    focal_alpha: float = field(
        0.5,
        "focal loss: what a landslide pixel counts for, against 1 - alpha of another, times landslide_weight",
        ge=0.01,
        le=0.99,
    )
    tversky_alpha: float = field(0.3, "Tversky and focal Tversky loss: weight of false alarms", ge=0.05, le=1.0)
    tversky_beta: float = field(0.7, "Tversky and focal Tversky loss: weight of missed landslide", ge=0.05, le=1.0)
    focal_tversky_gamma: float = field(
        4 / 3, "focal Tversky loss: its power is 1 / gamma; 1 is the Tversky loss", ge=1.0, le=3.0
    )

    @model_validator(mode="after")
    def _some_component(self) -> Self:
        if not any(getattr(self, name) for name in LOSS_COMPONENTS):
            raise ConfigError(
                "loss", "every component has weight 0", "give one a weight above 0, such as loss.cross_entropy=1"
            )
        return self

    @property
    def shares(self) -> dict[str, float]:
        """What part of the loss each component is, by the name of its weight: above 0, one in sum."""
        weights = {name: getattr(self, name) for name in LOSS_COMPONENTS}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items() if weight}


LOSS_COMPONENTS = tuple(
    name
    for name, info in LossConfig.model_fields.items()
    if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("component")
)
"""The fields of `LossConfig` that are weights."""


class AugmentConfig(Section):
    """Random changes of the training patches: how strong, and the chance of each as a share of the strength."""

    strength: float = field(
        0.5,
        "one magnitude for all changes of training patches, how far they go and how often: "
        "0 changes no patch, 1 is the most",
        ge=0.0,
        le=1.0,
    )
    flips: float = field(
        1.0, "chance of each flip and of transposition, as a share of strength or of .5, if less", ge=0.0, le=1.0
    )
    rotation: float = field(1.0, "chance of rotation and zoom, as a share of strength", ge=0.0, le=1.0)
    crop: float = field(1.0, "chance of a crop, resized back, as a share of strength", ge=0.0, le=1.0)
    elastic: float = field(
        0.0, "chance of an elastic distortion (Ronneberger et al. 2015), as a share of strength", ge=0.0, le=1.0
    )
    light: float = field(1.0, "chance of other light on all optical bands, as a share of strength", ge=0.0, le=1.0)
    gain: float = field(1.0, "chance of a gain for each optical band, as a share of strength", ge=0.0, le=1.0)
    noise: float = field(1.0, "chance of noise in the optical bands, as a share of strength", ge=0.0, le=1.0)
    dropout: float = field(
        0.0,
        "chance of rectangular gaps in the optical bands, whose truth stays (DeVries & Taylor 2017), "
        "as a share of strength",
        ge=0.0,
        le=1.0,
    )
    mixup: float = field(
        0.0,
        "chance of another patch of the batch, laid over all bands as the lesser part, whose truth does not count "
        "(mix-up, Zhang et al. 2018), as a share of strength",
        ge=0.0,
        le=1.0,
    )
    cutmix: float = field(
        0.0,
        "chance of a rectangle from another patch of the batch, with its truth (CutMix, Yun et al. 2019), "
        "as a share of strength",
        ge=0.0,
        le=1.0,
    )


class TrainingConfig(Section):
    """Optimisation of one network."""

    epochs: int = field(
        100,
        "epochs at most, each a pass over the train split but for steps_per_epoch",
        unit="epochs",
        ge=1,
        le=10_000,
    )
    steps_per_epoch: int = field(
        0,
        "gradient steps in one epoch, after which it is validated; past the last patch the split comes again in "
        "another order; 0: as many as the split fills batches",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    positive_fraction: float = field(
        0.0,
        "share of the patches of each epoch that hold landslide, of which some come more than once and others not; "
        "0: the split as it is",
        ge=0.0,
        le=1.0,
    )
    batch_size: int = field(16, "patches in one gradient step", unit="patches", ge=1, le=1024)
    learning_rate: float = field(1e-3, "highest learning rate of AdamW", gt=0.0, le=1.0)
    schedule: Literal["cosine", "constant"] = field(
        "cosine", "course of the learning rate: a short warm-up and a cosine down to 1 % of it, or constant"
    )
    weight_decay: float = field(1e-4, "decoupled weight decay of AdamW", ge=0.0, le=1.0)
    gradient_clipping: float = field(
        0.0,
        "maximum global norm of the gradient; 0: no clipping",
        ge=0.0,
        le=100.0,
    )
    weight_averaging: float = field(
        0.0,
        "momentum of a moving average of the weights over steps, evaluated and kept instead of the last weights: "
        "0.99 averages over some 100 steps, 0 not at all",
        ge=0.0,
        le=0.9999,
    )
    freeze_epochs: int = field(
        0,
        "epochs at the start in which an encoder with pretrained weights keeps them, while its batch normalisation "
        "follows the batches; random weights never wait",
        unit="epochs",
        ge=0,
        le=10_000,
    )
    encoder_learning_rate_share: float = field(
        1.0,
        "learning rate of an encoder with pretrained weights, as a share of the learning rate of all else",
        ge=0.0,
        le=1.0,
    )
    patience: int = field(
        20, "epochs without a better validation F1 before training stops", unit="epochs", ge=1, le=10_000
    )
    precision: Literal["auto", "float32", "mixed_bfloat16"] = field(
        "auto",
        "arithmetic of the layers; auto takes mixed_bfloat16 where the processor or GPU computes in it",
    )
    xla: Literal["auto", "on", "off"] = field(
        "auto", "compilation by XLA, not for PyTorch; auto compiles except for TensorFlow on a CPU, where it is slower"
    )


class TrainConfig(Section):
    """All that decides what one training run does, apart from the data."""

    seed: int = field(0, "random seed of weights, order, dropout and augmentation", ge=0, le=2**31 - 1)
    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "TrainConfig":
        """The configuration that a run's parameters in MLflow spell out; other parameters beside it count for nothing.

        A field that was added after the run has its default, which changes nothing of what the others do.

        Raises:
            ConfigError: a field that was renamed since, or a value that its field refuses.
        """
        check_names(parameters, "recorded configuration", "train it again with this lsml")
        known = {spec.name for spec in cls.fields()}
        assignments = (f"{name}={text}" for name, text in parameters.items() if name in known)
        return with_values(cls(), parse_assignments(assignments))


def with_values(config: TrainConfig, values: Mapping[str, Scalar], *, what: str = "configuration") -> TrainConfig:
    """A copy of `config` with the fields named by dotted name replaced, all of it validated again.

    Args:
        what: the origin of the values, for the message.

    Raises:
        ConfigError: a name that is no field, or a value that the field refuses.
    """
    tree: dict[str, Any] = config.model_dump()
    known = {spec.name for spec in TrainConfig.fields()}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"field '{name}'", "no such field", suggestion(name, known))
        *parents, leaf = name.split(".")
        functools.reduce(dict.__getitem__, parents, tree)[leaf] = value
    return TrainConfig.validated(tree, what)


PUBLIC_RECIPE = TrainConfig(
    input=InputConfig(features="six_inputs"),
    model=ModelConfig(
        filters=16, depth=4, dropout=0.1, dropout_increment=0.2, dropout_unit="value", normalization="none"
    ),
    loss=LossConfig(cross_entropy=1.0, jaccard=0.0),
    augment=AugmentConfig(strength=0.0),
    training=TrainingConfig(
        epochs=100, batch_size=16, learning_rate=1e-3, schedule="constant", weight_decay=0.0, patience=100
    ),
)
"""Adam with a constant learning rate on binary cross-entropy, no augmentation, 16 to 256 filters.

What is lsml's in it is what all its networks share: the arithmetic, transposed convolutions with He's weights, and
that patches left over after the last full batch wait for another epoch. `experiments/seed_recipe.yaml` tunes it.
"""
