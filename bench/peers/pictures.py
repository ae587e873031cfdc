"""A U-Net on ResNet-18 by segmentation_models.pytorch, from scratch, as its users train it on colour pictures.

    python bench/peers/pictures.py PICTURES.npz OUT.npz [--epochs 40] [--crops 68] [--batch 8] [--crop 256] [--seed 0]

PICTURES has `train`, `validation` and `test` pictures as `train_0`, `train_mask_0` and so on: uint8 `(H, W, 3)` and
`(H, W)` of 0 and 1. Crops of 256 x 256, flips, quarter turns, jitter of brightness and colour; half cross-entropy, half
Dice; AdamW with a one-cycle schedule; the epoch of the best validation F1 at .5 is kept. OUT gets the probabilities of
whole pictures, float32 `(H, W)`: `validation_0`, `test_0` and so on.
"""

import argparse
import copy
import random
import sys
from pathlib import Path

import albumentations
import numpy as np
import segmentation_models_pytorch as smp
import torch

DEEPEST = 32
"""The encoder halves a picture five times."""

Picture = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Trains, and writes what the best epoch predicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    for name, default in {"epochs": 40, "crops": 68, "batch": 8, "crop": 256, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    stored = np.load(given.pictures)
    splits = {split: pictures(stored, split) for split in ("train", "validation", "test")}
    network = train(splits["train"], splits["validation"], given)
    found = {
        f"{split}_{number}": predict(network, image)
        for split in ("validation", "test")
        for number, (image, _) in enumerate(splits[split])
    }
    np.savez(given.out, **found)


def pictures(stored: np.lib.npyio.NpzFile, split: str) -> list[Picture]:
    """The pictures of a split with their masks, in order."""
    count = sum(name.startswith(f"{split}_mask_") for name in stored.files)
    return [(stored[f"{split}_{number}"], stored[f"{split}_mask_{number}"]) for number in range(count)]


def train(train: list[Picture], validation: list[Picture], given: argparse.Namespace) -> torch.nn.Module:
    """The network with the weights of its best epoch."""
    random.seed(given.seed)
    torch.manual_seed(given.seed)
    draws = np.random.default_rng(given.seed)
    change = albumentations.Compose(
        [
            albumentations.PadIfNeeded(given.crop, given.crop),
            albumentations.RandomCrop(given.crop, given.crop),
            albumentations.HorizontalFlip(),
            albumentations.VerticalFlip(),
            albumentations.RandomRotate90(),
            albumentations.ColorJitter(0.2, 0.2, 0.2, 0.05, p=0.8),
        ],
        seed=given.seed,
    )
    network = smp.Unet("resnet18", encoder_weights=None, classes=1).to(memory_format=torch.channels_last)
    dice = smp.losses.DiceLoss("binary")
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    steps = -(-given.crops // given.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps * given.epochs)
    best, weights = -1.0, copy.deepcopy(network.state_dict())
    for epoch in range(given.epochs):
        network.train()
        # Every picture equally often, in an order of its own.
        order = np.concatenate([draws.permutation(len(train)) for _ in range(-(-given.crops // len(train)))])
        for step in range(steps):
            chosen = order[step * given.batch : min((step + 1) * given.batch, given.crops)]
            changed = [change(image=train[place][0], mask=train[place][1]) for place in chosen]
            truth = torch.from_numpy(np.stack([each["mask"] for each in changed])).float()[:, None]
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = network(scaled(np.stack([each["image"] for each in changed])))
            logits = logits.float()
            cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
            (0.5 * cross_entropy + 0.5 * dice(logits, truth)).backward()
            optimizer.step()
            schedule.step()
        score = f1([(predict(network, image), mask) for image, mask in validation])
        sys.stderr.write(f"epoch {epoch + 1}/{given.epochs}  val_f1 {score:.3f}\n")
        if score > best:
            best, weights = score, copy.deepcopy(network.state_dict())
    network.load_state_dict(weights)
    return network


def scaled(images: np.ndarray) -> torch.Tensor:
    """uint8 `(B, H, W, 3)` to `(B, 3, H, W)`, by ImageNet's means and deviations, as the encoder prescribes."""
    means, deviations = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    values = (images.astype(np.float32) / 255 - means) / deviations
    return torch.from_numpy(values.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)


def predict(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """Probabilities of a whole picture, which is mirrored at its far edges up to a multiple of 32."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % DEEPEST), (0, -width % DEEPEST), (0, 0)), mode="symmetric")
    network.eval()
    with torch.no_grad():
        return network(scaled(padded[None])).sigmoid()[0, 0, :height, :width].numpy()


def f1(predicted: list[Picture]) -> float:
    """Over all pixels, at a threshold of .5."""
    hits = sum(int(((probability >= 0.5) & (mask == 1)).sum()) for probability, mask in predicted)
    marked = sum(int((probability >= 0.5).sum()) for probability, _ in predicted)
    truth = sum(int(mask.sum()) for _, mask in predicted)
    return 2 * hits / max(marked + truth, 1)


if __name__ == "__main__":
    main()
