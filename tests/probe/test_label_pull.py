"""Whether a loss moves outputs towards their labels, which loss it may be."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.probe.label_pull import pull_of


def dice(outputs, y):
    shares = outputs.sigmoid()
    return 1 - 2 * (shares * y).sum() / (shares.sum() + y.sum())


def focal(outputs, y):
    shares = outputs.sigmoid().clamp(1e-6, 1 - 1e-6)
    chosen = torch.where(y == 1, shares, 1 - shares)
    return -((1 - chosen) ** 2 * chosen.log()).mean()


LOSSES = {
    "dice": (dice, lambda outputs, y: -dice(outputs, y), 1),
    "focal": (focal, lambda outputs, y: focal(outputs, 1 - y), 1),
    "two terms": (
        lambda outputs, y: F.cross_entropy(outputs, y) + 0.01 * outputs.square().mean(),
        lambda outputs, y: 0.01 * outputs.square().mean() - F.cross_entropy(outputs, y),
        3,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("right", [True, False], ids=["towards", "away"])
def test_a_loss_that_moves_outputs_away_from_their_labels_is_told(right, name, tmp_path):
    """The slope of a loss tells its sign, where neither its value nor its parts do."""
    torch.manual_seed(0)
    towards, away, width = LOSSES[name]
    x = torch.randn(200, 4)
    y = x[:, :3].argmax(1) if width > 1 else (x[:, 0] > 0).float()
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, width), *([nn.Flatten(0)] if width == 1 else []))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with firstfault.watch(folder=tmp_path) as seen:
        for _ in range(3):
            for given, wanted in DataLoader(TensorDataset(x, y), 20, shuffle=True):
                optimizer.zero_grad()
                (towards if right else away)(model(given), wanted).backward()
                optimizer.step()
    found = [fault.fault for fault in seen.verdict(swaps=False).faults]
    assert ("flipped_loss_sign" in found) is not right


def test_only_what_fits_an_output_are_its_labels():
    """Classes lie along any axis, those below 0 are left out, and numbers of another shape are no labels."""
    outputs = torch.randn(6, 4, 5)
    labels = torch.randint(0, 4, (6, 5))
    moves = F.one_hot(labels, 4).movedim(-1, 1) - outputs.softmax(1)
    assert pull_of(outputs, moves, labels) > 0.5
    assert pull_of(outputs.movedim(1, -1), moves.movedim(1, -1), labels) > 0.5
    assert pull_of(outputs, -moves, labels) < -0.5
    assert pull_of(outputs, moves, torch.where(labels == 3, -100, labels)) > 0
    assert pull_of(outputs, moves, labels + 4) is None
    assert pull_of(outputs, moves, torch.randn(6, 5)) is None
    assert pull_of(outputs, torch.zeros(6, 4, 5), labels) is None
