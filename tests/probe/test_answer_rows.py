"""Labels of a graph's nodes belong to the rows of the answer that a loss is given."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import firstfault

N, LEARNT = 90, 40


def choose(out, y, learnt, mask, order):
    """What a loss is given, by how a script chooses it: the last three are wrong."""
    return {
        "index": (out[learnt], y[learnt]),
        "mask": (out[mask], y[mask]),
        "first": (out[:LEARNT], y[:LEARNT]),
        "reordered": (out[:LEARNT], y[order[:LEARNT]]),
        "first rows": (out[:LEARNT], y[learnt]),
        "rows of a mask": (out[:LEARNT], y[mask]),
        "first labels": (out[learnt], y[:LEARNT]),
    }


@pytest.mark.parametrize("how", ["index", "mask", "first", "reordered", "first rows", "rows of a mask", "first labels"])
def test_labels_of_other_rows_than_those_of_the_answer_are_told(how, tmp_path):
    """With the line; inputs that are reordered by the same index belong to them."""
    torch.manual_seed(0)
    x, y, order = torch.randn(N, 5), torch.randint(0, 3, (N,)), torch.randperm(N)
    learnt = order[:LEARNT]
    mask = torch.zeros(N, dtype=torch.bool)
    mask[learnt.flip(0)] = True
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with firstfault.watch(folder=tmp_path) as seen:
        for _ in range(6):
            optimizer.zero_grad()
            out = model(x[order] if how == "reordered" else x)
            given, wanted = choose(out, y, learnt, mask, order)[how]
            F.cross_entropy(given, wanted).backward()
            optimizer.step()
    told = [fault for fault in seen.verdict(swaps=False).faults if fault.fault == "misaligned_labels"]
    assert bool(told) is (how in ("first rows", "rows of a mask", "first labels"))
    assert all(fault.where[0].file.endswith("test_answer_rows.py") for fault in told)
