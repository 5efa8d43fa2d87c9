"""Single monitors: what opens them, and what does not."""

import msgspec
import numpy as np
import pytest
from credit import START, Service

from firstfault.monitor.detect.dependence import dependence
from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.population import Population
from firstfault.monitor.detect.settings import detection_of
from firstfault.monitor.record import Arm, Cuts

WORDS = [
    "please",
    "send",
    "the",
    "invoice",
    "for",
    "my",
    "order",
    "again",
    "because",
    "it",
    "never",
    "came",
    "to",
    "this",
    "address",
    "thank",
    "you",
    "very",
    "much",
]


def opened(detector, records):
    return [incident.monitor for incident in detector.feed(records) if incident.closed is None]


def texts(n, seed=0, change=lambda text, at: text):
    """Requests with a text, whose class depends on a word of it."""
    rng, service = np.random.default_rng(seed), Service(seed)
    said = [" ".join(rng.choice(WORDS, 12)) for _ in range(n)]
    found = []
    for at, record in enumerate(service.requests(n, labelled=False)):
        values = {"raw": {"text": change(said[at], at)}, "label": "post" if "address" in said[at] else "sales"}
        found.append(msgspec.structs.replace(record, values=values))
    return found


def pictures(n, seed=0, noise=False):
    """Requests with smooth pictures, or with noise in their place."""
    rng, service = np.random.default_rng(seed), Service(seed)
    waves = np.sin(np.add.outer(np.arange(12), np.arange(12)) / 4)
    found = []
    for at, record in enumerate(service.requests(n, labelled=False)):
        image = rng.normal(size=(12, 12)) if noise and at % 2 else waves * rng.uniform(0.5, 1.5) + rng.normal(0, 0.02)
        found.append(msgspec.structs.replace(record, values={"raw": {"image": image.tolist()}, "label": at % 3}))
    return found


def test_gibberish_opens_an_incident():
    """Texts of random letters are told from the language that is usual."""

    def broken(text, at):
        return text if at % 2 else "".join(np.random.default_rng(at).choice(list("qxzjkv#7/="), 70))

    detector = Detector(baseline=texts(400))
    assert detector.feed(texts(400, 1)) == []
    assert opened(detector, texts(300, 2, broken)) == ["gibberish"]


def test_noise_in_place_of_pictures_opens_an_incident():
    """Arrays whose neighbours have nothing in common are no pictures."""
    detector = Detector(baseline=pictures(400))
    assert detector.feed(pictures(300, 1)) == []
    assert opened(detector, pictures(300, 2, noise=True)) == ["gibberish"]


def with_kind(service, n, kinds, sure=1.0):
    """Requests of some kinds, on which the answers depend."""
    found = []
    for record, kind in zip(service.requests(n, labelled=False), service.rng.choice(kinds, n), strict=True):
        odds = {"a": 3.0, "b": -3.0, "c": 3.0}[str(kind)] * sure + record.values["raw"]["income"] * sure
        p = float(1 / (1 + np.exp(-odds)))
        values = {"raw": record.values["raw"] | {"kind": str(kind)}, "logits": [p], "label": int(p > 0.5)}
        found.append(msgspec.structs.replace(record, values=values, confidence=max(p, 1 - p)))
    return found


@pytest.mark.parametrize(("sure", "found"), [(1.0, []), (0.02, ["new_category"])])
def test_a_new_category_is_an_incident_where_it_is_answered_worse(sure, found):
    """Requests of a kind that never came are harmless while answers are as sure as ever, and told when they are not."""
    service = Service(3)
    detector = Detector(baseline=with_kind(service, 500, ["a", "b"]))
    usual, new = with_kind(service, 300, ["a", "b"]), with_kind(service, 50, ["c"], sure)
    mixed = [*usual[:150], *(each for four in zip(*[iter(usual[150:])] * 3, new, strict=True) for each in four)]
    assert opened(detector, mixed) == found


def test_other_answers_to_equal_inputs_open_an_incident():
    """Where equal inputs had equal answers, answers that vary are told."""

    def repeated(service, n, vary):
        return [
            msgspec.structs.replace(record, cuts=Cuts(raw=f"{at % 40:x}", label=f"{at % 40 + vary * at:x}"))
            for at, record in enumerate(service.requests(n))
        ]

    service = Service()
    detector = Detector(baseline=repeated(service, 800, 0))
    assert detector.feed(repeated(service, 300, 0)) == []
    assert opened(detector, repeated(service, 300, 1)) == ["repeats"]


