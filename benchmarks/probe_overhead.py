"""What watching a training costs: seconds of watched steps over seconds of plain ones, interleaved in one process.

    python benchmarks/probe_overhead.py [--blocks 20] [--steps 40] [--no-peers]

An MLP (3 × 512), a small CNN and a 4-layer transformer train in blocks of steps, a plain block and a watched one in turn, each arm
with its own copy of the model. Watched means all that `firstfault.watch()` does: losses, gradients, weights, updates, activations,
attention, waiting times, a look for non-finite values in every step, and the first batches captured. Printed is the median of the
blocks' ratios. Peers in the same run: TensorBoard histograms of weights and gradients in every step, wandb.watch where wandb is
installed, and autograd's anomaly mode. Last line: `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
from torch import nn

LIMIT = 1.03
Batches = tuple[torch.Tensor, torch.Tensor, int]


class Transformer(nn.Module):
    """Four encoder layers of width 128 over 32 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(100, 128), nn.Parameter(torch.randn(32, 128) / 10)
        layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(128, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(tokens) + self.places).mean(1))


def mlp() -> tuple[nn.Module, Batches]:
    """3 × 512, batches of 128."""
    layers = [layer for _ in range(3) for layer in (nn.Linear(512, 512), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(512, 10)), (torch.randn(4096, 512), torch.randint(0, 10, (4096,)), 128)


def cnn() -> tuple[nn.Module, Batches]:
    """Two convolutions with batch normalisation, batches of 64 images of 32 × 32."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )
    return model, (torch.randn(1024, 3, 32, 32), torch.randint(0, 10, (1024,)), 64)


def transformer() -> tuple[nn.Module, Batches]:
    """Batches of 32 sequences."""
    return Transformer(), (torch.randint(0, 100, (1024, 32)), torch.randint(0, 10, (1024,)), 32)


class Arm:
    """One copy of a model in training; `block` runs steps, and gives their seconds."""

    def __init__(self, model: nn.Module, batches: Batches) -> None:
        self.model = copy.deepcopy(model)
        self.x, self.y, self.size = batches
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.loss = nn.CrossEntropyLoss()
        self.at = 0

    def block(self, steps: int, after: Callable[[int], None] = lambda step: None) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            start = self.at * self.size % (len(self.x) - self.size)
            self.at += 1
            self.optimizer.zero_grad()
            self.loss(self.model(self.x[start:start + self.size]), self.y[start:start + self.size]).backward()
            self.optimizer.step()
            after(self.at)
        return time.perf_counter() - started


def main() -> None:
    """Measure the three models, print a table, and end with the RESULT line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {make.__name__: _measure(make, options) for make in (mlp, cnn, transformer)}
    for name, ratios in result.items():
        print(f"{name:<12} " + "   ".join(f"{arm} {ratio:5.3f}" for arm, ratio in ratios.items() if arm != "ms_per_step") + f"   ({ratios['ms_per_step']} ms a step)")
    worst = max(ratios["firstfault"] for ratios in result.values())
    print("RESULT", json.dumps({"worst": worst, "limit": LIMIT, **result}))


def _measure(make: Callable[[], tuple[nn.Module, Batches]], options: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    model, batches = make()
    arms: dict[str, Callable[[Arm, int], float]] = {"firstfault": _watched()}
    if not options.no_peers:
        arms |= {"tensorboard": _tensorboard(), "anomaly_mode": _anomaly}
        if importlib.util.find_spec("wandb"):
            arms["wandb"] = _wandb()
    plain, others = Arm(model, batches), {name: Arm(model, batches) for name in arms}
    for arm in (plain, *others.values()):
        arm.block(10)
    ratios: dict[str, list[float]] = {name: [] for name in arms}
    seconds = []
    for _ in range(options.blocks):
        for name, run in arms.items():
            before = plain.block(options.steps)
            between = run(others[name], options.steps)
            after = plain.block(options.steps)
            ratios[name].append(2 * between / (before + after))
            seconds.append(before)
    return {name: round(statistics.median(values), 3) for name, values in ratios.items()} | {
        "ms_per_step": round(1000 * statistics.median(seconds) / options.steps, 2)
    }


def _watched() -> Callable[[Arm, int], float]:
    from firstfault.probe.capture import Capture
    from firstfault.probe.probe import Probe

    probe = Probe(capture=Capture())

    def run(arm: Arm, steps: int) -> float:
        with probe.observe():
            return arm.block(steps)

    return run


def _tensorboard() -> Callable[[Arm, int], float]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tempfile.mkdtemp())

    def run(arm: Arm, steps: int) -> float:
        def write(step: int) -> None:
            for name, value in arm.model.named_parameters():
                writer.add_histogram(name, value, step)
                writer.add_histogram(f"{name}.grad", value.grad, step)

        return arm.block(steps, write)

    return run


def _anomaly(arm: Arm, steps: int) -> float:
    with torch.autograd.set_detect_anomaly(True):
        return arm.block(steps)


def _wandb() -> Callable[[Arm, int], float]:
    import wandb

    run_ = wandb.init(mode="offline", dir=tempfile.mkdtemp(), project="overhead")
    watched: list[Any] = []

    def run(arm: Arm, steps: int) -> float:
        if not watched:
            wandb.watch(arm.model, log="all", log_freq=1)
            watched.append(arm)
        return arm.block(steps, lambda step: run_.log({"step": step}))

    return run


if __name__ == "__main__":
    main()
