"""`pytest --firstfault target.py`: a test per check of the model layer, with the finding as its message."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.datasets
import torch._inductor.test_operators
import torchinfo

import firstfault.diagnosis
import firstfault.subject.isolation
import firstfault.subject.submodule
from firstfault.check import checks_of
from firstfault.finding import Layer

pytest_plugins = ["pytester"]

LOADED = firstfault.diagnosis, firstfault.subject.submodule, firstfault.subject.isolation, sklearn.datasets, torchinfo
LOADED_BY_OPTIMIZERS = torch._inductor.test_operators
"""Imported before pytester takes its snapshot of the modules: NumPy and torch can't be imported twice in a process."""
COUNT = len(checks_of(Layer.MODEL))
DIGITS = Path(__file__).parents[1] / "examples" / "digits" / "target.py"
BROKEN = """
import numpy as np
import torch
from torch import nn
from firstfault import Data, Target, Training

class Deaf(nn.Module):
    def __init__(self):
        super().__init__()
        layers = nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()
        self.body = nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Linear(16, 4)
        nn.init.constant_(self.body[2].bias, -20.0)

    def forward(self, x):
        return self.head(self.body(x))

X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
data, training = Data(train=(X, (X[:, 0] > 0).astype(int))), Training(loss=nn.CrossEntropyLoss(), epochs=1)
target = Target("deaf", data=data, model=Deaf, training=training)
"""
HEALTHY = BROKEN.replace("nn.init.constant_(self.body[2].bias, -20.0)", "pass").replace(
    "nn.Linear(16, 4)", "nn.Linear(16, 2)"
)


@pytest.fixture
def call(pytester):
    """A function that runs pytest in a fresh folder that holds the given files, on request in a process of its own."""

    def run(*arguments, alone=False, **files):
        for name, text in files.items():
            pytester.path.joinpath(f"{name}.py").write_text(text)
        start = pytester.runpytest_subprocess if alone else pytester.runpytest_inprocess
        return start("-p", "no:cacheprovider", *arguments)

    return run


def test_a_healthy_target_passes_beside_the_users_own_tests(call, pytester):
    """The digits example: a test per check, those without an object skipped with the reason; the user's test is run."""
    shutil.copy(DIGITS, pytester.path / "target.py")
    result = call("--firstfault", "target.py", "-v", "-rs", alone=True, test_own="def test_mine():\n    assert True\n")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["test_own.py::test_mine PASSED*"])
    result.stdout.fnmatch_lines(["target.py::firstfault::dead_relu PASSED*"])
    result.stdout.fnmatch_lines(["SKIPPED * target.py:1: the model has no batch normalisation"])


def test_a_fault_is_the_message_of_its_test(call):
    """Fault, evidence, place and remedy are told without a traceback; the other tests go on."""
    result = call("--firstfault", "target.py", target=BROKEN)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "dead_relu: 100% of the units in body.3 are dead",
            "  fault     dead_relu (80%)",
            "  evidence  1 against 0.5",
            "  place     body.3",
            "  remedy    use He initialisation*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")
    assert result.parseoutcomes()["failed"] == 1 and result.parseoutcomes()["passed"] > 10


def test_warnings_pass_and_are_listed(call):
    """Four outputs for two classes are a warning."""
    result = call("--firstfault", "target.py", "-k", "shape", target=BROKEN)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*firstfault: warnings*", "target.py::firstfault::output_shape_mismatch: 2 of 4 outputs belong to no class"]
    )


def test_strict_lets_warnings_fail(call):
    """The same with --firstfault-strict."""
    call("--firstfault", "target.py", "--firstfault-strict", "-k", "shape", target=BROKEN).assert_outcomes(
        failed=1, deselected=COUNT - 1
    )


def test_a_cheaper_depth_has_fewer_tests(call):
    """A check of depth standard is not collected at depth quick."""
    result = call("--firstfault", "target.py", "--firstfault-depth", "quick", "--collect-only", target=BROKEN)
    result.stdout.no_fnmatch_line("*one_batch_overfit*")
    result.stdout.fnmatch_lines(["*<CheckTest dead_relu>*"])


def test_several_targets_and_named_ones_are_tested(call):
    """Each has its own ids, also when two lie in one file."""
    result = call(
        "--firstfault",
        "target.py:other",
        "--firstfault",
        "sound.py",
        "-k",
        "dead_relu",
        "-v",
        target=BROKEN + "other = target\n",
        sound=HEALTHY,
    )
    result.stdout.fnmatch_lines(
        ["target.py:other::firstfault::dead_relu FAILED*", "sound.py::firstfault::dead_relu PASSED*"]
    )


def test_the_id_of_a_failed_test_runs_it_again(call):
    """The id that pytest prints can be given to pytest."""
    result = call("--firstfault", "target.py", "target.py::firstfault::dead_relu", target=BROKEN)
    result.assert_outcomes(failed=1)


def test_a_submodule_is_tested_alone(call):
    """The sick stack fails alone, the head passes; what needs labels is skipped."""
    sick = call(
        "--firstfault",
        "target.py",
        "--firstfault-where",
        "body",
        "-k",
        "dead_relu or loss_at_start",
        "-rs",
        target=BROKEN,
    )
    sick.assert_outcomes(failed=1, skipped=1, deselected=COUNT - 2)
    sick.stdout.fnmatch_lines(["SKIPPED *body alone has no labels and no loss"])


BAD = {
    "no file": (["gone.py"], "*--firstfault gone.py: there is no target file gone.py"),
    "no name": (["target.py:gone"], "*target.py:gone: target.py has no `gone`; it has target"),
    "no module": (
        ["target.py", "--firstfault-where", "bodi"],
        "*the model has no module 'bodi'; it has body, *head, *",
    ),
    "in parallel": (["gone.py", "-n", "1"], "*--firstfault gone.py: there is no target file gone.py"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_target_is_one_usage_error(call, name):
    """Exit code 4 and one sentence; no test runs."""
    arguments, sentence = BAD[name]
    result = call("--firstfault", *arguments, alone="-n" in arguments, target=BROKEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([sentence])
    assert "Traceback" not in result.stderr.str() and "INTERNALERROR" not in result.stdout.str()


def test_a_model_that_raises_is_told_once(call):
    """One test fails with the user's line; the others are skipped."""
    result = call(
        "--firstfault", "target.py", target=BROKEN.replace("return self.head(self.body(x))", "return self.head(x)")
    )
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        ["*raised RuntimeError at target.py:* in forward: mat1 and mat2 shapes cannot be multiplied*"]
    )


def test_at_depth_deep_the_module_is_isolated(call):
    """A check that names no module names the smallest part that still fails."""
    spoilt = HEALTHY.replace(
        "class Deaf", "class Mix(nn.Module):\n    def forward(self, x):\n        return x - x.mean(0)\n\n\nclass Deaf"
    )
    result = call(
        "--firstfault",
        "target.py",
        "--firstfault-depth",
        "deep",
        "-k",
        "batch_mixing",
        target=spoilt.replace("nn.Dropout(0.1)", "Mix()"),
    )
    result.stdout.fnmatch_lines(["batch_mixing: *", "  place     body.4"])


def test_without_the_option_nothing_heavy_is_imported():
    """Users who have firstfault installed, and don't ask for it, pay for no import of torch or NumPy."""
    heavy = "{'torch', 'numpy', 'pandas', 'firstfault.check'}"
    code = f"import sys, firstfault.pytest_plugin; print({heavy} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )
