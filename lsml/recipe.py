"""The six-input U-Net of public notebooks on Landslide4Sense: the recipe that a tuned network is measured against."""

from lsml.config import AugmentConfig, InputConfig, LossConfig, ModelConfig, TrainConfig, TrainingConfig

PUBLIC_RECIPE = TrainConfig(
    input=InputConfig(features="six_inputs"),
    model=ModelConfig(filters=16, depth=4, dropout=0.1, dropout_rise=0.2, dropout_unit="value", normalization="none"),
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
