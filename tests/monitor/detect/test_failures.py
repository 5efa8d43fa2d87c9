"""Monitors that raise what nobody foresaw."""

import numpy as np
import pytest

from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.monitor import CoinMonitor


def raises(batch):
    """What a monitor sees until it meets what nobody thought of."""
    raise ZeroDivisionError("nobody thought of it")


BROKEN = CoinMonitor("broken", 1.0, ("events",), raises, (coin_bets(1.0, 500.0),))


class Unforeseen(Assertion):
    """Not even its severity can be asked."""

    def severity(self, asked, answered):
        raise ZeroDivisionError("nobody thought of it")


def test_a_monitor_that_raises_costs_nothing_but_itself(service, detector):
    """The others find what they find, and it is counted and told how often one saw nothing."""
    detector.watches["credit"].extend(BROKEN)
    assert detector.feed(service.requests(300)) == []
    (incident,) = detector.feed(service.requests(300, failing=0.3))
    assert incident.monitor == "bad_events"
    told = "credit: the monitor broken raised 2 times, and saw nothing then: ZeroDivisionError: nobody thought of it"
    assert told in detector.told()


def test_a_monitor_that_raises_as_it_learns_is_left_out(service):
    """What is usual is known to the others."""
    detector = Detector(baseline=service.requests(300), assertions=[Unforeseen(raises)])
    assert "assertions" not in {monitor.name for monitor in detector.watches["credit"].monitors}
    assert any("the monitor assertions raised 1 times" in sentence for sentence in detector.told())


@pytest.mark.parametrize("open_", [True, False])
def test_a_detection_with_other_monitors_goes_on_from_what_is_left(service, detector, open_):
    """After an upgrade the bets are others: evidence begins anew, and an incident that they opened is closed."""
    detector.watches["credit"].extend(
        CoinMonitor("gone", 1.0, ("events",), lambda batch: np.zeros((len(batch), 1)), (coin_bets(1.0, 500.0),))
    )
    if open_:
        assert len(detector.feed(service.requests(300, failing=0.3))) == 1
    again = Detector()
    again.restore(detector.state())
    closed = again.feed(service.requests(300))
    assert [incident.closed is not None for incident in closed] == [True] * open_
    assert [incident.monitor for incident in again.feed(service.requests(300, failing=0.3))] == ["bad_events"]
