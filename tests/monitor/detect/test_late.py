"""Changes that were noticed late or never: small ones, those of a part of the requests, and those without a model."""

import msgspec
import numpy as np
import pytest
from credit import Service

from firstfault.checks.data._column_marks import Column
from firstfault.checks.data._column_moves import new_category
from firstfault.monitor.detect.answers import scores_of
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.dependence import dependence
from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.memory import Memory
from firstfault.monitor.detect.settings import detection_of
from firstfault.monitor.detect.surrogate import Smooth, Trees, _solved
from firstfault.monitor.incidents import Incident
from firstfault.monitor.record import Arm, Cuts, Stages
from firstfault.monitor.requests import evidence_of

SETTINGS = detection_of(alpha=1e-4)
"""As seldom as short streams can tell."""
MIXED = np.array([[1.5, -1.0, 0.8, 0.0], [-1.0, 0.5, 0.6, 0.0], [-0.5, 0.5, -1.4, 0.0]])
"""Weights of three classes."""


def told(detector, records):
    """What passed in the first incident that records open, in words."""
    detector.feed(records)
    return {each.monitor for incident in detector.open for each in incident.evidence}


def answered(records, noise=0.0):
    """Requests with the logits of three classes, each a little off."""
    rng = np.random.default_rng(len(records))
    found = []
    for record in records:
        row = record.values["raw"]
        logits = 3 * (MIXED @ [row[name] for name in ("income", "age", "debt", "spare")]) + rng.normal(0, noise, 3)
        values = {"raw": row, "logits": logits.tolist(), "label": f"class {int(logits.argmax())}"}
        found.append(msgspec.structs.replace(record, values=values, confidence=None))
    return found


def test_answers_that_scatter_are_seen_before_their_classes_change():
    """Dropout that was left on moves all scores a little, and hardly a class: their distance from the usual tells."""
    service = Service()
    detector = Detector(SETTINGS, answered(service.requests(700, labelled=False)))
    assert told(detector, answered(service.requests(300, labelled=False))) == set()
    assert told(detector, answered(service.requests(100, labelled=False), 1.0)) == {"scores"}


def test_a_score_that_scatters_is_seen_where_its_mean_stays():
    """A single score has its distance too: on both sides of what is usual."""
    service, rng = Service(), np.random.default_rng(1)

    def scattered(records):
        return [
            msgspec.structs.replace(
                r, values={**r.values, "logits": [odds(r.values["logits"][0]) + rng.normal(0, 0.6)]}
            )
            for r in records
        ]

    def odds(p):
        return float(np.log(p / (1 - p)))

    baseline = [
        msgspec.structs.replace(r, values={**r.values, "logits": [odds(r.values["logits"][0])]}, confidence=None)
        for r in service.requests(700, labelled=False)
    ]
    detector = Detector(SETTINGS, baseline)
    assert told(detector, scattered(service.requests(100, labelled=False))) == {"scores"}


def waiting(records, often, seconds=0.1):
    """Requests of which some wait in the queue for longer than an answer takes, and the others not at all."""
    rng = np.random.default_rng(len(records))
    waits = np.where(rng.random(len(records)) < often, seconds, 0.0)
    stages = [Stages(0.021 + wait, queue=float(wait), model=0.02 * rng.lognormal(0, 0.1)) for wait in waits]
    return [msgspec.structs.replace(r, stages=each) for r, each in zip(records, stages, strict=True)]


@pytest.mark.parametrize(
    ("often", "seconds", "found"), [(0.07, 0.1, set()), (0.07, 1.0, set()), (0.35, 0.1, {"latency"})]
)
def test_a_queue_fills_where_most_requests_wait_for_nothing(often, seconds, found):
    """The median of the wait stays zero; how often one waits as long as an answer takes tells, and not how long."""
    service = Service()
    detector = Detector(SETTINGS, waiting(service.requests(500), 0.04))
    assert told(detector, waiting(service.requests(300), often, seconds)) == found


def of_kinds(service, n, kinds):
    """Requests whose kind moves their score a little."""
    found = []
    for record, kind in zip(service.requests(n, labelled=False), service.rng.choice(kinds, n), strict=True):
        odds = 1.2 * record.values["raw"]["income"] + {"a": 0.5, "b": -0.5}.get(str(kind), 0.0)
        values = {"raw": record.values["raw"] | {"kind": str(kind)}, "label": float(odds)}
        found.append(msgspec.structs.replace(record, values=values, confidence=None))
    return found


@pytest.mark.parametrize(
    ("kinds", "renamed"), [(["a", "b (2027)"], True), (["a", "b", "c"], False), (["a", "a"], False)]
)
def test_a_category_that_stays_away_while_an_unknown_one_comes_was_renamed(kinds, renamed):
    """No label is needed for that; a new kind beside the known ones, or one kind less, is nothing of it."""
    service = Service(3)
    detector = Detector(SETTINGS, of_kinds(service, 600, ["a", "b"]), only={"new_category"})
    assert (told(detector, of_kinds(service, 160, kinds)) == {"new_category"}) is renamed


