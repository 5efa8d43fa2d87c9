"""A swap acquits a fault only where it would have shown a repair."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.confirm.rules import Rules
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer
from firstfault.subject.subject import Subject

SLOW = partial(torch.optim.SGD, lr=1e-4)


def noise(n=300, classes=2, seed=0):
    """Inputs with labels that have nothing to do with them."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, 8)).astype(np.float32), random.integers(0, classes, n)


def images(n=500):
    """Pictures of noise with labels that have nothing to do with them."""
    random = np.random.default_rng(1)
    return random.normal(size=(n, 1, 6, 6)).astype(np.float32), random.integers(0, 2, n)


def test_clean_labels_that_are_not_learnt_either_acquit_no_labels(subject_of, suspect):
    """A training of one slow epoch learns nothing, whatever the labels are."""
    outcome = confirm(subject_of(data=noise(), optimizer=SLOW, epochs=1), suspect({"random_labels": 0.55}, Layer.DATA))[
        0
    ]
    assert (outcome.confirmed, outcome.undecided) == (None, True) and "not learnt either" in outcome.reason


@pytest.mark.parametrize("settings", [{}, {"optimizer": partial(torch.optim.SGD, lr=0.1), "epochs": 20}])
def test_labels_that_are_learnt_are_acquitted(subject_of, suspect, settings):
    """Where the target does better than guessing, its labels are no noise."""
    outcome = confirm(subject_of(**settings), suspect({"random_labels": 0.55}, Layer.DATA))[0]
    assert (outcome.confirmed, outcome.undecided) == (False, False)


@pytest.mark.parametrize(("without", "blamed"), [((), False), (("labels_of_a_guess",), True)])
def test_labels_that_are_learnt_in_part_are_not_random(subject_of, suspect, without, blamed):
    """Clean labels are learnt better than those of classes that overlap: that alone is no evidence against these."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 600)
    X = (random.normal(size=(600, 8)) + 0.25 * (2 * y[:, None] - 1)).astype(np.float32)
    subject = subject_of(data=(X, y), epochs=12, model=lambda: nn.Linear(8, 2))
    outcome = confirm(subject, suspect({"random_labels": 0.55}, Layer.DATA), rules=Rules(without))[0]
    assert outcome.confirmed is blamed


@pytest.mark.parametrize(
    "model", [lambda: nn.Linear(8, 5), lambda: nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5))]
)
def test_nothing_is_acquitted_in_a_training_that_learns_nothing(subject_of, suspect, model):
    """Something else may hold it down, as a rate of nearly 0 does here: the suspicion neither stands nor falls."""
    random = np.random.default_rng(0)
    data = random.normal(size=(600, 8)).astype(np.float32)
    labels = (data @ random.normal(size=(8, 5))).argmax(1)
    subject = subject_of(data=(data, labels), model=model, optimizer=partial(torch.optim.SGD, lr=1e-9), epochs=2)
    outcome = confirm(subject, suspect({"missing_normalisation": 0.6}, Layer.PREPROCESSING))[0]
    assert (outcome.confirmed, outcome.undecided) == (None, True)


def test_a_swap_on_a_sound_target_acquits(subject_of, suspect):
    """A target that is as good as a linear model has nothing to be repaired."""
    outcome = confirm(subject_of(), suspect({"missing_normalisation": 0.6}, Layer.PREPROCESSING))[0]
    assert (outcome.confirmed, outcome.undecided) == (False, False)


SETS = {
    "a table": (noise(), lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))),
    "three classes": (noise(600, 3, 2), lambda: nn.Linear(8, 3)),
    "images": (images(), lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("declared", ["a short training", "no training", "no model"])
def test_random_labels_that_cannot_be_tested_are_undecided(tmp_path, name, declared):
    """Where the training is too short to tell, or there is none, a failed check is no fault, and not healthy."""
    data, model = SETS[name]
    training = Training(optimizer=SLOW, epochs=1) if declared == "a short training" else None
    target = Target(
        "noise",
        data=Data(train=data),
        model=None if declared == "no model" else model,
        training=training,
        root=tmp_path,
    )
    verdict = diagnose(Subject(target, tmp_path / "run", Depth.QUICK), Depth.QUICK, only=Layer.DATA)
    assert verdict.status.value == "undecided"
    assert [finding.check for report in verdict.layers for finding in report.failures] == ["random_labels"]
