"""A tiny text model: is a sentence about food or about travel."""

import zlib

import numpy as np
import torch
from torch import nn

from firstfault import Data, Target, Training

WORDS = {
    0: ("bread", "soup", "cheese", "apple", "kitchen", "dinner", "spoon", "pepper"),
    1: ("train", "ticket", "border", "harbour", "flight", "station", "suitcase", "island"),
}
FILLERS = ("the", "a", "near", "with", "we", "they", "saw", "had", "again", "today", "old", "small")
LENGTH, IDS = 8, 97


def sentences(n, seed):
    """Sentences and what they are about."""
    draw = np.random.default_rng(seed)
    about = draw.integers(0, 2, n)
    texts = []
    for topic in about:
        words = [*draw.choice(FILLERS, 4), *draw.choice(WORDS[int(topic)], 3)]
        texts.append(" ".join(draw.permutation(words)))
    return texts, about


def tokens(texts, shift=0):
    """Ids of the words, the same for the same word."""
    ids = np.zeros((len(texts), LENGTH), dtype=np.int64)
    for row, text in enumerate(texts):
        for place, word in enumerate(str(text).split()[:LENGTH]):
            ids[row, place] = 1 + (zlib.crc32(word.encode()) + shift) % (IDS - 1)
    return ids


class Topics(nn.Module):
    """The mean of the words' embeddings."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(IDS, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, ids):
        return self.out(self.words(ids).mean(1))


def data():
    texts, about = sentences(600, 0)
    return np.array(texts, dtype=object), about


target = Target(
    "topics",
    data=Data(train=data),
    preprocess=tokens,
    model=Topics,
    training=Training(
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05),
        epochs=5,
        batch_size=32,
        device="cpu",
    ),
)
