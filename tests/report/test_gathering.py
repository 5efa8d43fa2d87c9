"""A report's context comes from what a subject has already built, and from nothing else."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.data.privacy.masking import MASK
from firstfault.data.splits import Split
from firstfault.report import context_of, write_report
from firstfault.report.samples import looks_like_images, sample_rows
from firstfault.subject.subject import Subject
from firstfault.verdict import Verdict, VerdictStatus


def refuse(*_):
    raise AssertionError("the report must not build this")


def people(rows=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "full_name": [f"Person {row}" for row in range(rows)],
            "contact": [f"p{row}@mail.example" for row in range(rows)],
            "height": rng.normal(170, 10, rows),
            "tall": rng.integers(0, 2, rows),
        }
    )


def numeric(X):
    return X[["height"]].to_numpy("float32")


def target(**changes):
    values = {
        "name": "people",
        "task": "classification",
        "data": Data(train=people(), label="tall"),
        "preprocess": numeric,
        "model": lambda: nn.Linear(1, 2),
        "training": Training(optimizer=partial(torch.optim.SGD, lr=0.01), epochs=2),
    }
    return Target(**{**values, **changes})


def test_nothing_is_built_for_the_report(tmp_path):
    """A fresh subject gives an environment alone; its data is not read, its model not made."""
    subject = Subject(target(data=Data(train=refuse, label="tall"), preprocess=refuse, model=refuse), tmp_path)
    context = context_of(subject, links={"MLflow run": "http://x"})
    assert not context.stages and not context.epochs and not context.sample_rows
    assert context.environment["seed"] == 0 and "python" in context.environment
    assert context.links == {"MLflow run": "http://x"}
    assert not subject.memos


def test_what_was_built_is_shown(tmp_path):
    """Stages, curves, steps, samples and the digest of the data, after a training."""
    subject = Subject(target(), tmp_path)
    assert subject.trained.crash is None
    context = context_of(subject)
    assert [row["split"] for row in context.stages[:3]] == ["train", "validation", "test"]
    assert [epoch["number"] for epoch in context.epochs] == [1, 2]
    assert all(len(context.step_numbers[name]) == len(values) > 0 for name, values in context.steps.items())
    assert "Linear" in context.environment["model"] and context.environment["data digest"]
    assert "tall" in context.sample_rows[0]


def test_a_part_that_failed_is_left_out(tmp_path):
    """An exception kept in place of a part is no part."""
    subject = Subject(target(preprocess=refuse), tmp_path)
    with pytest.raises(Exception, match="preprocess"):
        _ = subject.pipeline
    context = context_of(subject)
    assert not context.stages and context.sample_rows


def test_personal_data_stays_out_of_the_page(tmp_path):
    """Names and addresses are masked in the sample."""
    subject = Subject(target(), tmp_path)
    assert len(subject.raw.train.y)
    page = write_report(
        Verdict("people", VerdictStatus.HEALTHY, (), (), 1.0), tmp_path, context=context_of(subject)
    ).read_text()
    assert "Person 1" not in page and "@mail" not in page
    assert MASK in page and "full_name, contact" in page


def test_images_are_found_in_the_data_or_after_preprocessing(tmp_path):
    """Flat rows that a step reshapes are shown as images."""
    X, y = np.random.default_rng(0).random((40, 64)).astype("float32"), np.arange(40) % 2
    subject = Subject(
        target(data=Data(train=(X, y)), preprocess=lambda X: X.reshape(-1, 1, 8, 8), model=None), tmp_path
    )
    assert subject.pipeline.prepared
    context = context_of(subject)
    assert context.sample_images.shape == (16, 1, 8, 8) and len(context.sample_labels) == 16


@pytest.mark.parametrize(
    ("shape", "images"),
    [
        ((9, 8, 8), True),
        ((9, 1, 28, 28), True),
        ((9, 32, 32, 3), True),
        ((9, 64), False),
        ((9, 100, 3), False),
        ((0, 8, 8), False),
        ((9,), False),
    ],
)
def test_images_are_told_by_their_shape(shape, images):
    """Two sides of at least six pixels."""
    assert looks_like_images(shape) is images


@pytest.mark.parametrize(
    "X",
    [
        np.arange(300).reshape(10, 30),
        np.array([["a", None]] * 4, dtype=object),
        torch.zeros(5, 4, 2),
        pd.DataFrame({"a": [None, 1.5]}),
        pd.DataFrame({1: [[1, 2], [3]]}),
    ],
)
def test_any_input_has_sample_rows(X):
    """Tokens, objects, tensors, missing values and nested cells become plain values."""
    rows, _ = sample_rows(Split(X, np.zeros(len(X))))
    assert rows and all(
        value is None or isinstance(value, str | int | float | bool) for row in rows for value in row.values()
    )
