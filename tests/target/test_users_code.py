"""The user's own code that raises, leaves, or gives what can't be worked with: a finding in its layer."""

import sys

import numpy as np
import pandas as pd
import pytest
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import Depth, checks_of, run_check
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject

RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(RNG.normal(size=(120, 3)), columns=list("abc")).assign(
    y=lambda frame: np.where(frame.a > frame.b, "up", "down")
)


def network():
    """A small network."""
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


class Leaves(nn.Module):
    """A network that ends the process when it is called."""

    def forward(self, x):
        sys.exit(3)


def leaves(*_):
    """End the process, successfully."""
    sys.exit(0)


PREPROCESSING = {
    "returns nothing": ({"preprocess": lambda X: None}, "must return samples .* but returned NoneType"),
    "returns a number": ({"preprocess": lambda X: 5}, "must return samples .* but returned int"),
    "leaves text": (
        {"preprocess": lambda X: X.astype(str)},
        "preprocess must leave numbers only, but column 'a' is still",
    ),
    "leaves complex numbers": (
        {"preprocess": lambda X: X.to_numpy() + 1j},
        "preprocess must leave real numbers, but left complex128",
    ),
    "text labels of a regression": (
        {"task": "regression"},
        "labels must be numbers, unless the task is classification, but one is '(up|down)'",
    ),
    "preprocess leaves": ({"preprocess": leaves}, r"raised SystemExit at test_users_code.py:\d+ in leaves: 0"),
}
LATER = {
    "model leaves": (Layer.MODEL, {"model": leaves}, r"model raised SystemExit at test_users_code.py:\d+"),
    "forward leaves": (
        Layer.MODEL,
        {"model": Leaves},
        r"the model in eval mode raised SystemExit at test_users_code.py:\d+ in forward: 3",
    ),
    "model is none": (
        Layer.MODEL,
        {"model": lambda: None},
        r"model\(\) must return an nn.Module, but returned NoneType",
    ),
    "fit leaves": (
        Layer.TRAINING,
        {"training": Training(fit=leaves)},
        r"training raised SystemExit at test_users_code.py:\d+",
    ),
    "loss is a float": (
        Layer.TRAINING,
        {"training": Training(loss=lambda outputs, y: 1.0)},
        "training.loss must return a tensor, but returned float",
    ),
    "loss is several": (
        Layer.TRAINING,
        {"training": Training(loss=nn.CrossEntropyLoss(reduction="none"))},
        "training.loss must return one number, but returned 64",
    ),
    "no optimizer": (
        Layer.TRAINING,
        {"training": Training(optimizer=lambda parameters: None)},
        "training.optimizer must return an object with step",
    ),
    "no scheduler": (
        Layer.TRAINING,
        {"training": Training(scheduler=lambda optimizer: None)},
        "training.scheduler must return an object with step",
    ),
    "no augmented batch": (
        Layer.TRAINING,
        {"training": Training(augment=lambda x: None)},
        "training.augment must return a tensor",
    ),
    "no batch": (
        Layer.TRAINING,
        {"training": Training(loader=lambda x, y, split: [])},
        "there must be at least one batch to train on",
    ),
    "another metric": (
        Layer.TRAINING,
        {"training": Training(metric="r2")},
        "the metric r2 does not fit outputs of shape",
    ),
}


def verdict(folder, only, **parts):
    """The verdict over one layer at quick depth."""
    whole = {
        "name": "t",
        "data": Data(train=FRAME, label="y"),
        "model": network,
        "training": Training(epochs=1),
        **parts,
    }
    return diagnose(Subject(Target(**whole), folder), Depth.QUICK, only=only)


def expect(found, layer, sentence):
    """The layer is faulty by the user's code, with that sentence, and no check crashed."""
    import re

    findings = [finding for report in found.layers for finding in report.findings]
    told = [finding.message for finding in findings if "user_code_raises" in finding.faults]
    assert found.first_faulty_layer is layer and any(re.search(sentence, message) for message in told), told
    assert not [finding for finding in findings if finding.status is Status.ERROR]


@pytest.mark.parametrize("name", PREPROCESSING)
def test_what_preprocessing_gives_is_a_finding_of_preprocessing(tmp_path, name):
    """The sentence says what was expected and what came."""
    parts, sentence = PREPROCESSING[name]
    expect(verdict(tmp_path, Layer.PREPROCESSING, **parts), Layer.PREPROCESSING, sentence)


@pytest.mark.parametrize("name", LATER)
def test_what_model_and_training_give_is_a_finding_of_theirs(tmp_path, name):
    """The sentence says what was expected and what came."""
    layer, parts, sentence = LATER[name]
    expect(verdict(tmp_path, layer, **parts), layer, sentence)


def test_loading_that_leaves_is_a_finding_of_the_data(tmp_path):
    """A `sys.exit(0)` in the user's code does not end the run as a healthy one."""
    expect(
        verdict(tmp_path, Layer.DATA, data=Data(train=leaves, label="y")),
        Layer.DATA,
        "loading the data raised SystemExit",
    )


def test_labels_that_are_all_missing_crash_no_check(tmp_path):
    """The overview has no class to show."""
    subject = Subject(Target("t", data=Data(train=FRAME.assign(y=np.nan), label="y")), tmp_path)
    [entry] = [entry for entry in checks_of(Layer.DATA) if entry.name == "column_overview"]
    [finding] = run_check(entry, subject, {})
    assert finding.status is Status.PASS
