"""Training scripts in today's styles, each drawn at random, healthy or with one fault, for `firstfault run`.

A style is a script with knobs; a fault turns one of them. Each script prints its score as `METRIC x`, higher is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template

import numpy as np

HEAD = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed($seed)
"""
LOOP = """
optimizer = torch.optim.$optimizer($held, lr=$rate)
for epoch in range($epochs):
    $train_mode
    for batch in loader:
        loss = loss_of(batch)
        $clear
        loss.backward()
        optimizer.step()
    $eval_mode
    with torch.no_grad():
        score = score_of()
print("METRIC", float(score))
"""


@dataclass(frozen=True)
class Turn:
    """A fault of a style: its layer, the verdicts that count as right, and the knobs that it turns."""

    layer: str
    right: frozenset[str]
    knobs: Mapping[str, str]


@dataclass(frozen=True)
class Style:
    """A script with knobs; `draw` gives those of a healthy one."""

    name: str
    body: str
    draw: Callable[[np.random.Generator], dict[str, str]]
    faults: Mapping[str, Turn]

    def script(self, rng: np.random.Generator, fault: str | None) -> str:
        """The script's source, healthy or with a fault."""
        knobs = {**COMMON, "seed": str(int(rng.integers(10_000))), **self.draw(rng)}
        if fault is not None:
            knobs |= self.faults[fault].knobs
        text = Template(HEAD + self.body).substitute(knobs)
        return Template(text).substitute(knobs)


COMMON = {
    "optimizer": "Adam",
    "held": "model.parameters()",
    "clear": "optimizer.zero_grad()",
    "train_mode": "model.train()",
    "eval_mode": "model.eval()",
}


def turn(layer: str, *right: str, **knobs: str) -> Turn:
    return Turn(layer, frozenset(right), knobs)


RATE = turn("training", "learning_rate_too_high", rate="3.0")
SLOW = turn("training", "learning_rate_too_low", "too_few_epochs", rate="1e-7")
UNCLEARED = turn("training", "missing_zero_grad", clear="pass", optimizer="SGD", rate="0.1")
LEFT_OUT = turn("training", "parameters_not_in_optimizer", held="model.head.parameters()")
VALIDATED = turn("training", "missing_eval_mode", eval_mode="pass")


def pick(rng: np.random.Generator, *values: object) -> str:
    return str(values[int(rng.integers(len(values)))])


