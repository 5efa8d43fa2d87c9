"""The user's own `fit`, varied on a replay of what was captured of it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from firstfault.ablation.confirm.confirm import confirm
from firstfault.errors import Missing
from firstfault.subject.replay import replayed
from firstfault.training.loop import train


def loop(
    rate=1e-2,
    epochs=6,
    *,
    sign=1.0,
    change=lambda x: x,
    labels=lambda y: y,
    loss="cross_entropy",
    gamma=1.0,
    kind=torch.optim.Adam,
):
    """A training loop as users write it; `loss` is a function, or the name of one of torch's."""

    def fit(model, batches, held_out):
        optimizer = kind(model.parameters(), lr=rate)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
        for _ in range(epochs):
            model.train()
            for x, y in batches:
                optimizer.zero_grad()
                (
                    sign * (loss if callable(loss) else getattr(nn.functional, loss))(model(change(x)), labels(y))
                ).backward()
                optimizer.step()
            scheduler.step()

    return fit


def outcome_of(subject, report):
    return confirm(subject, report, budget_seconds=60.0)[0]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_fit_is_replayed_step_by_step(subject_of, kind):
    """The same loss, optimizer, rates and epochs on the same batches give the same model."""
    subject = subject_of(fit=loop(gamma=0.7, kind=kind))
    trained = subject.trained
    again = train(replayed(subject))
    for mine, theirs in zip(again.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_low_rate_inside_a_fit_is_confirmed(subject_of, suspect):
    """The rate that the loop sets itself is varied on its replay."""
    subject = subject_of(fit=loop(1e-5))
    subject.get("trained")
    outcome = outcome_of(subject, suspect({"learning_rate_too_low": 0.7}))
    assert outcome.confirmed is True and outcome.swap.before < 0.6 and outcome.swap.after > 0.85


def test_a_fit_that_no_check_has_looked_at_is_observed_first(subject_of, suspect):
    """A suspicion of the model comes before the training's checks: the rate can be varied on a replay all the same."""
    outcome = outcome_of(subject_of(fit=loop(1e-5)), suspect({"learning_rate_too_low": 0.7}))
    assert outcome.confirmed is True


def test_a_healthy_fit_is_acquitted(subject_of, suspect):
    """A suspicion against a sound loop is refuted."""
    subject = subject_of(fit=loop())
    subject.get("trained")
    assert outcome_of(subject, suspect({"learning_rate_too_low": 0.7})).confirmed is False


def test_a_flipped_sign_is_undone_in_the_replay(subject_of, suspect):
    """By another loss, or by a sound loop in place of the fit."""
    subject = subject_of(fit=loop(sign=-1.0))
    subject.get("trained")
    assert outcome_of(subject, suspect({"flipped_loss_sign": 0.8})).confirmed is True


def test_a_loop_that_does_what_is_not_captured_is_not_varied(subject_of, suspect):
    """A replay that comes out better than the fit proves nothing about its settings."""
    trains = loop()

    def fit(model, batches, held_out):
        trains(model, batches, held_out)
        with torch.no_grad():
            for value in model.parameters():
                value.zero_()

    subject = subject_of(fit=fit)
    subject.get("trained")
    low = outcome_of(subject, suspect({"learning_rate_too_low": 0.5}))
    assert low.confirmed is None and "not captured" in low.reason


def test_batches_that_the_loop_changes_are_the_data_of_the_replay(subject_of, suspect):
    """What the model was given is what is replayed."""
    subject = subject_of(fit=loop(1e-5, change=lambda x: 3 * x))
    subject.get("trained")
    recipe = replayed(subject)
    assert torch.equal(recipe.train.x[0], subject.capture.x[0][0])
    assert float(recipe.train.x.std()) == pytest.approx(3 * float(subject.recipe.train.x.std()), rel=0.1)


def test_labels_in_another_form_reach_the_loss_as_the_loop_gave_them(subject_of, suspect):
    """One-hot floats for class ids."""
    one_hot = lambda y: nn.functional.one_hot(y, 3).float()  # noqa: E731
    subject = subject_of(fit=loop(1e-5, labels=one_hot, loss="binary_cross_entropy_with_logits"))
    subject.get("trained")
    assert outcome_of(subject, suspect({"learning_rate_too_low": 0.7})).confirmed is True


def test_a_loss_of_the_users_own_cannot_be_replayed(subject_of, suspect):
    """What torch's loss functions are not asked for is not known, unless the target declares it."""
    own = lambda outputs, y: -outputs.log_softmax(-1)[range(len(y)), y].mean()  # noqa: E731
    subject = subject_of(fit=loop(loss=own), loss=None)
    subject.get("trained")
    outcome = outcome_of(subject, suspect({"learning_rate_too_low": 0.7}))
    assert outcome.confirmed is None and "replayed" in outcome.reason


def test_what_was_not_trained_is_not_replayed(subject_of):
    """There is nothing to replay before the target was trained."""
    with pytest.raises(Missing, match="not observed"):
        replayed(subject_of(fit=partial(loop())))
