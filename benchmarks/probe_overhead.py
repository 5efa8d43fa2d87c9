"""What watching a training costs, in processor seconds over those of a plain one.

Both are trained in turn, in one process.

    python benchmarks/probe_overhead.py [--trainings 5] [--steps N] [--no-peers]

An MLP (3 × 512), a small CNN, a 4-layer transformer, and one whose batches are dicts with a mask and labels are
trained whole, 10 to 15 s each, and the MLP for 1 s, too: plain, watched, plain, watched, … Watched is what
`firstfault.watch()` does, from its beginning to its end: losses, gradients, weights, updates, activations, attention,
waiting times, a look for non-finite values in every step, and the first batches captured. The seconds of an arm are
the sum over parts of 10 steps of the least that any of its trainings took for that part: what else the machine does
comes and goes, and only ever adds; each training begins with other blocks of memory taken, since where a tensor
happens to lie is worth 2 % of a step. Peers in the same run, over fewer steps: TensorBoard histograms of weights and
gradients in every step, wandb.watch where wandb is installed, and autograd's anomaly mode. Seconds are the
processor's, of all threads of the process, with one thread for torch. The C library's allocator is told to keep freed
memory: else it gives it back and faults it in again, or not, by accidents of what lies where, which is worth a factor
of 1.5 to a convolution, with a probe and without. Last line: `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import copy
import gc
import importlib.util
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
from torch import nn
from torch.utils.data import DataLoader

LIMIT, LIMIT_OF_SHORT = 1.02, 1.05
PART, PEER_STEPS, PEER_TRAININGS = 10, 30, 3
STEPS = {"mlp": 1000, "cnn": 400, "transformer": 240, "transformer_of_dicts": 240, "short": 100}
BLOCKS, LARGEST = 12, 300_000
MARKS: list[float] = []
LAYOUTS = random.Random(0)
KEEPING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "500000000",
    "WANDB_SILENT": "true",
}
Loss = Callable[[nn.Module, int], torch.Tensor]
"""The loss of a model at a step."""


def batches_of(x: torch.Tensor, y: torch.Tensor, size: int) -> Loss:
    """The cross-entropy of one batch after another."""
    loss = nn.CrossEntropyLoss()

    def at(model: nn.Module, step: int) -> torch.Tensor:
        start = step * size % (len(x) - size)
        return loss(model(x[start : start + size]), y[start : start + size])

    return at


class Transformer(nn.Module):
    """Four encoder layers of width 128 over 32 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(100, 128), nn.Parameter(torch.randn(32, 128) / 10)
        layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(128, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(tokens) + self.places).mean(1))


class TransformerOfDicts(nn.Module):
    """The same with a mask of padding; the call is given the labels too, and returns a dict with the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Transformer()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        body = self.body
        hidden = body.encoder(body.embed(input_ids) + body.places, src_key_padding_mask=attention_mask == 0)
        weights = attention_mask.unsqueeze(-1)
        logits = body.head((hidden * weights).sum(1) / weights.sum(1))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def mlp() -> tuple[nn.Module, Loss]:
    """3 × 512, batches of 128."""
    layers = [layer for _ in range(3) for layer in (nn.Linear(512, 512), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(512, 10))
    return model, batches_of(torch.randn(4096, 512), torch.randint(0, 10, (4096,)), 128)


def cnn() -> tuple[nn.Module, Loss]:
    """Two convolutions with batch normalisation, batches of 64 images of 32 × 32."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    return model, batches_of(torch.randn(1024, 3, 32, 32), torch.randint(0, 10, (1024,)), 64)


def transformer() -> tuple[nn.Module, Loss]:
    """Batches of 32 sequences."""
    return Transformer(), batches_of(torch.randint(0, 100, (1024, 32)), torch.randint(0, 10, (1024,)), 32)


def transformer_of_dicts() -> tuple[nn.Module, Loss]:
    """Batches of 32 sequences of 8 to 32 tokens, by a DataLoader."""
    lengths = torch.randint(8, 33, (1024, 1))
    mask = (torch.arange(32) < lengths).long()
    ids, labels = torch.randint(1, 100, (1024, 32)) * mask, torch.randint(0, 10, (1024,))
    rows = [{"input_ids": i, "attention_mask": m, "labels": y} for i, m, y in zip(ids, mask, labels, strict=True)]
    loader = DataLoader(rows, batch_size=32, shuffle=True)  # type: ignore[arg-type]
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def at(model: nn.Module, step: int) -> torch.Tensor:
        return model(**next(batches))["loss"]

    return TransformerOfDicts(), at


