"""Watched loops that can't be replayed: what they learnt is compared with a constant answer, or with their start."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstfault
from firstfault.finding import Status

CHECK = "no_better_than_constant"


def watched_loop(folder, loss_of, *, rate=1e-2, steps=120, model=None):
    """Train on batches of 32 rows whose class is the sign of their first number."""
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    with firstfault.watch(folder=folder) as watched:
        for _ in range(steps):
            x = torch.randn(32, 6)
            optimizer.zero_grad()
            loss_of(model, x, (x[:, 0] > 0).long()).backward()
            optimizer.step()
    return watched


def found(watched):
    """The finding of the check, and the verdict's status."""
    verdict = watched.verdict(swaps=False)
    [finding] = [each for layer in verdict.layers for each in layer.findings if each.check == CHECK]
    return finding, verdict.status


def with_a_penalty(model, x, y):
    """Cross-entropy and a part of the user's own, which can't be replayed."""
    outputs = model(x)
    return functional.cross_entropy(outputs, y) + 0.01 * outputs.square().mean()


def shuffled(model, x, y):
    """The same, on labels that nothing determines."""
    return with_a_penalty(model, x, y[torch.randperm(len(y))])


def by_hand(model, x, y):
    """A loss that torch knows nothing of."""
    return (model(x)[:, 0] - y).cosh().log().mean()


@pytest.mark.parametrize(
    ("loss_of", "status", "verdict"),
    [(with_a_penalty, Status.PASS, "healthy"), (shuffled, Status.FAIL, "undecided"), (by_hand, Status.PASS, "healthy")],
)
def test_what_was_learnt_is_judged_without_a_replay(loss_of, status, verdict, tmp_path):
    """Against the shares of the classes where torch's loss function is called, else against the start."""
    finding, status_of_all = found(watched_loop(tmp_path, loss_of))
    assert finding.status is status and status_of_all == verdict


def test_a_loss_that_does_not_fall_tells_nothing(tmp_path):
    """A policy is learnt by a loss that need not fall: nothing is judged, and the verdict is undecided."""

    def policy(model, x, y):
        chosen = torch.distributions.Categorical(logits=model(x))
        action = chosen.sample()
        return -(chosen.log_prob(action) * ((action == y).float() - 0.5)).mean()

    finding, status = found(watched_loop(tmp_path, policy))
    assert finding.status is Status.SKIPPED and status == "undecided"


def test_a_training_that_can_be_replayed_is_judged_by_simple_models(tmp_path):
    """Then a constant answer is one of them, and this check stands back."""
    watched = watched_loop(tmp_path, lambda model, x, y: functional.cross_entropy(model(x), y))
    assert found(watched)[0].status is Status.SKIPPED


def test_a_model_that_was_not_looked_at_is_not_cleared(tmp_path):
    """Nothing is known of a model that returns no tensor that could be asked again."""

    class Texts(nn.Module):
        def __init__(self):
            super().__init__()
            self.read = nn.Linear(6, 2)

        def forward(self, x):
            return {"answer": [self.read(x).sum()]}

    watched = watched_loop(tmp_path, lambda model, x, y: model(x)["answer"][0].square(), model=Texts())
    verdict = watched.verdict(swaps=False)
    assert verdict.status == "undecided" and verdict.not_cleared[0].startswith("model: ")


@pytest.mark.parametrize(("far", "status"), [(1.0, Status.PASS), (0.0, Status.FAIL)], ids=["apart", "collapsed"])
def test_triplets_whose_answers_are_all_alike_cost_their_margin(far, status, tmp_path):
    """Answers that do not depend on the inputs are as near to others as to their own kind."""

    def triplets(model, x, y):
        others = torch.stack([-x[:, 0], *x.T[1:]], 1)
        return functional.triplet_margin_loss(model(x * far), model(x * far), model(others * far), margin=0.5)

    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    seen, verdict = found(watched_loop(tmp_path, triplets, model=model))
    assert (seen.status, verdict == "faulty") == (status, status is Status.FAIL)
