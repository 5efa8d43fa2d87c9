"""The slow training as a target."""

import numpy as np
from loops import learn
from torch import nn

from firstfault import Data, Target, Training


def load():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype("float32")
    return X, (X.sum(1) + 0.1 * rng.normal(size=300) > 0).astype("int64")


def network():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def fit(model, batches, held_out):
    learn(model, batches, 20)


target = Target("slow", data=Data(train=load), model=network, training=Training(fit=fit))
