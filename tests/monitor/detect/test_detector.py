"""Incidents in a stream of requests."""

import msgspec
import numpy as np
import pytest
from credit import Service

from firstfault.errors import FirstfaultError
from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.settings import detection_of
from firstfault.monitor.record import Arm, Outcome, Resources, Stages, Stream


def moved(column, by):
    """Adds to one column."""

    def change(x):
        x[:, column] += by
        return x

    return change


def opened(detector, records):
    """The monitors of the incidents that opened."""
    return [incident.monitor for incident in detector.feed(records) if incident.closed is None]


def test_usual_requests_open_nothing(service, detector):
    """Of three thousand requests as usual, no incident comes."""
    assert detector.feed(service.requests(3_000)) == []


FAULTS = {
    "failures": ({"failing": 0.05}, "bad_events"),
    "wrong answers": ({"wrong": 0.3}, "label_errors"),
    "slow model": ({"seconds": 2.0}, "latency:model"),
    "moved column": ({"change": moved(0, 1.0)}, "inputs"),
    "other unit": ({"change": lambda x: x * np.array([100, 1, 1, 1])}, "novelty"),
    "far out": ({"more": lambda at: {"income": 1e6} if at % 5 == 0 else {}}, "novelty"),
    "text for number": ({"more": lambda at: {"age": "41 years"}}, "novelty"),
    "marked": ({"marks": ("harmful",)}, "marks"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_opens_one_incident_of_its_monitor(service, detector, name):
    """Whatever goes wrong, one incident opens, by the monitor that looks at it."""
    plan, monitor = FAULTS[name]
    found = opened(detector, service.requests(1_500, **plan))
    assert found == [monitor]


HARMLESS = {
    "an ignored column drifts": {"change": moved(3, 50.0)},
    "a new field": {"more": lambda at: {"campaign": "winter"}},
    "a slow client": {"stages": Stages(2.0, model=0.02), "stream": Stream(0.021, 4, 0.5, 1.0)},
    "other customers": {
        "change": lambda x: x + np.array([0.3, 0.3, 0.3, 0.3]) * (np.arange(len(x)) % 2)[:, None] * 0.2
    },
    "hang-ups": {"outcome": Outcome.DISCONNECTED},
    "a shadow": {"arm": Arm.SHADOW, "outcome": Outcome.ERROR},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_harms_nobody_opens_nothing(service, detector, name):
    """Drift at which the model doesn't look, new fields, slow clients and the shadow's errors are no incidents."""
    assert opened(detector, service.requests(1_500, **HARMLESS[name])) == []


def test_one_cause_is_one_incident(service, detector):
    """What fails and is slow at once is one incident, with a piece of evidence for each."""
    (incident,) = detector.feed(service.requests(1_200, failing=0.3, seconds=3.0))
    (still,) = detector.open
    assert still.id == incident.id
    assert {each.monitor for each in still.evidence} >= {"bad_events", "latency"}


def test_an_incident_says_when_it_began(service, detector):
    """The change is dated within a few dozen requests, and never after the opening."""
    usual, broken = service.requests(500), service.requests(600, change=moved(0, 1.5))
    (incident,) = detector.feed([*usual, *broken])
    assert broken[0].time - 60 <= incident.began <= broken[60].time
    assert incident.began <= incident.opened


def test_an_incident_refers_to_its_requests_and_to_healthy_ones_before(service, detector):
    """Requests come from after its beginning, controls from before, and they grow while it is open."""
    usual, broken = service.requests(500), service.requests(600, change=moved(0, 1.5))
    (incident,) = detector.feed([*usual, *broken])
    (still,) = detector.open
    assert set(incident.control) <= {record.raw for record in usual} | {record.raw for record in broken[:60]}
    assert len(still.requests) == 400 > len(incident.control) > 50


def test_an_incident_closes_itself(service, detector):
    """When requests are as usual again, it closes once, and nothing opens after it."""
    (incident,) = detector.feed(service.requests(600, change=moved(0, 1.5)))
    closed = detector.feed(service.requests(2_000))
    assert [(each.id, each.closed is not None) for each in closed] == [(incident.id, True)]
    assert detector.open == []


def test_it_does_not_close_while_it_lasts(service, detector):
    """Of three thousand requests that go on failing, none closes it."""
    assert len(detector.feed(service.requests(3_000, failing=0.06))) == 1


def test_without_a_baseline_the_first_requests_are_usual():
    """What is usual is learned from the first requests; until then nothing is said."""
    service, detector = Service(), Detector(detection_of(reference=800))
    assert detector.feed(service.requests(700)) == []
    assert detector.told() == ["credit: 700 requests say too little yet"]
    detector.feed(service.requests(200))
    assert detector.told()[0] == "credit is compared with the first 800 requests"
    assert opened(detector, service.requests(800, change=moved(0, 1.5))) == ["inputs"]


def test_each_request_at_once_or_all_together_is_the_same(service, learned):
    """The evidence is that of the requests, however they come."""
    import copy

    records = service.requests(800, change=moved(0, 1.0))
    whole, parts = copy.deepcopy(learned[1]), copy.deepcopy(learned[1])
    first = whole.feed(records)
    second = [incident for at in range(0, 800, 8) for incident in parts.feed(records[at : at + 8])]
    assert [incident.opened for incident in first] == [incident.opened for incident in second]


def test_labels_that_come_late_count_as_those_that_come_at_once(service, detector):
    """Requests whose labels come later open the same incident."""
    records = service.requests(1_200, wrong=0.4)
    assert detector.feed([msgspec.structs.replace(record, label=None) for record in records]) == []
    assert [incident.monitor for incident in detector.feed_labels(records)] == ["label_errors"]


def test_first_labels_say_how_often_it_is_usually_wrong():
    """Where the reference has no label, the first ones are the reference, and the rest is compared with them."""
    service = Service()
    detector = Detector(detection_of(labels=600), service.requests(600, labelled=False))
    assert opened(detector, service.requests(700)) == []
    assert opened(detector, service.requests(1_500, wrong=0.35)) == ["label_errors"]


def test_rates_are_unbiased_under_tail_sampling(learned):
    """With all failures kept, and a twentieth of the others, the usual rate opens nothing, and a higher one does."""
    service = Service(5)

    def kept(records):
        for at, record in enumerate(records):
            sampled = at % 20 == 0
            if record.outcome is Outcome.ERROR:
                yield msgspec.structs.replace(record, reasons=("error", "sample")[: 1 + sampled], weight=1.0)
            elif sampled:
                yield msgspec.structs.replace(record, weight=20.0)

    detector = Detector(baseline=kept(service.requests(12_000, failing=0.02)))
    assert opened(detector, kept(service.requests(12_000, failing=0.02))) == []
    assert opened(detector, kept(service.requests(4_000, failing=0.06))) == ["bad_events"]


def test_memory_that_grows_opens_an_incident():
    """A process whose memory is half again as much as ever is told."""
    service = Service()
    usual = service.requests(400, resources=Resources(cpu=0.2, rss=400_000_000))
    detector = Detector(baseline=usual)
    assert opened(detector, service.requests(300, resources=Resources(cpu=0.2, rss=700_000_000))) == ["resources"]


def test_a_setting_that_is_none_is_refused():
    """An unknown setting, and one out of its range, get one sentence."""
    with pytest.raises(FirstfaultError, match="did you mean 'alpha'|must be one of alpha"):
        detection_of(alfa=0.1)
    with pytest.raises(FirstfaultError, match="alpha must be between 0 and 1, but got 2"):
        detection_of(alpha=2.0)


def test_a_number_too_large_for_a_float_ends_nothing(service, detector):
    """A whole number of 400 digits, as any client may send, is one that is not known: asked, answered or as a label."""
    large, requests = 10**400, service.requests(40)
    for at, name in enumerate(("raw", "logits", "label")):
        values = requests[at].values
        value = {**values["raw"], "income": -large, "list": [large]} if name == "raw" else [large]
        requests[at] = msgspec.structs.replace(requests[at], values={**values, name: value}, label=large)
    assert detector.feed(requests) == []