def test_a_canary_gets_its_own_answers():
    """A challenger whose scores differ opens nothing; one that fails does."""
    service = Service()
    detector = Detector(baseline=service.requests(600))

    def canary(records):
        return [msgspec.structs.replace(r, arm=Arm.CANARY) if at % 2 else r for at, r in enumerate(records)]

    def other(record):
        return msgspec.structs.replace(record, values={**record.values, "logits": [0.99]}, confidence=0.99)

    better = [other(r) if r.arm is Arm.CANARY else r for r in canary(service.requests(600))]
    assert opened(detector, better) == []
    assert opened(detector, canary(service.requests(600, failing=0.2))) == ["bad_events"]


def hourly(service, weeks, n=1_500):
    """Requests over some weeks, of which far more fail by night."""
    records = service.requests(n)
    times = START + np.sort(service.rng.uniform(0, weeks * 7 * 86_400, n))
    night = times % 86_400 < 21_600
    fails = service.rng.random(n) < np.where(night, 0.4, 0.01)
    failed = service.requests(n, failing=1.0)
    return [
        msgspec.structs.replace(failed[at] if fails[at] else records[at], time=float(times[at]), raw=f"x:{at}")
        for at in range(n)
    ]


def test_what_is_usual_follows_the_hour_where_weeks_are_known():
    """A bad night is no incident where nights were always bad; by day it is."""
    service = Service()
    detector = Detector(baseline=hourly(service, 4, 6_000))
    assert detector.watches["credit"].reference.seasonal
    assert "by the hour of the week" in detector.told()[0]
    assert opened(detector, hourly(service, 1)) == []
    day = [
        msgspec.structs.replace(r, time=START + at, raw=f"y:{at}")
        for at, r in enumerate(service.requests(800, failing=0.2))
    ]
    assert opened(detector, day) == ["bad_events"]


def test_an_estimate_that_does_not_transfer_is_silent():
    """When labels tell of another accuracy than the confidences promise, the estimate says so, and nothing more."""
    service = Service()
    detector = Detector(baseline=service.requests(800, wrong=0.0))
    detector.feed(service.requests(1_500, wrong=0.6))
    assert any("calibration doesn't transfer" in told for told in detector.told())


def test_safeml_says_what_it_thinks_of_a_class():
    """Inputs of a class that are far from the reference's are handed over; asked for, that opens an incident."""

    def moved(x):
        return x + np.array([3.0, 3.0, 0, 0])

    service = Service()
    detector = Detector(baseline=service.requests(900))
    detector.feed(service.requests(400, change=moved))
    assert any("SafeML says of the inputs of class" in told and "hand over" in told for told in detector.told())
    service = Service()
    asked = Detector(detection_of(safeml=True), service.requests(900))
    asked.feed(service.requests(3_000, change=moved))
    assert "safeml" in {each.monitor for each in asked.open[0].evidence}


def test_a_column_that_moves_alone_is_told_from_a_population_that_moves():
    """Selected requests move correlated columns together; a broken column moves by itself."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(6_000, 1))
    x = common + rng.normal(size=(6_000, 3))
    selected, broken = x[3_000:][x[3_000:, 0] > 0.5][:300], x[:300] + np.array([1.0, 0, 0])
    for rows, together in ((selected, True), (broken, False)):
        population = Population(x[:3_000])
        population.add(np.arange(300.0), rows)
        assert population.moves_with(0, 0.0, 300.0) is together


def test_a_column_that_came_only_with_requests_without_an_answer_is_learned_without():
    """What the answers depend on is learned of the other columns."""
    generator = np.random.default_rng(4)
    features = generator.normal(size=(1_000, 3))
    scores = 2 * features[:, :1]
    features[:500, 2], scores[500:] = np.nan, np.nan
    found = dependence(features, ["age", "income", "debug"], scores)
    assert found.fields == {"age"}
    assert np.isfinite(found.usually(features).expected).all()
