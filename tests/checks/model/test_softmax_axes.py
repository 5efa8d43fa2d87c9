"""Softmax over an axis that its result is not used over: of the classes in the loss, and of attention by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstfault import Training
from firstfault.faults import EXPLAINS
from firstfault.finding import Status


class Tagger(nn.Module):
    """A GRU with log-probabilities per position, by one axis or another."""

    def __init__(self, axis):
        super().__init__()
        self.words, self.cells, self.head, self.axis = (
            nn.Embedding(9, 8),
            nn.GRU(8, 8, batch_first=True),
            nn.Linear(8, 4),
            axis,
        )

    def forward(self, x):
        h = self.head(self.cells(self.words(x))[0])
        return h if self.axis is None else F.log_softmax(h, self.axis)


def tokens_loss(outputs, y):
    return F.nll_loss(outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1))


@pytest.fixture
def tagged():
    """Token ids, and a class for each."""
    x = np.random.default_rng(0).integers(0, 9, (80, 6))
    return x, x % 4


def test_log_softmax_over_the_positions_is_the_wrong_axis(make, only, tagged):
    """The classes of a position are to sum to 1, whatever follows it."""
    faulty, sound = (
        make(tagged, model=lambda axis=axis: Tagger(axis), training=Training(loss=tokens_loss)) for axis in (1, 2)
    )
    assert only("classes_normalised", faulty).faults == {"softmax_wrong_axis": 0.97}
    assert only("classes_normalised", sound).status is Status.PASS


def test_a_softmax_within_the_loss_is_followed_too(make, only, tagged):
    """Logits of a loss that normalises them itself, by one axis or another."""
    faulty, sound = (
        make(
            tagged,
            model=lambda: Tagger(None),
            training=Training(loss=lambda outputs, y, axis=axis: tokens_loss(outputs.log_softmax(axis), y)),
        )
        for axis in (1, -1)
    )
    assert only("classes_normalised", faulty).status is Status.FAIL
    assert only("classes_normalised", sound).status is Status.PASS


def test_the_wrong_axis_explains_what_it_brings_about():
    """A softmax over positions shows each one the later ones, and leaves no distribution over the classes."""
    assert {"missing_causal_mask", "missing_output_activation"} <= EXPLAINS["softmax_wrong_axis"]


class ByHand(nn.Module):
    """Attention of positions over positions; `weigh(scores, values)` gives what is seen."""

    def __init__(self, weigh):
        super().__init__()
        self.inner, self.out, self.weigh = nn.Linear(2, 8), nn.Linear(8, 2), weigh

    def forward(self, x):
        h = self.inner(x)
        return self.out(self.weigh(h @ h.transpose(1, 2), h).amax(1))


def slots(scores, values):
    weights = scores.softmax(1)
    return (weights / weights.sum(-1, keepdim=True)) @ values


WRONG = {
    "queries": lambda scores, values: scores.softmax(1) @ values,
    "dropped": lambda scores, values: torch.bmm(F.dropout(torch.softmax(scores, dim=-2), 0.1, False), values),
    "einsum": lambda scores, values: torch.einsum("bqk,bkd->bqd", F.softmax(scores, 1), values),
}
RIGHT = {
    "keys": lambda scores, values: scores.softmax(-1) @ values,
    "transposed": lambda scores, values: (values.mT @ scores.softmax(-1).mT).mT,
    "first axis of keys": lambda scores, values: scores.softmax(1).transpose(1, 2) @ values,
    "einsum": lambda scores, values: torch.einsum("bkq,bkd->bqd", scores.softmax(1), values),
    "slots": slots,
    "context and question": lambda scores, values: scores.softmax(2) @ (scores.softmax(1).mT @ values),
}


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_do_not_sum_to_one_over_what_is_summed_are_found(make, only, kind):
    """However the product is written."""
    subject = make(
        (np.random.default_rng(1).normal(size=(40, 5, 2)).astype(np.float32), np.arange(40) % 2),
        model=lambda: ByHand(WRONG[kind]),
    )
    assert only("weights_of_keys", subject).faults == {"softmax_wrong_axis": 0.95}


@pytest.mark.parametrize("kind", RIGHT)
def test_attention_over_the_axis_that_is_summed_is_sound(make, only, kind):
    """Nor are weights that are normalised again."""
    subject = make(
        (np.random.default_rng(2).normal(size=(40, 6, 2)).astype(np.float32), np.arange(40) % 2),
        model=lambda: ByHand(RIGHT[kind]),
    )
    assert only("weights_of_keys", subject).status in (Status.PASS, Status.SKIPPED)
