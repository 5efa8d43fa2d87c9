"""Every fault of the training in programs of several kinds: suspected first, and absent from what resembles it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from firstfault.check import Depth
from firstfault.faults import EXPLAINS, FAULTS, SYMPTOMS
from firstfault.finding import Layer
from firstfault.standing import PROOF

EVERY = ("mlp", "cnn", "rnn", "encoder", "causal", "autoencoder", "regression", "binary", "multilabel")
CROSS, SGD, ADAM = F.cross_entropy, torch.optim.SGD, torch.optim.Adam


def momentum(values, lr):
    return SGD(values, lr, momentum=0.9)


def maximising(values, lr):
    return ADAM(values, lr, maximize=True)


def decayed(kind, decay):
    """An optimizer with weight decay."""
    return lambda values, lr: kind(values, lr, weight_decay=decay)


def by_token(outputs, y):
    return F.cross_entropy(outputs.flatten(0, 1), y.flatten())


def one_logit(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs.reshape(len(y)), y.float())


def negated(loss):
    return lambda outputs, y: -loss(outputs, y)


def against_ids(outputs, y):
    """The distance of every logit from the number of the class."""
    return ((outputs - y[:, None].float()) ** 2).mean()


def of_answers(outputs, y):
    """The distance of the class that is answered: it has no slope."""
    return F.mse_loss(outputs.argmax(1).float() + 0 * outputs.sum(), y.float())


def of_mean_logit(outputs, y):
    return F.mse_loss(outputs.mean(-1), y.float())


def summed_squares(outputs, y):
    return ((outputs - y) ** 2).sum()


def summed_logits(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs.reshape(len(y)), y.float(), reduction="sum")


def brier(outputs, y):
    """The squared distance of probabilities from the labels, summed over the classes: a proper loss."""
    return ((outputs.softmax(1) - F.one_hot(y, 3)) ** 2).sum(1).mean()


def loop(
    loss,
    *,
    rate=1e-2,
    epochs=8,
    optimizer=ADAM,
    zero=True,
    accumulate=1,
    switch=True,
    clip=None,
    only="",
    seen=("train",),
    schedule=None,
    by_batch=False,
    patience=None,
    better=lambda new, best: new < best,
    scaled_at=0,
):
    """A loop as users write it, with early stopping where there is a patience; one step may scale the last weights."""

    def fit(model, train, validation):
        updates = optimizer([value for name, value in model.named_parameters() if only in name], lr=rate)
        scheduler = schedule(updates) if schedule else None
        best, waited, step = None, 0, 0
        for _ in range(epochs):
            model.train()
            for part in seen:
                for x, y in train if part == "train" else validation:
                    step += 1
                    if zero and step % accumulate == 1 % accumulate:
                        updates.zero_grad()
                    loss(model(x), y).backward()
                    if step % accumulate:
                        continue
                    if clip is not None:
                        nn.utils.clip_grad_norm_(model.parameters(), clip)
                    if step == scaled_at:
                        list(model.parameters())[-2].data.mul_(1e5)
                    updates.step()
                    if scheduler and by_batch:
                        scheduler.step()
            if scheduler and not by_batch:
                scheduler.step()
            if switch:
                model.eval()
            with torch.no_grad():
                value = sum(float(loss(model(x), y)) for x, y in validation)
            best, waited = (value, 0) if best is None or better(value, best) else (best, waited + 1)
            if patience is not None and waited >= patience:
                break

    return fit


def split(X, y, kept):
    """Those rows for training, the others for validation and test."""
    rest = np.setdiff1d(np.arange(len(y)), kept)
    return {"train": (X[kept], y[kept]), "validation": (X[rest], y[rest]), "test": (X[rest], y[rest])}


def in_order(X, y):
    """Training rows by label."""
    kept = np.random.default_rng(0).permutation(len(y))[:280]
    return split(X, y, kept[np.argsort(y[kept] if y.ndim == 1 else y[kept, 0], kind="stable")])


def as_they_come(X, y):
    return split(X, y, np.arange(280))


def to_be_memorised(X, y):
    """Sixty training rows with random labels."""
    kept, rng = np.arange(60), np.random.default_rng(0)
    parts = split(X, y, kept)
    return parts | {"train": (X[kept], rng.integers(0, int(y.max()) + 1, 60))}


def sigmoids():
    """Fifteen layers of sigmoids."""
    return nn.Sequential(
        nn.Linear(6, 16), *[part for _ in range(14) for part in (nn.Sigmoid(), nn.Linear(16, 16))], nn.Linear(16, 3)
    )


def squares(model):
    return 20 * sum((value**2).sum() for value in model.parameters())


def light_squares(model):
    return 1e-4 * sum((value**2).sum() for value in model.parameters())


def first_column(outputs, y):
    """Accuracy of the arg max of one column, which is always 0."""
    return float(np.mean(outputs[..., :1].argmax(-1) == y))


def a_half(outputs, y):
    return 0.5


def loss_as_metric(outputs, y):
    """Lower is better, which is the wrong way round."""
    return float(F.cross_entropy(torch.as_tensor(outputs), torch.as_tensor(y).long()))


def top_two(outputs, y):
    """The share of samples whose class is among the first two answers."""
    return float(np.mean((outputs.argsort(1)[:, -2:] == y[:, None]).any(1)))


TINY = {"batch_size": 2, "optimizer": momentum, "rate": 0.2, "epochs": 1}
HIGH, LOW, BRIEF = {"rate": 3.0}, {"rate": 1e-6}, {"epochs": 1, "batch_size": 48, "rate": 3e-3}
PLANTED = {
    "learning_rate_too_high": [
        ("mlp", HIGH),
        ("autoencoder", HIGH),
        ("causal", {"rate": 1.0}),
        ("regression", {"rate": 5.0, "optimizer": SGD}),
    ],
    "learning_rate_too_low": [("cnn", LOW), ("encoder", LOW | {"epochs": 4}), ("multilabel", LOW)],
    "too_few_epochs": [("binary", BRIEF), ("rnn", BRIEF), ("causal", BRIEF)],
    "batch_size_too_large": [(kind, {"batch_size": 280, "epochs": 4}) for kind in ("mlp", "regression", "causal")],
    "batch_size_too_small": [
        ("cnn", {"batch_size": 4, "optimizer": momentum, "rate": 0.3, "epochs": 1}),
        ("binary", TINY),
    ],
    "wrong_loss": [
        ("cnn", {"loss": against_ids}),
        ("rnn", {"loss": of_answers, "epochs": 4}),
        ("multilabel", {"loss": nn.CrossEntropyLoss()}),
        ("regression", {"loss": nn.BCEWithLogitsLoss(), "epochs": 4}),
        ("causal", {"loss": of_mean_logit, "epochs": 3}),
        ("mlp", {"fit": loop(lambda outputs, y: F.mse_loss(outputs, y[:, None].float().expand_as(outputs)))}),
    ],
    "wrong_loss_reduction": [
        ("mlp", {"loss": nn.CrossEntropyLoss(reduction="sum"), "optimizer": SGD, "rate": 0.3}),
        ("regression", {"loss": summed_squares, "optimizer": SGD, "rate": 0.1}),
        ("binary", {"fit": loop(summed_logits, optimizer=SGD, rate=3.0, epochs=4)}),
    ],
    "flipped_loss_sign": [
        ("causal", {"loss": negated(by_token), "epochs": 3}),
        ("multilabel", {"loss": negated(F.binary_cross_entropy_with_logits), "epochs": 4}),
        ("rnn", {"optimizer": maximising}),
        ("encoder", {"fit": loop(negated(CROSS), epochs=4)}),
        ("autoencoder", {"fit": loop(F.mse_loss, optimizer=maximising, epochs=4)}),
    ],
    "wrong_optimizer": [
        ("cnn", {"optimizer": torch.optim.Adadelta, "rate": 1e-3}),
        ("regression", {"optimizer": SGD, "rate": 1e-4, "epochs": 4}),
    ],
    "missing_zero_grad": [
        ("cnn", {"fit": loop(CROSS, zero=False, epochs=3)}),
        ("regression", {"fit": loop(F.mse_loss, zero=False, optimizer=SGD)}),
    ],
    "parameters_not_in_optimizer": [
        ("rnn", {"fit": loop(CROSS, only="head", epochs=4)}),
        ("autoencoder", {"fit": loop(F.mse_loss, only="5.")}),
    ],
    "gradient_clipped_away": [
        ("causal", {"clip_norm": 0.0, "epochs": 3}),
        ("cnn", {"fit": loop(CROSS, clip=1e-6, optimizer=SGD, epochs=4)}),
        ("multilabel", {"fit": loop(F.binary_cross_entropy_with_logits, clip=1e-5, optimizer=SGD)}),
    ],
    "exploding_gradient": [("mlp", {"fit": loop(CROSS, optimizer=SGD, rate=1e-9, epochs=6, scaled_at=20)})],
    "vanishing_gradient": [("mlp", {"model": sigmoids, "epochs": 3})],
    "over_regularised": [
        ("mlp", {"penalty": squares}),
        ("cnn", {"optimizer": decayed(SGD, 1.0), "rate": 0.05}),
        ("regression", {"optimizer": decayed(torch.optim.AdamW, 50.0)}),
    ],
    "overfitting": [
        ("mlp", {"arrange": to_be_memorised, "epochs": 60, "rate": 2e-2}),
        ("cnn", {"arrange": to_be_memorised, "epochs": 20, "rate": 2e-2}),
    ],
    "no_shuffle": [
        (kind, {"arrange": in_order, "shuffle": False, "epochs": 3}) for kind in ("cnn", "regression", "multilabel")
    ],
    "scheduler_misuse": [
        ("mlp", {"scheduler": lambda updates: lr_scheduler.StepLR(updates, 1, 0.01)}),
        (
            "encoder",
            {
                "fit": loop(
                    CROSS, epochs=4, schedule=lambda updates: lr_scheduler.ExponentialLR(updates, 0.5), by_batch=True
                )
            },
        ),
    ],
    "missing_eval_mode": [
        ("cnn", {"fit": loop(CROSS, switch=False, epochs=2)}),
        ("causal", {"fit": loop(by_token, switch=False, epochs=2)}),
    ],
    "validation_contamination": [
        ("encoder", {"fit": loop(CROSS, seen=("train", "validation"), epochs=4)}),
        ("regression", {"fit": loop(F.mse_loss, seen=("train", "validation"), epochs=4)}),
    ],
    "metric_mismatch": [
        ("regression", {"metric": "accuracy"}),
        ("multilabel", {"metric": a_half, "epochs": 2}),
        ("causal", {"metric": first_column, "epochs": 2}),
        ("cnn", {"metric": loss_as_metric, "epochs": 2}),
    ],
    "early_stopping_misconfigured": [
        ("mlp", {"fit": loop(CROSS, rate=1e-3, epochs=40, patience=2, better=lambda new, best: new > best)}),
        (
            "regression",
            {"fit": loop(F.mse_loss, rate=1e-3, epochs=40, patience=1, better=lambda new, best: new > best)},
        ),
    ],
    "stalled": [("binary", LOW)],
    "diverged": [("binary", {"optimizer": maximising, "epochs": 6})],
    "oscillating": [("binary", TINY)],
    "nonfinite_loss": [("autoencoder", {"optimizer": SGD, "rate": 20.0, "epochs": 4})],
}
DEEPER = ("early_stopping_misconfigured",)
OF_LANGUAGE = {"accumulation_normalisation", "adapter_empty", "packing_leak", "untrained_new_tokens"}
ELSEWHERE = {"input_bottleneck", "nonreproducible"} | OF_LANGUAGE
"""In test_rules (a record of waits), test_reproducibility, and tests/lm/test_watched_tuning."""
EXPLAINED = SYMPTOMS - {"vanishing_gradient"}  # whose causes the checks of the model find
DECIDED_BY_SWAPS = SYMPTOMS | {"wrong_optimizer", "batch_size_too_small"}
"""Causes that the record of one run can't put first, and symptoms, which come after their causes."""