ENCODER = Style(
    "encoder with a mask",
    """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(30, $width), nn.Parameter(torch.randn(12, $width) * 0.1)
        layer = nn.TransformerEncoderLayer($width, 2, 2 * $width, dropout=0.1, batch_first=$first)
        self.encoder = nn.TransformerEncoder(layer, $depth, enable_nested_tensor=False)
        self.head = nn.Linear($width, 3)

    def forward(self, input_ids, attention_mask, labels=None):
        hidden = self.encoder(self.words(input_ids) + self.places$mask)
        kept = attention_mask[..., None].float()
        logits = self.head((hidden * kept).sum(1) / kept.sum(1))
        return {"logits": logits, "loss": F.cross_entropy($given, labels) if labels is not None else None}

def rows(count):
    labels, ids = torch.randint(0, 3, (count,)), torch.randint(4, 30, (count, 12))
    ids[torch.arange(count), torch.randint(0, 5, (count,))] = labels + 1
    mask = (torch.arange(12) < torch.randint(6, 13, (count, 1))).long()
    return ids * mask, mask, labels

train, held = rows(1600), rows(400)
loader = DataLoader(TensorDataset(*train), $batch, shuffle=True)
model = Model()
loss_of = lambda batch: model(input_ids=batch[0], attention_mask=batch[1], labels=batch[2])["loss"]
score_of = lambda: (model(held[0], held[1])["logits"].argmax(1) == held[2]).float().mean()
"""
    + LOOP,
    lambda rng: {
        "width": pick(rng, 24, 32),
        "depth": pick(rng, 1, 2),
        "batch": pick(rng, 32, 50),
        "rate": pick(rng, 2e-3, 3e-3),
        "epochs": "6",
        "first": "True",
        "mask": ", src_key_padding_mask=attention_mask == 0",
        "given": "logits",
    },
    {
        "learning_rate_too_high": RATE,
        "missing_zero_grad": UNCLEARED,
        "parameters_not_in_optimizer": LEFT_OUT,
        "missing_eval_mode": VALIDATED,
        "batch_mixing": turn("model", "batch_mixing", first="False", mask=""),
        "redundant_softmax": turn("model", "redundant_softmax", given="logits.softmax(1)"),
    },
)
CAUSAL = Style(
    "causal language model",
    """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(24, $width), nn.Parameter(torch.randn(10, $width) * 0.1)
        self.block = nn.TransformerEncoderLayer($width, 2, 2 * $width, dropout=0.0, batch_first=True)
        self.head = nn.Linear($width, 24)

    def forward(self, input_ids, labels=None):
        mask = nn.Transformer.generate_square_subsequent_mask(input_ids.shape[1])
        logits = self.head(self.block(self.words(input_ids) + self.places$mask))
        if labels is None:
            return logits, None
        return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

def rows(count):
    return (torch.randint(0, 24, (count, 1)) + torch.randint(1, 4, (count, 1)) * torch.arange(10)) % 24

train, held = rows(1600), rows(400)
loader = DataLoader(TensorDataset(train), $batch, shuffle=True)
model = Model()
loss_of = lambda batch: model(batch[0], labels=batch[0])[1]
score_of = lambda: (model(held)[0][:, :-1].argmax(-1) == held[:, 1:]).float().mean()
"""
    + LOOP,
    lambda rng: {
        "width": pick(rng, 24, 32),
        "batch": pick(rng, 32, 40),
        "rate": pick(rng, 3e-3, 5e-3),
        "epochs": "6",
        "mask": ", src_mask=mask",
    },
    {
        "learning_rate_too_high": RATE,
        "missing_zero_grad": UNCLEARED,
        "parameters_not_in_optimizer": LEFT_OUT,
        "missing_causal_mask": turn("model", "missing_causal_mask", mask=""),
    },
)
TOWERS = Style(
    "two towers over a dict",
    """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.user = nn.Embedding(40, $width)
        self.item = nn.Sequential(nn.Linear(6, $width), nn.ReLU(), nn.Dropout(0.1), nn.Linear($width, $width))
        self.head = nn.Linear(2 * $width, 1)

    def forward(self, features):
        both = torch.cat([self.user(features["user"]), self.item(features["item"])], 1)
        return self.head(both.relu())$flat

taste = torch.randn(40)
def rows(count):
    user, item = torch.randint(0, 40, (count,)), torch.randn(count, 6)
    return user, item, taste[user] + item[:, 0] - item[:, 1]

train, held = rows(2000), rows(400)
loader = DataLoader(TensorDataset(*train), $batch, shuffle=True)
model = Model()
loss_of = lambda batch: F.mse_loss(model({"user": batch[0], "item": batch[1]}), batch[2])
score_of = lambda: 1 - (model({"user": held[0], "item": held[1]}).reshape(-1) - held[2]).square().mean() / held[2].var()
"""
    + LOOP,
    lambda rng: {
        "width": pick(rng, 16, 24, 32),
        "batch": pick(rng, 40, 50),
        "rate": pick(rng, 3e-3, 5e-3),
        "epochs": "10",
        "flat": "[:, 0]",
    },
    {
        "learning_rate_too_high": RATE,
        "learning_rate_too_low": SLOW,
        "missing_eval_mode": VALIDATED,
        "output_shape_mismatch": turn("model", "output_shape_mismatch", "wrong_loss", flat=""),
    },
)
GRAPH = Style(
    "graph network",
    """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, $width), nn.Linear($width, $width), nn.Linear($width, 1)

    def forward(self, x, edges, graph):
        for layer in (self.first, self.second):
            x = layer(x).relu()
            x = x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        pooled = torch.zeros(int(graph.max()) + 1, x.shape[1]).index_add(0, graph, x)
        return self.head(pooled)$flat

def graphs(count):
    graph = torch.arange(count).repeat_interleave(torch.randint(4, 9, (count,)))
    kind = torch.randint(0, 4, (len(graph),))
    edges = torch.stack([torch.arange(len(graph)), torch.arange(len(graph)).roll(1)])
    value = torch.zeros(count).index_add(0, graph, (kind == 1).float() - (kind == 3).float())
    return F.one_hot(kind, 4).float(), edges, graph, value

loader, held = [graphs(20) for _ in range(50)], graphs(200)
model = Model()
loss_of = lambda batch: F.mse_loss(model(*batch[:3]), batch[3])
score_of = lambda: 1 - (model(*held[:3]).reshape(-1) - held[3]).square().mean() / held[3].var()
"""
    + LOOP,
    lambda rng: {"width": pick(rng, 16, 24), "rate": pick(rng, 3e-3, 5e-3), "epochs": "10", "flat": ".view(-1)"},
    {
        "learning_rate_too_high": RATE,
        "learning_rate_too_low": SLOW,
        "output_shape_mismatch": turn("model", "output_shape_mismatch", "wrong_loss", flat=""),
    },
)
PIXELS = Style(
    "segmentation",
    """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, $width, 3, padding=1), nn.BatchNorm2d($width), nn.ReLU(), nn.Dropout2d(0.1),
            nn.Conv2d($width, $width, 3, padding=1), nn.BatchNorm2d($width), nn.ReLU())
        self.head = nn.Conv2d($width, 2, 1)

    def forward(self, x):
        return self.head(self.body(x))

def rows(count):
    clean = F.avg_pool2d(torch.randn(count, 1, 12, 12), 3, 1, 1)
    return clean + 0.2 * torch.randn_like(clean) + $shift, (clean[:, 0] > 0).long()

train, held = rows(800), rows(200)
loader = DataLoader(TensorDataset(*train), $batch, shuffle=True)
model = Model()
loss_of = lambda batch: F.cross_entropy(model(batch[0]), batch[1])
score_of = lambda: (model(held[0]).argmax(1) == held[1]).float().mean()
"""
    + LOOP,
    lambda rng: {
        "width": pick(rng, 8, 12),
        "batch": pick(rng, 20, 32),
        "rate": pick(rng, 3e-3, 1e-2),
        "epochs": "5",
        "shift": pick(rng, 0, 1),
    },
    {
        "learning_rate_too_low": SLOW,
        "missing_eval_mode": VALIDATED,
        "learns_in_eval_mode": turn(
            "training",
            "missing_eval_mode",
            "norm_statistics_wrong",
            train_mode="model.train(); model.eval(); torch.no_grad()(model)(held[0])",
            shift="9",
        ),
    },
)
GAN = Style(
    "adversaries",
    """
generator = nn.Sequential(nn.Linear(8, $width), nn.ReLU(), nn.Linear($width, 2))
critic = nn.Sequential(nn.Linear(2, $width), nn.LeakyReLU(0.2), nn.Linear($width, 1))
first = torch.optim.Adam(generator.parameters(), lr=$rate, betas=(0.5, 0.99))
second = torch.optim.Adam(critic.parameters(), lr=$rate, betas=(0.5, 0.99))
loss, yes, no = nn.BCEWithLogitsLoss(), torch.ones(64, 1), torch.zeros(64, 1)
for step in range(600):
    generator.zero_grad()
    fake = generator(torch.randn(64, 8))
    loss(critic(fake), yes).backward()
    first.step()
    $clear_critic
    real = torch.randn(64, 2) * 0.3 + torch.tensor([2.0, -1.0])
    (loss(critic(real), yes) + loss(critic(fake.detach()), no)).backward()
    $second.step()
with torch.no_grad():
    print("METRIC", -float((generator(torch.randn(500, 8)).mean(0) - torch.tensor([2.0, -1.0])).norm()))
""",
    lambda rng: {
        "width": pick(rng, 32, 48),
        "rate": pick(rng, 1e-3, 2e-3),
        "clear_critic": "critic.zero_grad()",
        "second": "second",
    },
    {
        "parameters_not_in_optimizer": turn(
            "training", "parameters_not_in_optimizer", "frozen_parameters", second="first"
        ),
        "missing_zero_grad": turn("training", "missing_zero_grad", clear_critic="pass"),
    },
)
PACKED = Style(
    "packed sequences, accumulated",
    """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.head = nn.GRU(3, $width, batch_first=True), nn.Linear($width, 2)

    def forward(self, sequence):
        return self.head(self.read(sequence)[1][-1])

def packed(count):
    x, labels = torch.randn(count, 9, 3), torch.randint(0, 2, (count,))
    x[:, 1, 0] += 3.0 * labels
    lengths = torch.randint(3, 10, (count,))
    return nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), labels

loader, held = [packed(16) for _ in range(60)], packed(300)
model = Model()
optimizer = torch.optim.$optimizer($held, lr=$rate)
for epoch in range(5):
    for number, (sequence, labels) in enumerate(loader):
        (F.cross_entropy(model(sequence), labels) / 2).backward()
        if number % 2:
            optimizer.step()
            $clear
with torch.no_grad():
    print("METRIC", float((model(held[0]).argmax(1) == held[1]).float().mean()))
""",
    lambda rng: {"width": pick(rng, 16, 24), "rate": pick(rng, 5e-3, 1e-2)},
    {
        "learning_rate_too_high": RATE,
        "learning_rate_too_low": SLOW,
        "missing_zero_grad": UNCLEARED,
        "parameters_not_in_optimizer": LEFT_OUT,
    },
)
STYLES = (ENCODER, CAUSAL, TOWERS, GRAPH, PIXELS, GAN, PACKED)
