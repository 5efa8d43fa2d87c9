"""Flow runs have names that a list can show."""

import pytest
from firstfault.flows.names import short


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/team/churn/target.py:target", "churn"),
        ("models/fraud.py:small", "fraud"),
        ("target.py", "target"),
        ("models/fraud.py", "fraud"),
    ],
)
def test_a_target_is_told_in_a_word(target, name):
    """By its file, or by the folder of one that is called as all are."""
    assert short(target) == name
