"""`firstfault expect`: the suite is written, compared, and approved by a person."""

import numpy as np
import pandas as pd
import pytest

from firstfault import Data, Target
from firstfault.data.expectations.approval import propose
from firstfault.data.expectations.suite import read_suite
from firstfault.errors import TargetError


def people(n=300, seed=0):
    """Two numbers, a category, a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": rng.normal(50, 9, n),
            "city": rng.choice(["Bern", "Oslo"], n),
            "kind": rng.integers(0, 2, n),
        }
    )


def target(frame, root, **data):
    """A target of one table in a folder."""
    return Target("people", data=Data(train=frame, label="kind", **data), root=root)


def test_the_first_proposal_is_written_as_a_suite(tmp_path):
    """The file is what Great Expectations reads, with a severity for each expectation."""
    proposal = propose(target(people(), tmp_path, reference=people()))
    assert proposal.new and proposal.path == tmp_path / "expectations" / "people.json"
    proposal.write()
    suite = read_suite("expectations/people.json", tmp_path)
    assert len(suite.expectations) == len(proposal.suite["expectations"]) and {
        e.severity for e in suite.expectations
    } == {"critical", "warning"}


def test_the_same_data_suggest_no_change(tmp_path):
    """Inferred again from the same rows, the suite is the same."""
    propose(target(people(), tmp_path, reference=people())).write()
    assert propose(target(people(), tmp_path, reference=people())).changes == ()


def test_every_kind_of_change_is_told_in_a_line(tmp_path):
    """A lost column, a new one, a moved range and a new category."""
    propose(target(people(), tmp_path, reference=people())).write()
    later = people().drop(columns="income").assign(site="A", age=people()["age"] + 100)
    later.loc[:9, "city"] = "Rome"
    lines = propose(target(later, tmp_path, reference=later)).changes
    text = "\n".join(lines)
    assert "~ table_columns_to_match_set: column_set adds [site] and drops [income]" in text
    assert "- income · column_to_exist" in text and "+ site · column_values_to_be_in_set" in text
    assert (
        "~ city · column_values_to_be_in_set: value_set adds [Rome]" in text
        and "~ age · column_values_to_be_between: min_value" in text
    )


def test_accepting_makes_the_proposal_the_approved_suite(tmp_path):
    """After approval nothing is left to approve."""
    propose(target(people(), tmp_path, reference=people())).write()
    later = target(people().assign(site="A"), tmp_path, reference=people().assign(site="A"))
    propose(later).write()
    assert propose(later).changes == ()


def test_images_have_no_expectations(tmp_path):
    """Only tables are described."""
    with pytest.raises(TargetError, match="expectations are inferred from tables"):
        propose(Target("images", data=Data(train=(np.zeros((20, 3, 8, 8)), np.arange(20) % 2)), root=tmp_path))
