"""A loop of its own on scikit-learn's digits, watched by a with-block."""

import torch
from sklearn.datasets import load_digits

import firstfault

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X, dtype=torch.float32) / 16, torch.tensor(y)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
with firstfault.watch("digits") as watched:
    for _epoch in range(10):
        for rows in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()
verdict = watched.verdict(swaps=False)
print(verdict.status, watched.report())
