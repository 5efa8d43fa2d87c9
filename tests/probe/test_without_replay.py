"""Models that are given their labels, and losses that can't be replayed: what is judged all the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstfault
from firstfault.finding import Status
from firstfault.subject.baselines import baselines
from firstfault.subject.subject import Subject
from firstfault.training.one_tensor import Rows, inputs_of_call


class Tagger(nn.Module):
    """Tokens `(N, T)` to logits `(N, T, 7)`, and their loss where labels are given.

    `fed` lets the labels in, as a decoder does.
    """

    def __init__(self, fed=False):
        super().__init__()
        self.fed, self.embed, self.read, self.head = (
            fed,
            nn.Embedding(7, 16),
            nn.GRU(16, 16, batch_first=True),
            nn.Linear(16, 7),
        )

    def forward(self, tokens, labels=None, scale=1.0):
        hidden, _ = self.read(self.embed(tokens) + (self.embed(labels) if self.fed else 0.0))
        logits = self.head(hidden) * scale
        return logits, functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


class Sampler(nn.Module):
    """An autoencoder that draws its code; `axis` is that of the softmax on the code."""

    def __init__(self, axis):
        super().__init__()
        self.axis, self.code, self.out = axis, nn.Linear(12, 8), nn.Linear(8, 12)

    def forward(self, x):
        return self.out(self.code(x).softmax(self.axis))


def watch(folder, model, loss_of, batches, *, clears=True):
    """Train for some steps under the watch."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with firstfault.watch(folder=folder) as watched:
        for batch in batches:
            if clears:
                optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
    return watched


def tokens(count=40):
    """Batches of tokens, each to be told the token before it."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = torch.randint(0, 7, (16, 10), generator=generator)
        yield x, x.roll(1, 1)


def statuses(watched):
    """The statuses of each check of the model."""
    return {
        finding.check: finding.status
        for layer in watched.verdict(swaps=False).layers
        if layer.layer == "model"
        for finding in layer.findings
    }


def test_a_model_that_is_given_its_labels_is_replayed_without_them(tmp_path):
    """By position or by name, beside a setting; the user's own model takes its labels as before."""
    torch.manual_seed(0)
    model = Tagger()
    watched = watch(tmp_path, model, lambda model, batch: model(batch[0], labels=batch[1], scale=1.0)[1], tokens())
    assert watched.subject.recipe.task == "language_model" and watched.verdict().status == "healthy"
    assert statuses(watched)["one_batch_overfit"] != Status.SKIPPED
    assert model(*next(tokens()))[1].ndim == 0 and "forward" not in vars(model)


def test_gradients_that_add_up_are_confirmed_on_its_replay(tmp_path):
    """A missing zero_grad in such a loop is named, in the layer training."""
    torch.manual_seed(0)
    watched = watch(tmp_path, Tagger(), lambda model, batch: model(*batch)[1], tokens(), clears=False)
    assert watched.verdict(swaps=False).faults[0].fault == "missing_zero_grad"


def test_labels_that_the_answers_depend_on_are_inputs(tmp_path):
    """A decoder that is fed its labels is replayed with them."""
    watched = watch(tmp_path, Tagger(fed=True), lambda model, batch: model(*batch)[1], tokens())
    recipe = watched.subject.recipe
    assert recipe.task == "language_model" and isinstance(inputs_of_call(recipe.model()), Rows)


def test_a_crash_of_such_a_loop_is_still_its_finding(tmp_path):
    """What raised is named, though nothing can be replayed."""
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with pytest.raises(KeyError), firstfault.watch(folder=tmp_path) as watched:
        for x, y in tokens():
            optimizer.zero_grad()
            model(x, y)[0].cosh().log().mean().backward()
            optimizer.step()
        raise KeyError("after the last batch")
    assert "can't be replayed" in str(watched.subject.memos.peek(Subject.recipe_and_classes))
    assert any(
        finding.check == "training_crash" and finding.status == Status.FAIL
        for layer in watched.verdict(swaps=False).layers
        for finding in layer.findings
    )


@pytest.mark.parametrize(
    ("axis", "fault"), [(0, "softmax_wrong_axis"), (1, None)], ids=["over the batch", "over the code"]
)
def test_a_loss_by_hand_leaves_the_answers_of_the_model_to_be_judged(tmp_path, axis, fault):
    """What needs no labels is looked at; what needs them is skipped with the reason."""
    torch.manual_seed(0)
    rows = torch.randn(40, 32, 12, generator=torch.Generator().manual_seed(1))
    watched = watch(tmp_path, Sampler(axis), lambda model, x: (model(x) - x).cosh().log().mean(), rows)
    found = watched.verdict(swaps=False)
    assert (found.faults[0].fault if found.faults else None) == fault
    skipped = [
        finding.message
        for layer in found.layers
        if layer.layer == "model"
        for finding in layer.findings
        if finding.status == Status.SKIPPED
    ]
    assert any("no loss function of torch was called" in message for message in skipped)


def test_what_is_only_suspected_of_such_a_model_is_undecided(tmp_path):
    """A softmax into a linear layer may be meant, and no replay can test it: it is no fault, and not healthy."""
    torch.manual_seed(0)
    rows = torch.randn(40, 32, 12, generator=torch.Generator().manual_seed(1))
    watched = watch(tmp_path, Sampler(1), lambda model, x: (model(x) - x).cosh().log().mean(), rows)
    assert statuses(watched)["saturating_activation"] == Status.FAIL and watched.verdict().status == "undecided"


