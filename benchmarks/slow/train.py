"""The slow training as a script."""

import torch
from loops import learn
from torch import nn

if __name__ == "__main__":
    x = torch.randn(64, 4)
    learn(nn.Linear(4, 2), [(x, (x[:, 0] > 0).long())] * 4, 10)