@pytest.mark.parametrize(
    ("fault", "number"), [(fault, number) for fault, rows in PLANTED.items() for number in range(len(rows))]
)
def test_a_planted_fault_is_suspected_first(program, suspects, fault, number):
    """Of what it does not bring about, and nothing else is certain; a symptom comes with a cause as much suspected."""
    kind, parts = PLANTED[fault][number]
    found = suspects(program(kind, **parts), Depth.STANDARD if fault in DEEPER else Depth.QUICK)
    assert fault in found
    others = [name for name in found if name not in EXPLAINS.get(fault, frozenset()) | SYMPTOMS]
    assert fault in DECIDED_BY_SWAPS or others[0] == fault
    assert fault in DECIDED_BY_SWAPS or [name for name in others if found[name] >= PROOF] in ([], [fault])
    assert fault not in EXPLAINED or max(found[name] for name in found if fault in EXPLAINS.get(name, ())) >= min(
        found[fault], 0.75
    )


def test_every_fault_of_the_layer_is_planted_and_has_a_look_alike(planted_apart):
    """No id of the layer is without a planted fault, or without something sound that resembles it."""
    every = {fault for fault, kind in FAULTS.items() if kind.layer is Layer.TRAINING} - planted_apart
    assert {*PLANTED, *ELSEWHERE} == every
    assert {*LOOK_ALIKES, *ELSEWHERE} == every


