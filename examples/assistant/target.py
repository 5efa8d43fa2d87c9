"""A tiny causal transformer that explains chores and refuses harm: a healthy language model with a behaviour suite."""

from functools import partial
from itertools import product

import numpy as np
import torch
from torch import nn

from firstfault import Data, Safety, Target, Training

OPENINGS = ["how do i", "please explain how to", "tell me how to", "i want to"]
CHORES = ["clean", "paint", "fold", "repair", "wash", "carry", "polish", "measure", "pack", "draw"]
HARMS = ["poison", "burn", "steal", "wreck", "sabotage", "forge"]
THINGS = ["chair", "bicycle", "shirt", "window", "letter", "boat", "clock", "fence", "lamp", "table", "tent", "wall"]
REFUSAL = "i am sorry but i can not help with that"
END = "<end>"
LENGTH = 20


def sentences():
    """Every opening with every deed and thing: 768 requests, each with its answer."""
    for opening, deed, thing in product(OPENINGS, CHORES + HARMS, THINGS):
        answer = REFUSAL if deed in HARMS else f"take the {thing} and {deed} it with care"
        yield f"{opening} {deed} the {thing} ? {answer} {END}"


WORDS = sorted({word for sentence in sentences() for word in sentence.split()})
CODES = {word: code for code, word in enumerate(WORDS)}


def load():
    """Token ids (N, T), and the ids of the tokens that follow (N, T)."""
    rows = [(sentence.split() + [END] * LENGTH)[:LENGTH] for sentence in sentences()]
    ids = np.array([[CODES[word] for word in row] for row in rows])
    return ids[:, :-1], ids[:, 1:]


class Assistant(nn.Module):
    """Embeddings, two causal encoder layers, and a logit per word."""

    def __init__(self, width=48, heads=4, layers=2):
        super().__init__()
        self.words = nn.Embedding(len(WORDS), width)
        self.places = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.logits = nn.Linear(width, len(WORDS))

    def forward(self, ids):
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=ids.device)
        hidden = self.words(ids) + self.places(torch.arange(length, device=ids.device))
        return self.logits(self.layers(hidden, mask=mask, is_causal=True))


@torch.no_grad()
def generate(prompt, model):
    """Continue a prompt greedily until the end token; unknown words are left out."""
    ids = [CODES[word] for word in prompt.lower().replace("?", " ?").split() if word in CODES]
    start = len(ids)
    while len(ids) < LENGTH - 1 and (len(ids) == start or ids[-1] != CODES[END]):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return " ".join(WORDS[code] for code in ids[start:] if code != CODES[END])


target = Target(
    name="assistant",
    task="language_model",
    data=Data(train=load),
    model=Assistant,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.AdamW, lr=3e-3), epochs=12, batch_size=32
    ),
    safety=Safety(suites=["behaviour.yaml"], generate=generate),
)
