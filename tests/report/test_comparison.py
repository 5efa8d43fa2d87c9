"""Two runs beside each other: verdicts, curves, and what changed in data, code and settings."""

import functools
import json

import numpy as np
import pytest
import torch
from command_line import call_here
from torch import nn

from firstfault import Data, Target, Training
from firstfault.errors import FirstfaultError
from firstfault.report import context_of, write_report
from firstfault.report.comparison import compared
from firstfault.subject.subject import Subject
from firstfault.verdict import Verdict, VerdictStatus


def linear():
    """A model."""
    return nn.Linear(3, 2)


def run(folder, rate, shift, status=VerdictStatus.HEALTHY):
    """The folder of a run that has trained a little target, with its report."""
    folder.mkdir(parents=True)
    file = folder.parent / "target.py"
    file.write_text(f"import torch\nRATE = {rate}\nEPOCHS = 2\n")
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    target = Target(
        "little",
        data=Data(train=(x + shift, (x[:, 0] > 0).astype(int))),
        model=linear,
        training=Training(nn.CrossEntropyLoss(), functools.partial(torch.optim.SGD, lr=rate), epochs=2),
        root=folder.parent,
        file=file,
    )
    subject = Subject(target, folder)
    _ = subject.raw, subject.trained
    verdict = Verdict("little", status, (), (), 1.0)
    (folder / "verdict.json").write_text(json.dumps(verdict.to_json()))
    write_report(verdict, folder, context=context_of(subject))
    return folder


def test_two_runs_differ_in_what_was_changed(tmp_path, monkeypatch, capsys):
    """The learning rate, the data and the line of code are told, and nothing else; both curves are on the page."""
    runs = tmp_path / ".firstfault" / "runs"
    first = run(runs / "20260101-a", 0.1, 0.0)
    second = run(runs / "20260102-b", 0.2, 1.0, VerdictStatus.UNDECIDED)
    found = compared(first, second)
    assert [row["what"] for row in found.settings] == ["training.optimizer"]
    assert (found.settings[0]["first"], found.settings[0]["second"]) == ("SGD(lr=0.1)", "SGD(lr=0.2)")
    assert [row["what"] for row in found.data] == ["data digest"] and not found.surroundings
    assert [line for line in found.code if line[0] in "+-"][2:] == ["-RATE = 0.1", "+RATE = 0.2"]
    assert len(found.first.curve("validation_loss")[1]) == 2 and len(found.second.curve("grad_norm")[1])
    monkeypatch.chdir(tmp_path)
    code, out, err = call_here(monkeypatch, capsys, "compare", "20260101", "--json", "out.json")
    assert code == 0 and "20260102-b: undecided" in out and "training.optimizer: SGD(lr=0.1) → SGD(lr=0.2)" in out, err
    page = (second / "comparison.html").read_text()
    assert page.count("<svg") >= len(found.curves) > 4 and "RATE = 0.2" in page
    assert json.loads((tmp_path / "out.json").read_text())["changed"]["settings"]
    assert all(run.said in out for run in (found.first, found.second))


def test_a_folder_without_a_verdict_is_one_sentence(tmp_path):
    """It says which file could not be read; a run without facts is compared by its verdict alone."""
    with pytest.raises(
        FirstfaultError, match=r"must be the folder of a run with its verdict, but verdict.json can't be"
    ):
        compared(tmp_path, tmp_path)
    (tmp_path / "verdict.json").write_text(json.dumps(Verdict("old", VerdictStatus.HEALTHY, (), (), 1.0).to_json()))
    assert "has left no facts to compare" in "\n".join(compared(tmp_path, tmp_path).lines)
