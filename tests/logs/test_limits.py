"""Which lines are left out, and how that is told."""

import logging
from collections import Counter

import pytest

from firstfault import logs
from firstfault.logs.limits import MOST_EVENTS, Limits, Rules
from firstfault.logs.trace_context import begin


class Clock:
    """Seconds that go on when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def limits(clock, rate=None, share=None):
    return Limits(Rules.of(rate, "rate", float("inf")), Rules.of(share, "sample", 1.0), clock)


def test_an_event_has_so_many_lines_a_second(clock):
    """What is above its rate is refused; each event has an allowance of its own, which fills with time."""
    limit = limits(clock, {"*": 5, "rare": 1})
    assert [limit.admit("rare", "info", None) for _ in range(3)] == [True, False, False]
    assert sum(limit.admit("other", "info", None) for _ in range(20)) == 5
    clock.now = 1.0
    assert sum(limit.admit("other", "info", None) for _ in range(20)) == 5
    clock.now = 1.5
    assert sum(limit.admit("other", "info", None) for _ in range(20)) == 2
    assert sum(limit.admit("rare", "info", None) for _ in range(20)) == 1


def test_an_event_counts_before_its_level_and_that_before_the_rest():
    """The most particular rule is the one that holds, and levels are named in any case."""
    rules = Rules.of({"*": 3, "WARNING": 2, "slow": 1}, "rate", 10)
    assert (rules.find("slow", "warning"), rules.find("x", "warning"), rules.find("x", "info")) == (1, 2, 3)


def test_a_sample_keeps_traces_whole(clock):
    """Lines of one trace are all kept or all left out, and about the asked share of traces is kept."""
    limit = limits(clock, share={"step": 0.2})
    traces = [begin().trace_id for _ in range(2_000)]
    kept = Counter(trace for trace in traces for _ in range(3) if limit.admit("step", "info", trace))
    assert set(kept.values()) == {3}
    assert 300 < len(kept) < 500
    assert limit.admit("other", "info", traces[0])


def test_a_sample_without_traces_has_the_asked_share(clock):
    """So has a sample of lines that belong to no trace."""
    limit = limits(clock, share=0.25)
    assert 800 < sum(limit.admit("x", "info", None) for _ in range(4_000)) < 1_200


def test_messages_without_end_fill_no_memory(clock):
    """Beyond a number of events, others share one allowance, and their lines are still counted."""
    limit = limits(clock, 1)
    admitted = sum(limit.admit(f"user {number}", "info", None) for number in range(MOST_EVENTS + 500))
    assert len(limit._events) <= MOST_EVENTS + 1
    assert admitted + sum(left.lines for left in limit.left_out()) == MOST_EVENTS + 500


def test_what_was_left_out_is_counted_and_told(make):
    """The log says how many lines of which event are missing, and by which rule; a kept one says its share."""
    log, logger, lines = make(rate={"*": 100, "tick": 3}, sample={"debug": 0.5}, level="DEBUG")
    for _ in range(10):
        logger.warning("tick", extra={"event": "tick"})
    with logs.bound(trace=logs_trace(0)):
        logger.debug("kept")
    with logs.bound(trace=logs_trace(2**32 - 1)):
        logger.debug("not kept")
    log.close()
    told = lines()
    assert sum(line["message"] == "tick" for line in told) == 3
    assert [line["labels"]["sample_share"] for line in told if line["message"] == "kept"] == [0.5]
    notes = {line["labels"]["reason"]: line for line in told if line.get("event.action") == "lines_left_out"}
    assert notes["rate"]["labels"]["left_out"] == 7 and notes["sample"]["labels"]["left_out"] == 1
    assert "7 lines of 'tick' (warning) were left out" in notes["rate"]["message"]
    assert log.left_out == {"rate": 7, "sample": 1}


def logs_trace(end):
    """A trace whose id ends with a number, which decides whether a sample keeps it."""
    from firstfault.logs.trace_context import TraceContext

    return TraceContext(f"{1:024x}{end:08x}", f"{1:016x}")


def test_the_seeds_of_the_user_are_untouched(make):
    """Sampling draws nothing from the global generator."""
    import random

    _, logger, _ = make(sample=0.5)
    random.seed(3)
    expected = random.random()
    random.seed(3)
    for _ in range(20):
        logger.info("x")
    assert random.random() == expected
    assert logger.isEnabledFor(logging.INFO)
