"""Digits served by a loader that forgets eval(): dropout is on in production."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Deployment, Target, Training


def load():
    digits = load_digits()
    return digits.images.reshape(-1, 64).astype(np.float32), digits.target


def build_model():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))


def save_model(model, path):
    torch.save(model.state_dict(), path)


def load_model(path):
    model = build_model()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


target = Target(
    name="broken-deployment-train-mode-serving",
    data=Data(train=load),
    preprocess=lambda images: images / 16,
    model=build_model,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=10, batch_size=64
    ),
    deployment=Deployment(save=save_model, load=load_model),
)
