"""What is known to be wrong with a target before anything is started."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Deployment, Safety, Target, Training
from firstfault.cli.preflight import expect_model, expect_workable
from firstfault.errors import TargetError

PAIR = np.zeros((4, 2)), np.array([0, 1, 0, 1])


def target(**parts):
    """A target with data and a model, and other parts."""
    return Target(**{"name": "t", "data": Data(train=PAIR), "model": lambda: nn.Linear(2, 2), **parts})


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"data": None}, "t must declare data"),
        ({"training": Training(device="gpu")}, "training.device must be .* but got 'gpu'"),
        ({"thresholds": {"dead_relu": {"inactive_share": "much"}}}, "must be a number, but got 'much'"),
        ({"data": Data(train=PAIR, expectations="gone.json")}, "data.expectations: there is no file .*gone.json"),
        ({"deployment": Deployment(requirements="gone.txt")}, "deployment.requirements: there is no file .*gone.txt"),
        ({"safety": Safety(suites=["gone.yaml"], generate=str)}, "safety.suites: there is no file .*gone.yaml"),
    ],
)
def test_what_is_not_there_is_said_before_the_first_layer(parts, sentence):
    """Nothing is measured that a later error would cost."""
    with pytest.raises(TargetError, match=sentence):
        expect_workable(target(**parts))


def test_a_sound_target_passes():
    """Pinned versions may be given as text."""
    expect_workable(target(training=Training(device="cpu"), deployment=Deployment(requirements="torch==2.0")))


class Keras:
    """A model as Keras makes it: to be called, fitted and asked."""

    __module__ = "keras.models"

    def __call__(self, x):
        """Answer."""

    def fit(self, x, y):
        """Learn."""


class NoNetwork:
    """A class of the user's that is no network."""


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("resnet", r"model must be a function \(\) -> nn.Module, or an estimator .*, but got 'resnet'"),
        (
            lambda: None,
            r"function \(\) -> nn.Module, .* but it returned None: only networks of PyTorch, and estimators",
        ),
        (NoNetwork, "but it returned an object of .*NoNetwork: only networks of PyTorch"),
        (Keras(), "but got .*: models of TensorFlow and Keras are not supported"),
        (Keras, "but got .*: models of TensorFlow and Keras are not supported"),
        (lambda: Keras(), "but it returned an object of keras.models.Keras: models of TensorFlow and Keras"),
        (StandardScaler(), "or an estimator with fit and predict, but got StandardScaler"),
    ],
    ids=["a text", "makes nothing", "another class", "of Keras", "a class of Keras", "makes one of Keras", "no model"],
)
def test_a_model_of_an_unsupported_kind_is_a_bad_call(model, sentence):
    """It is said what is supported before anything starts, and is no fault of the user's."""
    with pytest.raises(TargetError, match=sentence):
        expect_model(target(model=model))


ESTIMATORS = (LogisticRegression(), LogisticRegression, lambda: make_pipeline(StandardScaler(), LogisticRegression()))


@pytest.mark.parametrize("model", ESTIMATORS, ids=["an object", "a class", "a function"])
def test_an_estimator_is_a_model(model):
    """As an object, or as what a function or a class makes; a training is not needed beside it."""
    expect_model(target(model=model))


def test_an_estimator_has_no_loop_beside_it():
    """It is fitted by its own fit; another would not be run, and no submodule of it can be tested alone."""
    with pytest.raises(TargetError, match=r"training.optimizer must be left out where the model is an estimator"):
        expect_model(target(model=LogisticRegression(), training=Training(optimizer=torch.optim.SGD)))
    with pytest.raises(TargetError, match="the model is an estimator: 'head'"):
        expect_model(target(model=LogisticRegression()), "head")


def test_a_factory_that_raises_is_left_to_the_run():
    """Which makes a finding of it; and one that works draws no number that the run would have drawn."""

    def broken():
        raise RuntimeError("no weights")

    expect_model(target(model=broken))
    before = torch.random.get_rng_state()
    expect_model(target())
    assert torch.equal(torch.random.get_rng_state(), before)
