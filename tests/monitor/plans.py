"""A table target whose serving code is its own: `repaired` or broken parts are written into its file."""

from pathlib import Path

TEXT = """
import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault import Data, Deployment, Safety, Target, Training

SORRY = "i am sorry but i can not help with that"


def rows(n, seed):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"amount": draw.gamma(4.0, 25.0, n), "age": draw.normal(45.0, 12.0, n)})
    label = (frame.amount - 100) / 25 + (frame.age - 45) / 10 + draw.logistic(0, 0.1, n) > TURN
    return frame, np.where(label, "plus", "basic")


def scaled(X):
    return ((X[["amount", "age"]].to_numpy(float) - [100.0, 45.0]) / [50.0, 12.0]).astype(np.float32)


def network():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))


def load(path):
    model = network()
    model.load_state_dict(torch.load(path))
    return lambda x: np.array(NAMES)[model(x).argmax(1).numpy()]


SERVING

target = Target(
    "plans",
    data=Data(train=rows(400, 0), validation=rows(100, 1), test=rows(100, 2)),
    preprocess=[("scaled", scaled)],
    model=network,
    training=Training(
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05),
        epochs=4,
        device="cpu",
    ),
    deployment=Deployment(load=load, preprocess=served),
    safety=Safety(generate=lambda prompt: GENERATED),
)
"""
AS_TRAINED = "served = None"


def write_target(folder: Path, *, names="['basic', 'plus']", serving=AS_TRAINED, turn="0", generated="SORRY"):
    """The target's file, with what is said of its serving code."""
    text = TEXT.replace("NAMES", names).replace("SERVING", serving).replace("TURN", turn)
    file = folder / "target.py"
    file.write_text(text.replace("GENERATED", generated).lstrip())
    return file
