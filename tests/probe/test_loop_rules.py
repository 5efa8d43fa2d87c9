"""What a watched loop shows without a replay: planted faults beside healthy twins, in loops of several styles."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import firstfault

STEPS = 60


def watched(folder, step, *models, rate=1e-2, steps=STEPS):
    """Train the models with a loss of their own for each step, under the watch."""
    optimizer = torch.optim.Adam([value for model in models for value in model.parameters()], rate)
    with firstfault.watch(folder=folder) as seen:
        for number in range(steps):
            optimizer.zero_grad()
            step(number).backward()
            optimizer.step()
    return seen


def faults(seen):
    return [fault.fault for fault in seen.verdict(swaps=False).faults]


class Graph(nn.Module):
    """A graph network that sums over edges and over the nodes of a graph."""

    def __init__(self, *, flat):
        super().__init__()
        self.flat, self.own, self.other = flat, nn.Linear(4, 16), nn.Linear(4, 16)
        self.readout = nn.Linear(16, 1)

    def forward(self, x, edges, graph):
        sums = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        hidden = (self.own(x) + self.other(sums)).relu()
        outputs = self.readout(hidden.new_zeros(int(graph.max()) + 1, 16).index_add(0, graph, hidden))
        return outputs[:, 0] if self.flat else outputs


def molecules(number, count=20):
    """Random trees, and what their nodes add up to."""
    generator = torch.Generator().manual_seed(number)
    sizes = torch.randint(4, 9, (count,), generator=generator)
    graph = torch.repeat_interleave(torch.arange(count), sizes)
    kinds = torch.randint(0, 4, (len(graph),), generator=generator)
    starts = sizes.cumsum(0) - sizes
    nodes = [int(node) for node in range(len(graph)) if node not in starts]
    edges = torch.tensor([[node - 1 for node in nodes], nodes])
    y = torch.zeros(count).index_add(0, graph, torch.tensor([0.2, 0.5, 1.0, -0.8])[kinds])
    return F.one_hot(kinds, 4).float(), edges, graph, y


LOSSES = {
    "mse_loss": F.mse_loss,
    "huber": nn.HuberLoss(),
    "squares": lambda outputs, y: ((outputs - y) ** 2).mean(),
    "product": lambda outputs, y: torch.mean((y - outputs) * (y - outputs)),
    "root": lambda outputs, y: torch.sqrt((outputs - y).pow(2).mean()) + 0.0,
    "absolute": lambda outputs, y: 0.5 * (outputs - y).abs().sum() / 400,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("flat", [True, False], ids=["healthy", "broadcast"])
def test_outputs_of_a_graph_network_that_are_broadcast_against_labels(flat, loss, tmp_path):
    """Outputs `(N, 1)` against labels `(N,)` are seen at the loss, also where it is written out."""
    torch.manual_seed(0)
    model = Graph(flat=flat)

    def step(number):
        *inputs, y = molecules(number)
        return LOSSES[loss](model(*inputs), y)

    seen = watched(tmp_path, step, model, steps=40)
    assert ("output_shape_mismatch" in faults(seen)) is not flat


def test_differences_that_are_put_side_by_side_on_purpose_are_no_fault(tmp_path):
    """Each output against each label, as a ranking has them, is written with an axis of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, 0]

    def step(number):
        outputs = model(x)
        apart = (outputs[:, None] - y).abs() + torch.eye(20) * (outputs - y) ** 2
        return F.mse_loss(outputs, y) + 0.0 * apart.mean()

    seen = watched(tmp_path, step, model)
    assert seen.record.spread == {} and faults(seen) == []