def cached(service, n, inputs=None):
    """Requests of which all have a raw input, and those of `inputs` an answer for which no model was asked."""
    found = []
    for at, record in enumerate(service.requests(n)):
        kept = inputs is not None and at % 3 == 0
        raw = inputs(record, at) if kept else record.request_id
        found.append(msgspec.structs.replace(record, cuts=Cuts(raw=raw, logits="" if kept else f"l{raw}", label="1")))
    return found


@pytest.mark.parametrize(
    ("inputs", "found"),
    [(lambda record, at: record.request_id, {"unasked"}), (lambda record, at: f"r{at % 7}", set())],
    ids=["of others", "its own"],
)
def test_answers_without_a_model_are_a_sound_cache_where_their_input_came_before(inputs, found):
    """Answers out of a cache to inputs that are new belong to other inputs."""
    service = Service()
    detector = Detector(SETTINGS, cached(service, 400), only={"unasked"})
    assert told(detector, cached(service, 120, inputs)) == found


def test_a_number_is_looked_at_once():
    """A regression's answer is no log-odds, and nothing says how sure it is, even where it lies between 0 and 1."""
    records = [
        msgspec.structs.replace(r, values={**r.values, "logits": [0.1 * at], "label": 0.1 * at}, confidence=0.9)
        for at, r in enumerate(Service().requests(300, labelled=False))
    ]
    assert scores_of(Batch(records)).names == ("value",)


def test_what_a_row_would_leave_had_it_not_been_there_is_in_closed_form():
    """The same as learning without that row, row by row."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    kernel = np.exp(-((x[:, None] - x[None]) ** 2).sum(2))
    left = _solved(kernel.copy(), y, 0.1)[1]
    for row in range(0, 40, 8):
        others = np.delete(np.arange(40), row)
        weights = np.linalg.solve(kernel[np.ix_(others, others)] + 0.1 * np.eye(39), y[others])
        assert np.allclose(left[row], y[row] - kernel[row, others] @ weights)


def test_the_learner_that_foretells_better_is_taken():
    """A curve of a few columns among many is smooth, and steps are trees'; columns that say nothing don't matter."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 8))
    names = [f"c{place}" for place in range(8)]
    curve = np.sin(1.5 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    steps = np.sign(np.sin(6 * x[:, :1])) * np.where(x[:, 1:2] > 0, 2.0, -1.0)
    found = [dependence(x, names, scores) for scores in (curve, steps)]
    assert [type(each.surrogate.learned) for each in found] == [Smooth, Trees]
    assert [each.fields for each in found] == [{"c0", "c1", "c2"}, {"c0", "c1"}]
    assert found[0].explains(0) > 0.9


def test_what_is_usually_left_differs_from_input_to_input():
    """Inputs whose answers scatter by themselves are no further away: a promotion that brings them is nothing."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(900, 1)), rng.integers(0, 2, (900, 1))], axis=1)
    scores = x.sum(1, keepdims=True) + rng.normal(0, np.where(x[:, 1:] > 0, 0.4, 0.05))
    spread = dependence(x, ["a", "b"], scores).surrogate.spread[:, 0]
    assert np.median(spread[x[:, 1] > 0]) > 3 * np.median(spread[x[:, 1] == 0])


def test_a_control_leaves_out_what_came_just_before():
    """What was noticed a little late had begun before it showed: these requests are on neither side."""
    memory, records = Memory(), Service().requests(600)
    memory.go_on(records, np.zeros(600), late=False)
    assert memory.before(records[500].time) == tuple(record.raw for record in records[200:400])
    assert memory.before(records[250].time) == tuple(record.raw for record in records[:200])


def test_beside_what_was_usual_the_arms_have_their_usual_shares():
    """An incident that was noticed late is compared with the shares, and the labels, of long before."""
    service = Service()

    def split(n, every, **fields):
        arms = [Arm.CANARY if at % every == 0 else Arm.CHAMPION for at in range(n)]
        return [msgspec.structs.replace(r, arm=a) for r, a in zip(service.requests(n, **fields), arms, strict=True)]

    incident = Incident("i", "credit", "arms", 0.0, 0.0, 9.0, "")
    late = evidence_of(incident, split(100, 4), split(100, 4), usual=split(100, 2, labelled=False))
    telemetry = late.beside_usual().telemetry
    assert telemetry.control_arms == {"canary": 50, "champion": 50} and telemetry.arms["canary"] == 25
    assert late.beside_usual().control is late.usual


def test_a_renamed_category_is_certain_without_a_label():
    """It stays away, and another comes as often: no healthy traffic does so; a new one beside it is only new."""
    before = ["sun", "mon", "tue"] * 40
    after = ["sun (2027)", "mon", "tue"] * 40
    mark = new_category(Column("day", before, after, [], 1))
    assert mark.certain and mark.undo({"day": "sun (2027)"}, None) == {"day": "sun"}
    beside = new_category(Column("day", before, ["sun", "mon", "tue", "holiday"] * 30, [], 1))
    assert not beside.certain
