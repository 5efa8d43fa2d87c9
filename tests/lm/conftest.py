"""Diagnosing a language model, as `firstfault debug` does it."""

import pytest

from firstfault import Target
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.subject.subject import Subject


@pytest.fixture
def diagnosed(tmp_path):
    """The verdict on a declared language model."""

    def run(lm, **parts):
        target = Target("language model", task="language_model", lm=lm, root=tmp_path, **parts)
        return diagnose(Subject(target, tmp_path / "run"), Depth.STANDARD)

    return run
