"""Faults of networks that attend over patches or padded rows, of LSTMs, and of outputs with the classes first.

Each has a sound twin.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from firstfault import Training
from firstfault.finding import Status
from firstfault.metrics import metric_of


class Patches(nn.Module):
    """A transformer over patches of 2 × 2, with a class token, with or without positions."""

    def __init__(self, places):
        super().__init__()
        self.cut, self.first = nn.Conv2d(1, 8, 2, stride=2), nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        self.places = nn.Parameter(torch.randn(1, 17, 8)) if places else None
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 10)

    def forward(self, x):
        h = self.cut(x.reshape(-1, 1, 8, 8)).flatten(2).transpose(1, 2)
        h = torch.cat([self.first.expand(len(h), -1, -1), h], 1)
        h = h if self.places is None else h + self.places
        return self.out((h + self.attention(h, h, h)[0])[:, 0])


def test_patches_without_positions_are_a_bag(make, only):
    """The order of the patches of a picture is seen by their positions alone."""
    x, y = np.random.default_rng(0).random((80, 1, 8, 8)).astype(np.float32), np.arange(80) % 10
    faulty, sound = (make((x, y), model=lambda places=places: Patches(places)) for places in (False, True))
    assert only("missing_positional_information", faulty).faults == {"missing_positional_information": 0.7}
    assert only("missing_positional_information", sound).status is Status.PASS


class Masked(nn.Module):
    """Attention over rows that token 0 fills up, and a mean over what is none."""

    def __init__(self, places):
        super().__init__()
        self.words, self.places = (
            nn.Embedding(20, 8, padding_idx=0),
            nn.Parameter(torch.randn(12, 8)) if places else None,
        )
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2)

    def forward(self, x):
        h, filled = self.words(x), x == 0
        h = h if self.places is None else h + self.places
        h = h + self.attention(h, h, h, key_padding_mask=filled)[0]
        return self.out((h * ~filled[..., None]).sum(1) / (~filled).sum(1, keepdim=True))


def padded(ordered, n=1800):
    """Rows of 5 to 12 tokens that rise, or that come in any order."""
    rng = np.random.default_rng(1)
    x, lengths = rng.integers(1, 20, (n, 12)), rng.integers(5, 13, n)
    y = (np.where(np.arange(12) < lengths[:, None], x, 0).sum(1) > 10 * lengths).astype(int)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = np.sort(row[:length]) if ordered else row[:length]
        row[length:] = 0
    return x, y


@pytest.mark.parametrize(
    ("ordered", "places", "status"), [(True, False, "fail"), (True, True, "pass"), (False, False, "warn")]
)
def test_positions_before_the_padding_are_permuted(make, only, ordered, places, status):
    """Rows that are filled up are looked at too, and may be sets."""
    subject = make(padded(ordered), model=lambda: Masked(places))
    assert only("missing_positional_information", subject).status.value == status


class Last(nn.Module):
    """An LSTM whose last state is classified."""

    def __init__(self, change):
        super().__init__()
        self.cells, self.out = nn.LSTM(3, 24, batch_first=True), nn.Linear(24, 2)
        for value in self.cells.parameters():
            change(value.data)

    def forward(self, x):
        return self.out(self.cells(x)[0][:, -1])


@pytest.fixture
def walks():
    return np.random.default_rng(2).normal(size=(60, 9, 3)).astype(np.float32), np.arange(60) % 2


def test_saturated_gates_of_an_lstm_are_found(make, only, walks):
    """Its states may be small while its gates are stuck."""
    faulty, sound = (
        make(walks, model=lambda scale=scale: Last(lambda value: value.mul_(scale))) for scale in (20.0, 1.5)
    )
    assert only("exploding_init", faulty).faults == {"exploding_init": 0.8}
    assert only("exploding_init", sound).status is Status.PASS


def test_a_constant_that_is_not_zero_is_a_suspicion(make, only, walks):
    """Though a random last layer parts the units; zeros are a custom of residual branches."""
    faulty, zero = (
        make(walks, model=lambda number=number: Last(lambda value: value.fill_(number))) for number in (0.1, 0.0)
    )
    assert only("constant_init", faulty).faults == {"constant_init": 0.6}
    assert only("constant_init", zero).status is Status.PASS


def test_outputs_with_the_classes_first_are_scored():
    """As cross entropy takes them: `(N, K, T)` of labels `(N, T)`."""
    y = np.random.default_rng(3).integers(0, 3, (20, 7))
    outputs = np.eye(3)[y]
    score = metric_of("classification", None)[1]
    assert score(outputs, y) == score(np.moveaxis(outputs, -1, 1), y) == 1.0
    assert score(np.moveaxis(np.roll(outputs, 1, -1), -1, 1), y) == 0.0


class TwoHeads(nn.Module):
    """A mean, and a variance."""

    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Linear(10, 8), nn.Linear(8, 2)

    def forward(self, x):
        mean, spread = self.out(torch.tanh(self.body(x))).unbind(1)
        return torch.stack([mean, nn.functional.softplus(spread) + 1e-3], 1)


def nll(outputs, y):
    return nn.functional.gaussian_nll_loss(outputs[:, 0], y.reshape(-1), outputs[:, 1])


def fit_of_the_mean(outputs, y):
    return 1 - float(
        ((outputs if outputs.ndim < 2 else outputs[:, 0]).reshape(-1) - y.reshape(-1)).__pow__(2).mean() / y.var()
    )


@pytest.mark.parametrize(("sign", "status"), [(-1, Status.FAIL), (1, Status.PASS)])
def test_the_sign_of_a_loss_of_other_outputs_shows_in_the_run(make, only, sign, status):
    """It falls without bound while the model gets worse."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 10)).astype(np.float32)
    y = (x[:, 0] + 0.3 * rng.normal(size=200)).astype(np.float32)
    training = Training(
        loss=lambda outputs, labels: sign * nll(outputs, labels),
        metric=fit_of_the_mean,
        epochs=12,
        batch_size=20,
        optimizer=partial(torch.optim.Adam, lr=0.03),
    )
    assert (
        only("flipped_loss_sign", make((x, y), task="regression", model=TwoHeads, training=training)).status is status
    )
