"""Digits trained by a hand-written loop that forgets to reset the gradients."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Target, Training


def load():
    digits = load_digits()
    return digits.images.reshape(-1, 64).astype(np.float32), digits.target


def fit(model, train_loader, validation_loader):
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(8):
        model.train()
        for x, y in train_loader:
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            correct = sum((model(x).argmax(1) == y).sum().item() for x, y in validation_loader)
    return correct


target = Target(
    name="broken-training-missing-zero-grad",
    data=Data(train=load),
    preprocess=lambda images: images / 16,
    model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    training=Training(loss=nn.CrossEntropyLoss(), fit=fit, epochs=8, batch_size=64),
)