class Variational(nn.Module):
    """An autoencoder that draws its code in both modes, and returns what its two losses need."""

    def __init__(self):
        super().__init__()
        self.inner, self.mean, self.spread, self.out = (
            nn.Linear(12, 32),
            nn.Linear(32, 3),
            nn.Linear(32, 3),
            nn.Linear(3, 12),
        )

    def forward(self, x):
        hidden = torch.relu(self.inner(x))
        mean, spread = self.mean(hidden), self.spread(hidden)
        return self.out(mean + torch.randn_like(mean) * (spread / 2).exp()), mean, spread


def test_a_sum_of_losses_and_a_drawn_code_are_no_fault(tmp_path):
    """A variational autoencoder is healthy, and what it answers is looked at."""

    def loss_of(model, x):
        again, mean, spread = model(x)
        return functional.mse_loss(again, x) - 0.01 * (1 + spread - mean**2 - spread.exp()).mean()

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(150, 64, 3, generator=generator) @ torch.randn(3, 12, generator=generator)
    watched = watch(tmp_path, Variational(), loss_of, rows)
    assert watched.verdict(swaps=False).status == "healthy" and statuses(watched)["batch_mixing"] != Status.SKIPPED


LOSSES = {
    "mse_loss": lambda outputs, y: ((outputs.squeeze(1) - y) ** 2).mean(),
    "mse_loss by two": lambda outputs, y: (y - outputs[:, 0]).pow(2).sum() / 128,
    "l1_loss": lambda outputs, y: torch.abs(outputs.squeeze() - y).mean(),
}


def line(count=60):
    """Batches of rows with the number that a line gives them."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        x = torch.randn(64, 5, generator=generator)
        yield x, x.sum(1) + 3


@pytest.mark.parametrize("name", LOSSES)
def test_errors_that_a_loop_writes_out_are_replayed(tmp_path, name):
    """The labels are those that were subtracted; the loss is the function of torch of the same value."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
    watched = watch(tmp_path, model, lambda model, batch: LOSSES[name](model(batch[0]), batch[1]), line())
    capture, (x, y) = watched.capture, next(line())
    assert (
        capture.why_not == ""
        and capture.loss_name.startswith(name.split()[0])
        and torch.allclose(capture.y[0], y, atol=1e-5)
    )
    assert (
        torch.equal(capture.x[0], x)
        and watched.subject.recipe.task == "regression"
        and watched.verdict().status == "healthy"
    )


def test_a_rate_that_is_too_high_for_written_out_errors_is_confirmed(tmp_path):
    """The replay recovers at a lower rate."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
    with firstfault.watch(folder=tmp_path) as watched:
        optimizer = torch.optim.Adam(model.parameters(), 3.0)
        for x, y in line():
            optimizer.zero_grad()
            ((model(x).squeeze(1) - y) ** 2).mean().backward()
            optimizer.step()
    best = watched.verdict().faults[0]
    assert best.fault == "learning_rate_too_high" and best.confirmed


def test_a_loss_asked_aside_is_none_of_the_loops(tmp_path):
    """What a script asks in a block that the watch does not notice stands in no replay's way."""
    model, x, y = nn.Linear(4, 3), torch.randn(64, 4), torch.randint(0, 3, (64,))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            with watched.aside():
                functional.cross_entropy(2 * model(x), y)
            loss.backward()
            optimizer.step()
    assert watched.capture.samples == 128 and not watched.capture.why_not


@pytest.mark.parametrize("ignored", [-100, 6])
def test_what_a_loss_leaves_out_is_no_part_of_the_score(ignored, tmp_path):
    """Four fifths of the positions are padding, of which nothing is asked: neither answers nor constants are scored."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 16), nn.Linear(16, 7))

    def loss_of(model, batch):
        asked = torch.where(torch.arange(10) < 2, (batch + 1) % 5, ignored)
        return functional.cross_entropy(model(batch).flatten(0, 1), asked.flatten(), ignore_index=ignored)

    batches = [torch.randint(0, 5, (16, 10), generator=torch.Generator().manual_seed(step)) for step in range(80)]
    subject = watch(tmp_path, model, loss_of, batches).subject
    assert subject.trained.score == 1.0 and baselines(subject).prior < 0.4


@pytest.mark.parametrize(("told", "status"), [(0.0, Status.FAIL), (1.0, Status.PASS)], ids=["constant", "learnt"])
def test_a_constant_is_that_of_each_output(told, status, tmp_path):
    """Outputs that end as the means of their own targets have learnt nothing, however far these means lie apart."""
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(256, 4)
    y = torch.randn(256, 3) + 3 * torch.arange(3) + 3 * told * x[:, :3]
    optimizer = torch.optim.Adam(model.parameters(), 0.3)
    with firstfault.watch(folder=tmp_path) as watched:
        for step in range(120):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(told * x), y) + step
            loss.backward()
            optimizer.step()
    found = [finding for report in watched.verdict(swaps=False).layers for finding in report.findings]
    assert [finding.status for finding in found if finding.check == "no_better_than_constant"] == [status]
