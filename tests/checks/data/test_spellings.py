"""Categories in several spellings: a model takes each for a category of its own."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from firstfault.finding import Status

ENCODED = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city", "size"]))
LOWER = FunctionTransformer(lambda X: X.assign(city=X["city"].str.lower()))


def orders(spell, share, names=60):
    """600 orders of many cities, a share of which is spelt in another way."""
    rng = np.random.default_rng(0)
    city = pd.Series([f"C{number:03d}" for number in rng.integers(0, names, 600)])
    odd = rng.random(600) < share
    size = rng.choice(["k", "K", "S"], 600)
    return pd.DataFrame({"city": city.map(spell).where(odd, city), "size": size, "y": rng.integers(0, 2, 600)})


@pytest.mark.parametrize(
    ("source", "steps", "status"),
    [
        (lambda: orders(str.lower, 0.3), (ENCODED,), Status.FAIL),
        (lambda: orders(lambda name: f" {name.upper()}", 0.3, names=4), (ENCODED,), Status.FAIL),
        (lambda: orders(str.lower, 0.3), (LOWER, ENCODED), Status.WARN),
        (lambda: orders(str.lower, 0.01), (ENCODED,), Status.WARN),
        (lambda: orders(str.lower, 0.0), (ENCODED,), Status.PASS),
        (lambda: orders(str.swapcase, 0.5, names=10_000), (ENCODED,), Status.PASS),
    ],
    ids=["many values", "few values", "made alike", "slips of the pen", "one spelling", "names of their own"],
)
def test_spellings_that_reach_the_model_are_a_fault(make, only, source, steps, status):
    """Where the preparation makes them alike, or few rows have them, it is a warning; short codes mean their case."""
    subject = make(source, label="y", model=make_pipeline(*steps, LogisticRegression()))
    finding = only("category_spellings", subject)
    assert finding.status is status, finding.message
    assert status is Status.PASS or finding.where.names == ("city",)