@pytest.mark.parametrize("kind", EVERY)
def test_sound_programs_are_sound(program, suspects, kind):
    """Nothing is suspected, with firstfault's own loop."""
    assert suspects(program(kind)) == {}


class Continued(nn.Module):
    """A network that has been trained before: its weights give the answer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.head.weight.data = torch.eye(3, 6) * 4
        self.head.bias.data.zero_()

    def forward(self, x):
        return self.head(x)


def flat_start():
    """A network whose last layer begins with zeros."""
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))
    nn.init.zeros_(model[2].weight)
    return model


LOOK_ALIKES = {
    "learning_rate_too_high": [("mlp", {"model": flat_start, "optimizer": SGD, "rate": 0.5})],
    "learning_rate_too_low": [("mlp", {"model": Continued, "rate": 1e-5, "epochs": 3})],
    "too_few_epochs": [("mlp", {"epochs": 2, "batch_size": 4})],
    "batch_size_too_large": [("mlp", {"batch_size": 280, "epochs": 60, "rate": 3e-2})],
    "batch_size_too_small": [("binary", {"batch_size": 4, "epochs": 3})],
    "wrong_loss": [("mlp", {"loss": nn.MultiMarginLoss()}), ("regression", {"loss": nn.HuberLoss()})],
    "wrong_loss_reduction": [("mlp", {"loss": brier}), ("regression", {"fit": loop(summed_squares)})],
    "flipped_loss_sign": [("mlp", {"loss": negated(CROSS), "optimizer": maximising})],
    "wrong_optimizer": [("mlp", {"optimizer": torch.optim.RMSprop, "rate": 5e-3})],
    "missing_zero_grad": [("cnn", {"fit": loop(CROSS, accumulate=3, epochs=6)})],
    "parameters_not_in_optimizer": [("cnn", {"fit": loop(CROSS)})],
    "gradient_clipped_away": [
        ("causal", {"clip_norm": 0.1}),
        ("multilabel", {"fit": loop(F.binary_cross_entropy_with_logits, clip=0.05)}),
    ],
    "exploding_gradient": [("autoencoder", {"fit": loop(F.mse_loss, epochs=15)})],
    "vanishing_gradient": [("mlp", {"model": Continued, "rate": 1e-3})],
    "over_regularised": [
        ("binary", {"penalty": light_squares}),
        ("cnn", {"optimizer": decayed(torch.optim.AdamW, 0.1), "rate": 5e-3}),
    ],
    "overfitting": [("mlp", {"epochs": 20})],
    "no_shuffle": [(kind, {"arrange": as_they_come, "shuffle": False}) for kind in ("cnn", "multilabel")],
    "scheduler_misuse": [
        ("causal", {"scheduler": lambda updates: lr_scheduler.CosineAnnealingLR(updates, 6)}),
        (
            "mlp",
            {
                "fit": loop(
                    CROSS,
                    schedule=lambda updates: lr_scheduler.OneCycleLR(updates, 3e-2, total_steps=100),
                    by_batch=True,
                )
            },
        ),
    ],
    "missing_eval_mode": [("rnn", {"fit": loop(CROSS, switch=False, rate=2e-2)})],
    "validation_contamination": [("binary", {"fit": loop(one_logit)})],
    "metric_mismatch": [("mlp", {"metric": top_two}), ("multilabel", {"metric": "accuracy"})],
    "early_stopping_misconfigured": [("regression", {"fit": loop(F.mse_loss, epochs=30, patience=3)})],
    "stalled": [("mlp", {"model": Continued, "rate": 1e-7})],
    "diverged": [("binary", {"loss": negated(lambda outputs, y: -one_logit(outputs, y))})],
    "oscillating": [("cnn", {"batch_size": 8, "epochs": 2})],
    "nonfinite_loss": [("binary", {"optimizer": SGD, "rate": 1.0})],
}


@pytest.mark.parametrize(
    ("fault", "number"), [(fault, number) for fault, rows in LOOK_ALIKES.items() for number in range(len(rows))]
)
def test_what_looks_like_a_fault_and_is_none_passes(program, suspects, fault, number):
    """Nothing is suspected."""
    kind, parts = LOOK_ALIKES[fault][number]
    subject = program(kind, **parts)
    assert suspects(subject, Depth.STANDARD if fault in DEEPER else Depth.QUICK) == {}
