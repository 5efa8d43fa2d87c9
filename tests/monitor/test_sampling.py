"""What is kept, and what it stands for."""

import random
import statistics

import pytest

from firstfault.monitor.record import Outcome, outcome_of
from firstfault.monitor.sampling import Sampler
from firstfault.monitor.settings import settings_of


def traffic(captured, seed, count):
    """Requests of which the odd ones are of many kinds, and a property that depends on how odd they are."""
    draw = random.Random(seed)
    for number in range(count):
        status = draw.choices((200, 422, 500), (0.95, 0.03, 0.02))[0]
        total = draw.lognormvariate(-4, 1)
        yield captured(f"{seed}-{number}", status, total), draw.betavariate(8, 2), draw.random() < 0.1 + (total > 0.1)


def test_weighted_rates_are_unbiased(captured):
    """Over many samples, the weighted number of any kind of request is their true number (Horvitz–Thompson)."""
    errors, property_errors = [], []
    for seed in range(40):
        sampler = Sampler(settings_of(sample=0.05, control=20))
        true = true_property = kept = kept_property = 0.0
        for request, confidence, has in traffic(captured, seed, 800):
            found = sampler.decide(request, outcome_of(request), confidence, None)
            true, true_property = true + 1, true_property + has
            if found is not None:
                kept, kept_property = kept + found.weight, kept_property + found.weight * has
        errors.append(kept / true - 1)
        property_errors.append(kept_property / true_property - 1)
    for found in (errors, property_errors):
        assert abs(statistics.mean(found)) < 3 * statistics.stdev(found) / len(found) ** 0.5


@pytest.mark.parametrize(
    ("request_", "outcome", "confidence", "fields", "reason"),
    [
        ({"status": 503}, Outcome.ERROR, None, None, "error"),
        ({"status": 422}, Outcome.REFUSED, None, None, "refused"),
        ({"disconnected": True}, Outcome.DISCONNECTED, None, None, "disconnected"),
        ({"total": 5.0}, Outcome.OK, None, None, "slow"),
        ({}, Outcome.OK, 0.2, None, "unsure"),
        ({}, Outcome.OK, 0.9, {"colour": "mauve"}, "novel"),
        ({}, Outcome.OK, 0.9, {"colour": 7}, "novel"),
        ({}, Outcome.OK, 0.9, {"colour": "red", "size": 1}, "novel"),
        ({"marks": ["adult_minor"]}, Outcome.OK, None, None, "marked"),
    ],
)
def test_what_is_special_is_always_kept(captured, request_, outcome, confidence, fields, reason):
    """Errors, refusals, hang-ups, what is slow, unsure, novel or marked is kept, and stands for itself."""
    sampler = Sampler(settings_of(sample=0.0, control=0))
    for number in range(400):
        sampler.decide(captured(f"usual-{number}"), Outcome.OK, 0.9, {"colour": "red"})
    assert sampler.decide(captured("usual"), Outcome.OK, 0.9, {"colour": "red"}) is None
    found = sampler.decide(captured("odd", **request_), outcome, confidence, fields)
    assert (found.reasons, found.weight) == ((reason,), 1.0)


def test_a_field_of_free_text_is_not_novel_for_ever(captured):
    """A field whose values are all different stops being looked at."""
    sampler = Sampler(settings_of(sample=0.0, control=0))
    kept = [sampler.decide(captured(), Outcome.OK, None, {"id": f"n{number}"}) for number in range(1000)]
    assert all(kept[:200]) and not any(kept[201:])


def test_the_lottery_keeps_the_lowest_of_the_hour(captured):
    """Controls are as many as were asked for, of healthy requests alone, and any is as likely as another."""
    sampler = Sampler(settings_of(sample=0.0, control=10))
    found = {}
    for number in range(2000):
        kept = sampler.decide(captured(f"r{number}"), Outcome.OK, None, None)
        if kept is not None:
            assert (kept.reasons, kept.weight) == (("control",), 0.0)
            found[number] = kept.control
    lowest = sorted(found, key=found.get)[:10]
    assert len(found) < 120 and min(lowest) < 1000 < max(lowest)
    assert sampler.decide(captured("bad", 500), Outcome.ERROR, None, None).control is None


def test_the_sample_is_the_same_wherever_it_is_drawn(captured):
    """Two servers keep the same requests, so that a request that passes both is known from end to end."""
    draws = [
        [
            number
            for number in range(500)
            if Sampler(settings_of(sample=0.1, control=0)).decide(captured(f"r{number}"), Outcome.OK, None, None)
        ]
        for _ in range(2)
    ]
    assert draws[0] == draws[1] and 25 < len(draws[0]) < 80
