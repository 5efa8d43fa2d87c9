"""What torch's loss functions are given is counted by place and step, whatever the loss is."""

import math

import pytest
import torch
from torch.nn import functional

from firstfault.probe.answers import VALIDATION, Answers


@pytest.fixture
def counted():
    """Ask for a loss inside of a step, and get the only site."""

    def count(name, outputs, target, **settings):
        answers = Answers(lambda: 4)
        undo = answers.patches()
        try:
            with torch.enable_grad():
                getattr(functional, name)(outputs, target, **settings)
        finally:
            for take_back in undo:
                take_back()
        ((place, site),) = answers.sites.items()
        assert place.startswith(f"{name} at {__file__}:") and list(site["steps"]) == [5]
        return site["kind"], site["steps"][5], site["labels"]

    return count


def test_classes_that_are_right(counted):
    """One of three, where one label more is left out."""
    outputs = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [math.nan, 2.0]])
    assert counted("cross_entropy", outputs, torch.tensor([0, 1, -100, 1])) == ("classes", [1.0, 3.0], {0: 1, 1: 2})
    kind, row, _ = counted("cross_entropy", outputs, torch.tensor([0, 1, 7, 1]), ignore_index=7)
    assert (kind, row) == ("classes", [1.0, 3.0])


def test_classes_of_pixels_and_shares_of_classes(counted):
    """The axis of the classes is the second; the largest share is the class."""
    outputs = torch.zeros(2, 3, 4, 4)
    outputs[:, 1] = 1
    assert counted("cross_entropy", outputs, torch.ones(2, 4, 4, dtype=torch.long))[1] == [32.0, 32.0]
    assert counted("cross_entropy", outputs[..., 0, 0], torch.tensor([[0.1, 0.8, 0.1], [0.9, 0.1, 0]]))[1] == [1.0, 2.0]


def test_yes_and_no(counted):
    """Right, all, and the true, false and missed yeses; NaN is neither."""
    outputs, target = torch.tensor([3.0, 3.0, -3.0, -3.0, math.nan]), torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    kind, row, labels = counted("binary_cross_entropy_with_logits", outputs, target)
    assert (kind, row, labels) == ("yes_no", [2.0, 5.0, 1.0, 1.0, 2.0], {1: 3, 0: 2})


@pytest.mark.parametrize("shape", [(4, 1), (4,)])
def test_numbers_that_belong_together(counted, shape):
    """Squared errors of pairs, also where shapes would broadcast."""
    outputs, target = torch.tensor([1.0, 2.0, 3.0, 5.0]).reshape(shape), torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert counted("mse_loss", outputs, target)[:2] == ("numbers", [1.0, 4.0, 10.0, 30.0])


def test_a_validation_is_counted_by_itself():
    """Calls without gradients have a place of their own."""
    answers = Answers(lambda: 0)
    undo = answers.patches()
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            functional.mse_loss(torch.zeros(2), torch.zeros(2))
    for take_back in undo:
        take_back()
    assert [place.endswith(VALIDATION) for place in answers.sites] == [False, True]
