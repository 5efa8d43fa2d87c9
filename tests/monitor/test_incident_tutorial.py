"""docs/incident_tutorial.md, shortened: its server and traffic in this process, its commands as they stand there."""

import importlib.util
import json
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from command_line import call_here
from starlette.testclient import TestClient

from firstfault.check import Depth
from firstfault.monitor.recorder import close_all
from firstfault.runs.ref import RunRef
from firstfault.subject.serving import packaged
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target

EXAMPLE = Path(__file__).parents[2] / "examples" / "adult"
USUAL, BROKEN = 480, 120


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example with 3,000 of its rows, and what `firstfault debug` leaves of it: a model, kept and packaged."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(EXAMPLE, folder / "adult")
    frame = pd.read_parquet(EXAMPLE / "adult.parquet").sample(3_000, random_state=0)
    frame.to_parquet(folder / "adult" / "adult.parquet")
    run = folder / ".firstfault" / "runs" / "20261129-120000-aaaa"
    file = folder / "adult" / "target.py"
    packaged(Subject(load_target(str(file)), run))
    RunRef(f"{folder / 'adult'}:target", str(run), str(folder / ".firstfault"), Depth.STANDARD).keep()
    return folder


@pytest.fixture
def call(example, monkeypatch, capsys):
    """A function that runs the command line in the example's folder."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(example / ".firstfault"))
    monkeypatch.chdir(example)
    return partial(call_here, monkeypatch, capsys)


def module(file):
    """A file of the example as a module."""
    spec = importlib.util.spec_from_file_location(f"tutorial_{file.stem}", file)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_tutorial_finds_what_it_breaks(example, call):
    """Ages in months: an incident opens, its verdict is proven, its case is red, and green when months are refused."""
    serve, traffic = module(example / "adult" / "serve.py"), module(example / "adult" / "traffic.py")
    with TestClient(serve.app) as client:
        for months, requests in ((False, USUAL), (True, BROKEN)):
            answers = [client.post("/predict", json=row) for row in traffic.rows(requests, int(months), months)]
            assert {answer.status_code for answer in answers} == {200}
    close_all(20)
    code, out, err = call("monitor", "detect", "--reference", "300", "--json", "detected.json")
    assert code == 1, out + err
    opened = [one["id"] for one in json.loads(Path("detected.json").read_text())["open"]]
    code, out, err = call("incident", opened[-1], "--target", "adult", "--bare", "--json", "verdict.json")
    fault = json.loads(Path("verdict.json").read_text())["faults"][0]
    assert (code, fault["fault"], fault["confirmed"]) == (1, "unit_change", True), out + err
    code, out, err = call("incident", "keep", opened[-1], "--target", "adult")
    assert code == 0 and "unit_change at age" in out, out + err


def test_the_broken_servers_answer_without_an_error(example, monkeypatch):
    """The two other faults of the tutorial show in no status code, and change what is answered."""
    monkeypatch.chdir(example)
    rows = list(module(example / "adult" / "traffic.py").rows(10, 0, False))
    answers = {}
    for kind in ("", "scaler", "labels"):
        monkeypatch.setenv("BROKEN", kind)
        answers[kind] = [module(example / "adult" / "serve.py").predict(row) for row in rows]
    chances = {kind: [answer["probabilities"] for answer in found] for kind, found in answers.items()}
    assert chances["labels"] == chances[""] != chances["scaler"]
    assert not {answer["label"] for answer in answers["labels"]} - {"<=50K", ">50K"}
    assert all(one["label"] != other["label"] for one, other in zip(answers[""], answers["labels"], strict=True))
