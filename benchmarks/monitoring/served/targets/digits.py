"""Which digit an image of 8 × 8 pixels shows; pixels are 0 to 16 as they are sent."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault import Data, Deployment, Target, Training

HERE = Path(__file__).parent


def read(split: str) -> tuple[Any, Any]:
    """Images `(N, 8, 8)` and their digits `(N,)`."""
    found = np.load(HERE / f"{split}.npz")
    return found["X"], found["y"]


def scale(images: Any) -> Any:
    """Pixels as the network takes them: about zero, with a channel."""
    return ((np.asarray(images, dtype=np.float32) / 16 - 0.3) / 0.37)[:, None]


def build() -> nn.Module:
    """A small convolutional network with batch normalisation and dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(12 * 16, 10),
    )


def load(path: Path) -> Any:
    """The model with the weights that are served."""
    model = build()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


target = Target(
    name="digits",
    data=Data(train=partial(read, "train"), validation=partial(read, "validation"), test=partial(read, "test")),
    preprocess=[("scale", scale)],
    model=build,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=10, batch_size=64
    ),
    deployment=Deployment(model="served.pt", load=load),
)
