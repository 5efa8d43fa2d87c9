"""A training that does not end by itself: its loader's workers ignore signals.

`training` is written, and `go` is waited for.
"""

import signal
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

HERE = Path(__file__).parent


class Rows(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        return index


def learn(model, batches, epochs):
    workers = iter(DataLoader(Rows(), batch_size=8, num_workers=2))
    next(workers)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    (HERE / "training").touch()
    while not (HERE / "go").exists():
        time.sleep(0.05)
