"""Training steps of lsml's U-Net in PyTorch, as fast as it goes: channels last, bfloat16, fused AdamW, a GPU if any.

    python bench/peers/step.py [--filters 16] [--depth 4] [--batch 16] [--size 128] [--steps 4] [--rounds 5] [--compile]

Prints one JSON line: parameters, version, and seconds a step of each round, of the processors and of the clock.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional

BANDS = 14


def level(inputs: int, filters: int) -> nn.Sequential:
    """Two convolutions with normalisation and ReLU, channels dropped between them."""
    return nn.Sequential(
        nn.Conv2d(inputs, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.1),
        nn.Conv2d(filters, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """As `lsml.models.unet` builds it by default, without the scaling of its input."""

    def __init__(self, filters: int, depth: int) -> None:
        super().__init__()
        widths = [filters * 2**number for number in range(depth + 1)]
        self.encoder = nn.ModuleList(level(*pair) for pair in zip([BANDS, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths[:-1])
        self.decoder = nn.ModuleList(level(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(filters, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, 14, H, W)` to logits `(B, 1, H, W)`."""
        skips = []
        for number, encode in enumerate(self.encoder):
            x = encode(x if number == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for skip, up, decode in reversed(list(zip(skips[:-1], self.up, self.decoder, strict=True))):
            x = decode(torch.cat([skip, up(x)], 1))
        return self.head(x)


def main() -> None:
    """Trains on random patches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"filters": 16, "depth": 4, "batch": 16, "size": 128, "steps": 4, "rounds": 5}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--compile", action="store_true", help="by torch.compile, with CUDA's graphs")
    given = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = UNet(given.filters, given.depth).to(device, memory_format=torch.channels_last)
    predict = torch.compile(network, mode="reduce-overhead") if given.compile else network
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    # From the host with every step, as a training's batches come.
    stored = torch.randn(given.batch, BANDS, given.size, given.size).to(memory_format=torch.channels_last)
    drawn = (torch.rand(given.batch, 1, given.size, given.size) < 0.05).float()

    def step() -> float:
        images, truth = stored.to(device), drawn.to(device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = predict(images)
        logits = logits.float()
        probability = logits.sigmoid()
        both = (probability * truth).sum()
        jaccard = 1 - (both + 1) / (probability.sum() + truth.sum() - both + 1)
        loss = 0.5 * functional.binary_cross_entropy_with_logits(logits, truth) + 0.5 * jaccard
        loss.backward()
        optimizer.step()
        return loss.item()

    rounds = []
    for number in range(given.rounds + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(given.steps):
            step()
        if number:  # the first warms up
            rounds.append([(time.process_time() - cpu) / given.steps, (time.perf_counter() - wall) / given.steps])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(json.dumps({"parameters": parameters, "version": torch.__version__, "seconds": rounds}))


if __name__ == "__main__":
    main()
