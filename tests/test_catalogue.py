"""The checks as text."""

import tomllib
from pathlib import Path

from firstfault.catalogue import all_checks, explain, listing, reference, thresholds
from firstfault.faults import FAULTS


def test_the_reference_in_docs_is_what_the_code_says():
    """docs/checks.md is up to date; `make docs` writes it."""
    assert (Path(__file__).parents[1] / "docs" / "checks.md").read_text() == reference()


def test_thresholds_toml_is_what_the_code_says():
    """expectations/thresholds.toml holds every default; `make docs` writes it."""
    text = (Path(__file__).parents[1] / "expectations" / "thresholds.toml").read_text()
    assert text == thresholds()
    assert tomllib.loads(text)["duplicate_rows"]["share"] == 0.05


def test_every_check_is_documented_with_a_source_and_known_faults():
    """A threshold without a source, or a fault that nobody knows, is a mistake."""
    for entry in all_checks():
        assert entry.doc and entry.name in listing() and explain(entry.name)
        assert set(entry.detects) <= {*FAULTS, "user_code_raises"}
    assert [entry.name for entry in all_checks() if not entry.source and entry.parameters] == []
