"""The user's own functions of (input, output)."""

import pytest
from credit import Service

from firstfault.errors import FirstfaultError
from firstfault.monitor.assertions import assertions_of
from firstfault.monitor.detect.detector import Detector

FILE = """
import firstfault.monitor

@firstfault.monitor.assertion
def rich_and_refused(input, output):
    return 2.5 if input["income"] > 3 and output == 0 else 0

@firstfault.monitor.assertion
def breaks(input, output):
    return input["nothing"]
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    return assertions_of(file=str(tmp_path / "own.py"))


def test_answers_that_an_assertion_finds_wrong_open_an_incident(own):
    """When the severity is above 0 more often than usual, it opens, and names the assertion."""
    service = Service()
    detector = Detector(baseline=service.requests(500), assertions=own)
    (incident,) = detector.feed(
        service.requests(
            400,
            more=lambda at: {"income": 3.1, "age": 3.0} if at % 4 == 0 else {},
            values={"raw": {"income": 3.1, "age": 0.0, "debt": 0.0, "spare": 0.0}, "label": 0},
        )
    )
    assert ("assertions", "rich_and_refused") in {(each.monitor, each.place) for each in detector.open[0].evidence}
    assert incident.closed is None


def test_one_that_raises_is_counted_and_told(own):
    """The request goes on, the others are asked, and the reason is told once."""
    service = Service()
    detector = Detector(baseline=service.requests(300), assertions=own)
    assert detector.feed(service.requests(16)) == []
    assert "the assertion breaks raised 316 times: KeyError: 'nothing'" in detector.told()


def test_a_file_without_one_is_refused(tmp_path):
    """What was expected, and that it has none."""
    (tmp_path / "none.py").write_text("x = 1\n")
    with pytest.raises(FirstfaultError, match="must have a function of \\(input, output\\)"):
        assertions_of(file=str(tmp_path / "none.py"))
