"""A target is validated where it is declared, and loaded from where the user says."""

import os
import sys
from functools import partial

import pytest
import torch
from torch import nn

from firstfault import Data, Deployment, Safety, Target, Training, load_target
from firstfault.errors import TargetError


@pytest.mark.parametrize(
    ("make", "field", "came"),
    [
        (lambda: Target(name="", data=None), "name", "''"),
        (lambda: Target(name="t", task="clasification"), "task", "clasification"),
        (lambda: Target(name="t", data="train.csv"), "data", "train.csv"),
        (lambda: Target(name="t", model=nn.Linear(2, 2).weight), "model", "Parameter"),
        (lambda: Target(name="t", preprocess=3), "preprocess", "3"),
        (lambda: Target(name="t", preprocess=["scale"]), "preprocess", "scale"),
        (lambda: Target(name="t", preprocess=abs, prepare=abs), "prepare", "abs"),
        (lambda: Data(train=None), "data.train", "None"),
        (lambda: Data(train="x.csv", sensitive="sex"), "data.sensitive", "sex"),
        (lambda: Training(epochs=0), "training.epochs", "0"),
        (lambda: Training(batch_size=2.5), "training.batch_size", "2.5"),
        (lambda: Training(optimizer="adam"), "training.optimizer", "adam"),
        (lambda: Training(clip_norm=-1), "training.clip_norm", "-1"),
        (lambda: Training(metric="acuracy"), "training.metric", "acuracy"),
        (lambda: Data(train="x.csv", sensitive=5), "data.sensitive", "5"),
        (lambda: Data(train="x.csv", group=["a"]), "data.group", "['a']"),
        (lambda: Data(train="x.csv", expectations=4), "data.expectations", "4"),
        (lambda: Training(metric=3), "training.metric", "3"),
        (lambda: Training(seed="abc"), "training.seed", "abc"),
        (lambda: Training(seed=-1), "training.seed", "-1"),
        (lambda: Training(shuffle="yes"), "training.shuffle", "yes"),
        (lambda: Training(loss=nn.CrossEntropyLoss), "training.loss", "class"),
        (lambda: Target(name="t", model=nn.Linear(2, 2)), "model", "Linear"),
        (lambda: Target(name="t", thresholds={"dead_relu": 3}), "thresholds", "3"),
        (lambda: Deployment(url="localhost:80"), "deployment.url", "localhost:80"),
        (lambda: Deployment(golden=5), "deployment.golden", "5"),
        (lambda: Safety(suites=5), "safety.suites", "5"),
        (lambda: Deployment(latency_ms=0), "deployment.latency_ms", "0"),
        (lambda: Safety(suites="suite.yaml"), "safety.suites", "suite.yaml"),
    ],
)
def test_a_bad_value_names_the_field_and_what_came(make, field, came):
    """The error says which field, what was expected and what came."""
    with pytest.raises(TargetError) as error:
        make()
    assert field in str(error.value)
    assert came in str(error.value)


def write(folder, text):
    file = folder / "target.py"
    file.write_text(text)
    return file


def test_a_target_is_loaded_from_its_file(tmp_path):
    """The default name is `target`, and relative paths refer to the file's folder."""
    file = write(tmp_path, "from firstfault import Target\ntarget = Target(name='t')\nother = Target(name='o')\n")
    assert load_target(str(file)).name == "t"
    assert load_target(f"{file}:other").name == "o"
    assert load_target(str(tmp_path)).root == tmp_path


def test_a_target_is_loaded_from_a_module(tmp_path, monkeypatch):
    """`module:name` works as an import does."""
    (tmp_path / "my_system_for_test.py").write_text("from firstfault import Target\ntarget = Target(name='m')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_target("my_system_for_test:target").name == "m"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no `target`"),
        ("target = 3\n", "must be a firstfault.Target, but is a int"),
        ("import no_such_module_here\n", "doesn't import: ModuleNotFoundError at target.py:1"),
        ("target = (\n", "doesn't import: SyntaxError"),
        ("raise OSError('no such GPU\\nsecond line')\n", "OSError at target.py:1 in <module>: no such GPU$"),
        ("from firstfault import Target\ntarget = Target(name='t', task='x')\n", "task must be one of"),
    ],
)
def test_a_file_that_declares_no_target_is_refused_in_one_sentence(tmp_path, text, message):
    """What is wrong with the file is said, without a traceback."""
    with pytest.raises(TargetError, match=message.replace("(", r"\(")):
        load_target(str(write(tmp_path, text)))


def test_a_missing_file_is_refused(tmp_path):
    """The path that does not exist is named."""
    with pytest.raises(TargetError, match="no target file"):
        load_target(str(tmp_path / "absent.py"))
    with pytest.raises(TargetError, match="no target file"):
        load_target("x" * 300 + ".py")
    with pytest.raises(TargetError, match="neither a file nor a module"):
        load_target("no such module")


def test_a_field_can_be_overridden(tmp_path):
    """`--set` values are read as YAML and validated as declared ones."""
    file = write(tmp_path, "from firstfault import *\ntarget = Target(name='t', training=Training(epochs=5))\n")
    assert load_target(str(file), {"training.epochs": "3"}).training.epochs == 3
    with pytest.raises(TargetError, match=r"training\.epochs"):
        load_target(str(file), {"training.epochs": "many"})
    with pytest.raises(TargetError, match=r"no field 'training\.epoch'"):
        load_target(str(file), {"training.epoch": "3"})
    with pytest.raises(TargetError, match="the value must be YAML"):
        load_target(str(file), {"training.epochs": "["})
    with pytest.raises(TargetError, match="no field 'root'"):
        load_target(str(file), {"root": "/"})


def test_a_partial_optimizer_and_a_lambda_are_taken():
    """Anything callable serves as a factory."""
    training = Training(optimizer=partial(torch.optim.Adam, lr=1e-3), loss=lambda outputs, y: outputs.mean())
    assert training.epochs == 10


def test_a_target_is_read_as_it_is_written_now(tmp_path, monkeypatch):
    """A repair in the same second that leaves as many bytes is no earlier run's bytecode."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, found = tmp_path / "target.py", []
    for name in ("broken", "mended"):
        file.write_text(f"import firstfault\ntarget = firstfault.Target(name={name!r})\n")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        found.append(load_target(str(file)).name)
    assert found == ["broken", "mended"]