def short() -> tuple[nn.Module, Loss]:
    """The MLP, for a training of 1 s."""
    return mlp()


Train = Callable[[nn.Module, Loss, int], None]


def steps(model: nn.Module, loss: Loss, count: int, after: Callable[[int], None] = lambda step: None) -> None:
    """Plain steps of Adam; `after` is called after each."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(count):
        if step % PART == 0:
            MARKS.append(time.process_time())
        optimizer.zero_grad()
        loss(model, step).backward()
        optimizer.step()
        after(step)


def watched(model: nn.Module, loss: Loss, count: int) -> None:
    """The same steps under `firstfault.watch()`."""
    import firstfault

    with tempfile.TemporaryDirectory() as folder, firstfault.watch("overhead", folder=folder):
        steps(model, loss, count)


def tensorboard(model: nn.Module, loss: Loss, count: int) -> None:
    """Histograms of every weight and gradient, in every step."""
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:

        def write(step: int) -> None:
            for name, value in model.named_parameters():
                writer.add_histogram(name, value, step)
                writer.add_histogram(f"{name}.grad", value.grad, step)

        steps(model, loss, count, write)


def anomaly_mode(model: nn.Module, loss: Loss, count: int) -> None:
    """Autograd's own search for NaN."""
    with torch.autograd.set_detect_anomaly(True):
        steps(model, loss, count)


def wandb(model: nn.Module, loss: Loss, count: int) -> None:
    """`wandb.watch` of weights and gradients in every step, offline."""
    import wandb as client

    with tempfile.TemporaryDirectory() as folder, client.init(mode="offline", dir=folder, project="overhead") as run:
        run.watch(model, log="all", log_freq=1)
        steps(model, loss, count, lambda step: run.log({"step": step}))


def main() -> None:
    """Measure the three models, print a table, and end with the RESULT line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of each model; left out, as many as take 10 to 15 s")
    parser.add_argument("--only", choices=list(STEPS), help="one of the trainings alone")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    if not KEEPING.items() <= os.environ.items():
        # read at the start of a process
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEPING})
    torch.set_num_threads(1)
    result = {}
    for make in (mlp, cnn, transformer, transformer_of_dicts, short):
        if options.only not in (None, make.__name__):
            continue
        result[make.__name__] = ratios = _measure(make, options)
        text = "   ".join(f"{arm} {ratio:5.3f}" for arm, ratio in ratios.items() if arm != "ms_per_step")
        print(f"{make.__name__:<20} {text}   ({ratios['ms_per_step']} ms a step)", flush=True)
    limits = {name: LIMIT_OF_SHORT if name == "short" else LIMIT for name in result}
    print("RESULT", json.dumps({"limits": limits, **result}))


def _measure(make: Callable[[], tuple[nn.Module, Loss]], options: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    model, loss = make()
    count = options.steps or STEPS[make.__name__]
    own, plain = _least([watched, steps], model, loss, count, options.trainings)
    ratios = {"firstfault": own / plain}
    if not options.no_peers:
        peers = [tensorboard, anomaly_mode, *([wandb] if importlib.util.find_spec("wandb") else [])]
        *others, base = _least([*peers, steps], model, loss, PEER_STEPS, PEER_TRAININGS)
        ratios |= {peer.__name__: seconds / base for peer, seconds in zip(peers, others, strict=True)}
    return {name: round(ratio, 3) for name, ratio in ratios.items()} | {"ms_per_step": round(1000 * plain / count, 2)}


def _least(arms: list[Train], model: nn.Module, loss: Loss, count: int, trainings: int) -> list[float]:
    """The least seconds of each arm over trainings in turn, part by part; imports and first calls come before."""
    for train in arms:
        _parts(train, model, loss, PART)
    runs = [[_parts(train, model, loss, count) for train in arms] for _ in range(trainings)]
    return [sum(map(min, zip(*parts, strict=True))) for parts in zip(*runs, strict=True)]


def _parts(train: Train, model: nn.Module, loss: Loss, count: int) -> list[float]:
    """The seconds of one training of a copy: until its first step, of every 10 steps, the end with the last of them."""
    taken = [torch.empty(LAYOUTS.randrange(1, LARGEST)) for _ in range(LAYOUTS.randrange(BLOCKS))]
    copied = copy.deepcopy(model)
    gc.collect()
    MARKS[:] = [time.process_time()]
    train(copied, loss, count)
    ended = time.process_time()
    del taken
    return [end - begin for begin, end in itertools.pairwise([*MARKS, ended])]


if __name__ == "__main__":
    main()
