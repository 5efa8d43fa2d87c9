"""Subjects of many kinds of data for the checks, and the findings of one check on them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import checks_of
from firstfault.checks.catalogue import all_checks
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind


def table(n=600, seed=0):
    """A frame of numbers, whole numbers and text with a label of three names."""
    rng = np.random.default_rng(seed)
    age, income = rng.normal(40, 12, n), rng.lognormal(1, 0.7, n)
    city = rng.choice(["Bern", "Oslo", "Rome"], n)
    kind = np.where(age + 5 * (city == "Oslo") + rng.normal(0, 4, n) > 45, "old", np.where(income > 3, "rich", "young"))
    return pd.DataFrame({"age": age, "income": income, "city": city, "children": rng.integers(0, 5, n), "kind": kind})


def images(n=240, channels=3, seed=0):
    """Smooth images `(N, H, W, C)` of 0–255 whose brightness gradient is the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    ramp = np.linspace(0, 1, 8)
    X = (
        rng.random((n, 1, 1, channels)) * 80
        + np.where(y[:, None, None, None] == 1, ramp[None, :, None, None], ramp[None, None, :, None]) * 150
    )
    return (X + rng.normal(0, 4, (n, 8, 8, channels))).clip(0, 255).astype(np.float32), y


def tokens(n=300, length=12, seed=0):
    """Token ids `(N, T)`; the class is whether token 7 occurs."""
    X = np.random.default_rng(seed).integers(0, 50, (n, length))
    return X, (X == 7).any(1).astype(int)


SETS = {
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "iris": lambda: load_iris(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "images": images,
    "tokens": tokens,
    "multilabel": lambda: ((X := np.random.default_rng(0).normal(size=(300, 6))), (X[:, :3] > 0).astype(int)),
}


@pytest.fixture
def make(tmp_path):
    """A function that makes a Subject of a named data set (or of a source) with the given parts of a target."""

    def build(source, *, model=None, training=None, label=None, task=None, data=None, **parts):
        known = isinstance(source, str)
        task = (
            task
            or (
                "regression"
                if source in ("diabetes",)
                else "multilabel"
                if known and source == "multilabel"
                else "classification"
            )
            if known
            else task or "classification"
        )
        data = Data(
            train=SETS[source]() if known and source in SETS else table() if known else source,
            label="kind" if known and source == "table" else label,
            **(data or {}),
        )
        target = Target(name="t", task=task, data=data, model=model, training=training or Training(epochs=2), **parts)
        return Subject(target, tmp_path / f"run{len(list(tmp_path.iterdir()))}")

    return build


@pytest.fixture
def run():
    """A function that gives the findings of one check on a subject, as a debug run would."""

    def findings(name, subject, **thresholds):
        from firstfault.check import run_check

        entry = next(entry for layer in Layer for entry in checks_of(layer) if entry.name == name)
        return run_check(entry, subject, thresholds)

    return findings


@pytest.fixture
def only(run):
    """A function that gives the one finding of a check on a subject."""

    def finding(name, subject, **thresholds):
        found = run(name, subject, **thresholds)
        assert len(found) == 1, found
        return found[0]

    return finding


@pytest.fixture
def failures():
    """A function that runs the whole layer: the faults it fails with."""
    from firstfault.check import run_checks

    def faults(subject):
        report = run_checks(Layer.PREPROCESSING, subject)
        assert not [finding for finding in report.findings if finding.status is Status.ERROR], report.findings
        return {fault for finding in report.failures for fault in finding.faults}

    return faults


@pytest.fixture
def mlp():
    """A model factory for flat inputs."""
    return lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 10))


@pytest.fixture
def drawn():
    """Reads an SVG of a subject's folder as XML: the texts that it shows, and its size in bytes."""

    def read(subject, name):
        root = ElementTree.parse(subject.folder / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and float(root.get("width")) <= 1100
        texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
        return texts, (subject.folder / name).stat().st_size

    return read


@pytest.fixture(scope="session")
def planted_apart():
    """Faults of language models or of incidents alone, which tests/lm and tests/monitor plant."""

    def detected(on_targets):
        entries = [entry for entry in all_checks() if (entry.kind is SubjectKind.TARGET) is on_targets]
        return {fault for entry in entries for fault in entry.detects}

    return detected(False) - detected(True)
