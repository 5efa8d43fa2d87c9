"""Which team a customer's message is for: a text in one column, word ids, and a mean of embeddings."""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault import Data, Deployment, Target, Training

LENGTH, WORDS = 24, 600
PADDING, UNKNOWN = 0, 1


class Tokenizer:
    """Words to ids, by how often they are; what is unknown is one id, and short texts are padded."""

    def __init__(self, words: int = WORDS) -> None:
        self.words = words

    def split(self, text: str) -> list[str]:
        """The words of a text."""
        return re.findall(r"[a-z']+|\d+", str(text).lower())

    def fit(self, X: Any) -> "Tokenizer":
        """Learn the words of a frame's column `text`."""
        counted = Counter(word for text in X["text"] for word in self.split(text))
        self.ids_ = {word: place + 2 for place, (word, _) in enumerate(sorted(counted.items(), key=_by_count))}
        self.ids_ = {word: place for word, place in self.ids_.items() if place < self.words}
        return self

    def transform(self, X: Any) -> Any:
        """Ids `(N, LENGTH)`."""
        ids = np.zeros((len(X), LENGTH), dtype=np.int64)
        for row, text in enumerate(X["text"]):
            for place, word in enumerate(self.split(text)[:LENGTH]):
                ids[row, place] = self.ids_.get(word, UNKNOWN)
        return ids


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


class Classifier(nn.Module):
    """The mean of the embeddings of a text's words, and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 24, padding_idx=PADDING)
        self.layers = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 5))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits `(N, 5)` of ids `(N, T)`."""
        known = (ids != PADDING).unsqueeze(-1)
        mean = (self.words(ids) * known).sum(1) / known.sum(1).clamp(min=1)
        logits: torch.Tensor = self.layers(mean)
        return logits


def build() -> nn.Module:
    """The network."""
    return Classifier()


def load(path: Path) -> Any:
    """The model with the weights that are served."""
    model = build()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


target = Target(
    name="tickets",
    data=Data(train="train.parquet", validation="validation.parquet", test="test.parquet", label="team"),
    preprocess=Tokenizer(),
    model=build,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=5e-3), epochs=8, batch_size=64
    ),
    deployment=Deployment(model="served.pt", load=load),
)
