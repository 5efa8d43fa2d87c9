"""Scales of one of several inputs of a watched model, and of its targets."""

import pytest
import torch
from torch import nn

import firstfault
from firstfault.ablation.swaps.preprocessing import standardised_inputs
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status


class Towers(nn.Module):
    """A category and numbers, joined."""

    def __init__(self, *, norm=False):
        super().__init__()
        self.kinds, self.norm = nn.Embedding(6, 4), nn.BatchNorm1d(3) if norm else None
        self.layers = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, kind, numbers):
        numbers = numbers if self.norm is None else self.norm(numbers)
        return self.layers(torch.cat([self.kinds(kind), numbers], 1)).squeeze(1)


def watched(folder, *, size, of_target=1.0, norm=False):
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(0, 6, (200,), generator=generator)
    numbers = torch.randn(200, 3, generator=generator) * torch.tensor([1.0, 10.0, size])
    y = (kind.float() - 2 + numbers[:, 0]) * of_target
    model, loss = Towers(norm=norm), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters())
    with firstfault.watch(folder=folder) as seen:
        for rows in torch.arange(200).split(40):
            optimizer.zero_grad()
            loss(model(kind[rows], numbers[rows]), y[rows]).backward()
            optimizer.step()
    return seen


def failures(seen):
    names = ("missing_normalisation", "target_not_scaled")
    entries = [entry for entry in checks_of(Layer.PREPROCESSING) if entry.name in names]
    found = [finding for entry in entries for finding in run_check(entry, seen.subject, {})]
    return [fault for finding in found if finding.status is Status.FAIL for fault in finding.faults]


@pytest.mark.parametrize(
    ("size", "of_target", "norm", "expected"),
    [
        (1e5, 1.0, False, ["missing_normalisation"]),
        (1.0, 3e5, False, ["target_not_scaled"]),
        (1e5, 1.0, True, []),
        (1.0, 1.0, False, []),
    ],
)
def test_scales_beside_a_category(tmp_path, size, of_target, norm, expected):
    """Numbers in mixed units and targets in the hundred thousands are seen beside a category, unless normalised."""
    assert failures(watched(tmp_path, size=size, of_target=of_target, norm=norm)) == expected


def test_numbers_that_are_looked_up_are_standardised(tmp_path):
    """The repair standardises the numbers of samples that the model looks up, and leaves its categories."""
    subject = watched(tmp_path, size=1e5).subject
    model = standardised_inputs(subject).model()
    kind, numbers = model.forward.inputs.rows.values()
    assert not kind.is_floating_point()
    assert torch.allclose(numbers.std(0), torch.ones(3), atol=0.01)
    assert model(subject.recipe.train.x[:8]).shape == (8,)
