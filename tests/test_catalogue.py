"""The checks as text."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from firstfault.check import checks_of
from firstfault.checks.catalogue import all_checks, explain, listing, reference, thresholds
from firstfault.faults import FAULTS
from firstfault.finding import Layer
from firstfault.report.fault_reference import fault_reference
from firstfault.verdict import SubjectKind


def test_the_reference_in_docs_is_what_the_code_says():
    """docs/checks.md is up to date; `make docs` writes it."""
    assert (Path(__file__).parents[1] / "docs" / "checks.md").read_text() == reference()


def test_the_fault_reference_in_docs_is_what_the_code_says():
    """docs/faults.md is up to date; `make docs` writes it."""
    assert (Path(__file__).parents[1] / "docs" / "faults.md").read_text() == fault_reference()


def test_the_fault_reference_links_every_fault_and_what_it_names():
    """An index by layer comes first; every link leads to a heading, in this page or in that of the checks."""
    page = fault_reference()
    index, _, rest = page.partition("\n## ")
    own = set(re.findall(r"^### (\S+)$", rest, re.MULTILINE))
    assert own == set(FAULTS) == set(re.findall(r"^\| \[(\S+)\]", index, re.MULTILINE))
    assert set(re.findall(r"\(#(\S+?)\)", rest)) <= own
    headings = set(re.findall(r"^### (\S+)$", reference(), re.MULTILINE))
    assert set(re.findall(r"\(checks\.md#(\S+?)\)", page)) <= headings


def test_every_fault_says_what_tells_it_from_its_look_alikes():
    """The text of a fault is there, and none is left over from a fault that is gone."""
    page = fault_reference().partition("\n## data\n")[2]
    assert page.count("- **Told from look-alikes by:** ") == len(FAULTS)
    texts = tomllib.loads((resources.files("firstfault") / "look_alikes.toml").read_text())
    assert set(texts["told_by"]) == set(FAULTS)
    assert {name for row in texts["symptom"] for name in row["candidates"]} <= set(FAULTS)


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


def test_the_reference_begins_with_an_index_that_links_to_every_check():
    """docs/checks.md lists each check with its first sentence and a link to a heading that exists."""
    index, _, rest = reference().partition("\n## ")
    headings = set(re.findall(r"^### (\S+)$", rest, re.MULTILINE))
    rows = re.findall(r"^\| \[(\S+)\]\(#(\S+)\) \| (.+) \|$", index, re.MULTILINE)
    assert [name for name, _, _ in rows] == [entry.name for entry in all_checks()]
    assert {link for _, link, _ in rows} == headings
    assert [name for name, _, told in rows if ". " in told] == []


def test_the_listing_and_the_reference_give_labelled_parts_their_places():
    """A line of the listing is one sentence; the parts are a list in the reference, and lines in the explanation."""
    [line] = [line for line in listing().splitlines() if line.split()[:1] == ["sentinel_value"]]
    assert line.endswith("Find codes for a missing value, such as −999, among numbers.")
    assert "\n- **Fails when:** the share is above `share`" in reference()
    assert "\nFails when: the share is above `share`" in explain("sentinel_value")


@pytest.mark.parametrize("kind", [SubjectKind.TARGET, SubjectKind.INCIDENT])
@pytest.mark.parametrize("layer", list(Layer))
def test_a_check_says_what_it_measures_when_it_fails_and_why(layer, kind):
    """Its labelled parts name every threshold, and a source that others can read."""
    for entry in checks_of(layer, kind):
        parts = entry.parts
        assert {"Measures", "Source"} <= set(parts) and {"Fails when", "Warns when"} & set(parts), entry.name
        assert [key for key in entry.parameters if f"`{key}`" not in entry.doc] == [], entry.name
        assert not re.search(r"our planted|FAULTS of", parts["Source"]), entry.name
        assert max(map(len, entry.function.__doc__.splitlines())) <= 120, entry.name


def test_checks_of_safety_are_listed_explained_and_have_thresholds():
    """As those of every other layer."""
    names = ["behaviour", "confident_errors", "group_metrics", "robustness", "served_behaviour"]
    listed = [line.split()[0] for line in listing().partition("\nsafety\n")[2].splitlines()]
    assert listed == names and all("· safety ·" in explain(name) and f"### {name}\n" in reference() for name in names)
    assert tomllib.loads(thresholds())["robustness"] == {"noise": 0.1, "keeps": 0.5, "wears": 0.9}
