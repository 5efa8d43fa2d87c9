"""What is known to be wrong with a target before anything is started."""

import numpy as np
import pytest
from torch import nn

from firstfault import Data, Deployment, Safety, Target, Training
from firstfault.cli.preflight import expect_workable
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
