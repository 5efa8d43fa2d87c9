"""Labels: what the surest answers say of them, and the part of the requests for which none come."""

import msgspec
import numpy as np
import pytest

from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.settings import detection_of


def calibrated(service, n, turned=0.0):
    """Requests whose label is right the more often the surer the model is of it, or turned."""
    records = service.requests(n)
    odds = [3 * np.log(p / (1 - p)) for p in (record.values["logits"][0] for record in records)]
    chance = 1 / (1 + np.exp(-np.array(odds)))
    labels = (service.rng.random(n) < chance) ^ (service.rng.random(n) < turned)
    return [msgspec.structs.replace(r, label=int(one)) for r, one in zip(records, labels, strict=True)]


def test_labels_that_turn_show_among_the_surest_answers_first(service):
    """A few labels in a hundred that turn are few beside as many wrong ones, and many where there was none."""
    detector = Detector(detection_of(alpha=1e-4), calibrated(service, 1_000), only={"label_errors"})
    assert detector.feed(calibrated(service, 600)) == []
    (incident,) = detector.feed(calibrated(service, 300, turned=0.08))
    assert incident.evidence[0].place == "surest labelled answers"
    assert "of the surest labelled answers are wrong, where at most" in incident.message


PARTS = {
    "answer 1": lambda record: record.values["label"] == 1,
    "process w2": lambda record: record.raw.startswith("2026-11-02T12/w2"),
    "region north": lambda record: record.values["raw"]["region"] == "north",
}


def of_parts(service, n):
    """Requests that two processes answer, for two regions."""
    records = service.requests(n, more=lambda at: {"region": "north" if at % 4 == 0 else "south"})
    return [msgspec.structs.replace(r, raw=f"2026-11-02T12/w{1 + at % 2}:{at}") for at, r in enumerate(records)]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_gets_no_labels_any_more_is_told(service, name):
    """Labels of one answer, process or category stay away while others come: it is said, and opens nothing."""
    detector = Detector(baseline=of_parts(service, 600), only={"label_errors"})
    detector.feed(of_parts(service, 700))
    assert not any("labels come for a part" in sentence for sentence in detector.told())
    records = of_parts(service, 1_200)
    detector.feed([msgspec.structs.replace(record, label=None) for record in records])
    detector.feed_labels([record for record in records if not PARTS[name](record)])
    told = [sentence for sentence in detector.told() if "labels come for a part" in sentence]
    assert len(told) == 1 and f"{name} has 0% of the last 500 labels" in told[0]


def test_late_labels_open_their_own_incident(service, detector):
    """What has been slow for seconds alone is no part of it, though its evidence is the larger one."""
    records, slow = service.requests(1_200, wrong=0.4), service.requests(20, seconds=8.0, labelled=False)
    assert detector.feed([*(msgspec.structs.replace(record, label=None) for record in records), *slow]) == []
    (incident,) = detector.feed_labels(records)
    assert incident.monitor == "label_errors"
    assert {each.monitor for each in incident.evidence} == {"label_errors"}
