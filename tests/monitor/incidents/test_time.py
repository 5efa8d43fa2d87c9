"""Slow answers: the stage that took longer, and what explains its seconds."""

import msgspec
import numpy as np
import pytest
from served import START, Server
from target import rows

from firstfault.finding import Layer
from firstfault.monitor.record import Resources, Stream
from firstfault.subject.offline import offline
from firstfault.verdict import VerdictStatus

MB = 1 << 20
N = 200


def usual(place):
    draw = np.random.default_rng(place)
    return {"queue": 0.0002, "preprocess": 0.002 * draw.gamma(9, 1 / 9), "model": 0.008 * draw.gamma(9, 1 / 9)}


def slower(stage, seconds):
    """The usual seconds, and more in one stage."""
    return lambda place: {**usual(place), stage: usual(place)[stage] + seconds(place)}


def throttled(place):
    return place % 2


@pytest.fixture(scope="module")
def good(base, settings):
    frame, _ = rows(N, 11)
    return Server(offline(base), settings, seconds=usual).serve(frame.to_dict("records"))


@pytest.fixture
def slow(base, settings, good, judged):
    """The verdict over requests of a server whose time or resources are other."""

    def verdict(every=1.0, change=None, monitor="latency:total", server=Server, **parts):
        frame, _ = rows(N, 12)
        records = server(offline(base), settings, **{"seconds": usual, **parts}).serve(
            frame.to_dict("records"), at=START + 700, every=every
        )
        return judged(base, [change(record) for record in records] if change else records, good, monitor=monitor)

    return verdict


class WaitingForALogger(Server):
    def rest(self, place):
        return 0.02


CASES = {
    "latency_regression": {"seconds": slower("model", lambda place: 0.02), "version": "8"},
    "cpu_throttled": {
        "seconds": slower("model", lambda place: 0.04 * throttled(place)),
        "resources": lambda place: Resources(cpu=0.3, rss=400 * MB, throttled=0.8 * throttled(place)),
    },
    "cpu_throttled, of one replica in six": {
        "seconds": slower("model", lambda place: 0.06 * (place % 6 == 0)),
        "resources": lambda place: Resources(cpu=0.3, rss=400 * MB, throttled=0.4 * (place % 6 == 0)),
    },
    "queue_saturation": {"seconds": slower("queue", lambda place: 0.05), "every": 0.2},
    "cold_start": {"seconds": slower("model", lambda place: 0.6 * 0.6 ** (place % 40))},
    "cold_start, for which others wait": {
        "seconds": lambda place: {
            **usual(place),
            "model": usual(place)["model"] + 0.6 * 0.6 ** (place % 40),
            "queue": 0.1 * (place % 40) * (place % 40 < 9),
        }
    },
    "payload_growth": {
        "seconds": slower("model", lambda place: 4e-6 * (3000 + 40 * place)),
        "size": lambda place: 3300 + 40 * place,
    },
    "thread_oversubscription": {
        "seconds": slower("model", lambda place: 0.02),
        "resources": lambda place: Resources(cpu=1.5, rss=400 * MB, throttled=0.0),
    },
    "blocking_telemetry": {"server": WaitingForALogger},
    "memory_growth": {
        "seconds": slower("model", lambda place: 0.0003 * place),
        "resources": lambda place: Resources(cpu=0.3, rss=(400 + 4 * place) * MB, throttled=0.0),
    },
}


@pytest.mark.parametrize("fault", CASES)
def test_what_makes_answers_slow_is_named_with_its_stage(slow, fault):
    """By the stages' times against size, wait, throttling, age and memory of the process."""
    verdict, fault = slow(**CASES[fault]), fault.partition(",")[0]
    assert [(found.fault, found.layer) for found in verdict.faults][:1] == [(fault, Layer.DEPLOYMENT)]
    [outcome] = [outcome for outcome in verdict.outcomes if outcome.fault == fault]
    assert outcome.confirmed or outcome.reason.startswith("unproven")


def test_clients_that_take_their_answers_slowly_are_no_fault(slow):
    """The first part left as soon as ever; the seconds after it are the clients'."""

    def waits(record):
        total = record.stages.total + 2.0
        stages = msgspec.structs.replace(record.stages, total=total)
        return msgspec.structs.replace(record, stages=stages, stream=Stream(record.stages.total, 8, 2 / 7, 0.4))

    assert slow(change=waits).status is VerdictStatus.HEALTHY


def test_an_incident_of_time_is_not_cleared_by_right_answers(slow):
    """Nothing is slow, and the answers are right; what opened it stays unexplained."""
    verdict = slow()
    assert verdict.status is VerdictStatus.UNDECIDED and "latency:total" in verdict.not_cleared[0]


def test_bad_input_that_a_server_fails_on_should_have_been_refused(base, settings, good, judged):
    """One in four requests is the same with nothing in a field, and ends in a TypeError: no copy of what is served."""
    frame, _ = rows(N, 13)
    raw = frame.to_dict("records")
    raw[::4] = [{**raw[0], "age": {"value": 1}}] * len(raw[::4])
    server = Server(offline(base), settings, seconds=usual, fails=lambda row: isinstance(row["age"], dict))
    verdict = judged(base, server.serve(raw, at=START + 700), good, monitor="bad_events")
    assert verdict.faults[0].fault == "unvalidated_input" and "age is a dict" in verdict.faults[0].evidence[0]


def test_slow_requests_are_run_again_alone(base, settings, good, judged, slow):
    """They take no longer than the control's where the code was slow, and longer where each asks for 400 rows.

    The sizes in bytes say nothing here.
    """
    code = slow(**CASES["latency_regression"])
    assert code.faults[0].confirmed and code.faults[0].swap.after < 2 < code.faults[0].swap.before
    raw = rows(22 * 400, 14)[0].to_dict("records")
    server = Server(offline(base), settings, seconds=slower("model", lambda place: 0.005))
    records = server.serve(raw, batch=400, at=START + 700, cuts=False)
    large = judged(base, records, good, monitor="latency:total")
    (outcome,) = [each for each in large.outcomes if each.fault == "latency_regression"]
    assert not large.faults and outcome.confirmed is False and "what they ask" in outcome.reason


def test_memory_that_grows_is_not_refuted_by_its_seconds(slow):
    """Seconds that memory does not explain leave its growth unproven, and it stands."""
    grows = CASES["memory_growth"] | {"seconds": slower("model", lambda place: 0.02)}
    fault = next(fault for fault in slow(**grows, monitor="resources").faults if fault.fault == "memory_growth")
    assert fault.confirmed is None
