"""Records become arms: in their order, in pairs, by the sample, and by what their arm was drawn by."""

import numpy as np
import pytest
from arms import record, split, write

from firstfault.monitor.hours import close_hours
from firstfault.monitor.record import Arm
from firstfault.monitor.rollout.comparison import Conclusion, compare
from firstfault.monitor.rollout.gathering import SETTLING_SECONDS, UNIT, Gathered
from firstfault.monitor.rollout.outcomes import Outcomes
from firstfault.monitor.rollout.plan import Mode, Plan
from firstfault.monitor.rollout.tail import Tail


def gathered(records, mode=Mode.CANARY, **more):
    """All of them, at once."""
    found = Gathered(mode, **more)
    found.add(records)
    return found


def concluded(records, mode=Mode.CANARY, **plan):
    """What is concluded of them."""
    return compare(*gathered(records, mode).arms(), Plan(mode, **plan))


def test_requests_come_in_the_order_of_their_ends():
    """One that took long comes when it was over, and what was over a moment ago waits for those still on their way."""
    records = [record(0, Arm.CHAMPION, seconds=5.0), record(1, Arm.CANARY), record(2, Arm.CHAMPION)]
    found = Gathered(Mode.CANARY)
    found.add(records, records[2].time + SETTLING_SECONDS)
    assert found.counts == (0, 1)
    found.add([], records[0].time + 5.0 + SETTLING_SECONDS)
    champion, challenger = found.arms()
    assert challenger.ids == ("r1",) and champion.ids == ("r2", "r0")
    assert [*champion.time, *challenger.time] == [1.0, 2.0, 0.0]


def test_only_these_arms_of_this_model_count():
    """A shadow is no canary, and another model is another rollout."""
    records = [record(0, Arm.CHAMPION), record(1, Arm.SHADOW), record(2, Arm.CANARY, model="other")]
    assert gathered(records, model="churn").counts == (1, 0)


@pytest.mark.parametrize("way", ["proxy", "asgi"])
def test_a_pair_is_what_our_copy_shares_with_its_original(way):
    """The span, else the id of the request; what has no other half is left out, and disagreements are counted."""
    other = {} if way == "proxy" else {"span_id": "f" * 16}
    marked = record(0, Arm.SHADOW, way=way, marks=("shadow_disagreed",), **other)
    found = gathered([record(0, Arm.CHAMPION, way=way), record(1, Arm.CHAMPION, way=way), marked], Mode.SHADOW)
    assert (found.counts, found.disagreed) == ((1, 1), 1)
    assert found.arms()[0].ids == found.arms()[1].ids


def test_a_clients_second_attempt_is_no_half_of_the_first():
    """Both have one id; the copy of the second is paired with the second."""
    first = record(0, Arm.CHAMPION, bad=True, request_id="r")
    second = [record(1, arm, request_id="r") for arm in (Arm.CHAMPION, Arm.SHADOW)]
    champion, challenger = gathered([first, *second], Mode.SHADOW).arms()
    assert (champion.bad.tolist(), challenger.bad.tolist()) == ([0.0], [0.0])


def test_a_copys_time_is_not_compared():
    """It has another way and another load than its original; what others have mirrored is timed alike on both sides."""
    for way, known in (("proxy", False), ("asgi", True)):
        pair = [record(0, arm, way=way) for arm in (Arm.CHAMPION, Arm.SHADOW)]
        assert gathered(pair, Mode.SHADOW).arms()[0].measured("seconds") is known


def test_a_challenger_that_refuses_is_worse():
    """What the champion answers, it refuses: quick, and without an error."""
    arms = [each.arm for each in split(400, (0, 0))]
    records = [record(n, arm, bad="refused" if arm is Arm.CANARY else False) for n, arm in enumerate(arms)]
    assert concluded(records, share=0.5).conclusion is Conclusion.WORSE


@pytest.mark.parametrize("by", ["unit", "id"])
def test_what_was_drawn_at_once_is_one_coin(by):
    """A user whose every request fails, or a client that tries again and again, is one bad event, not fifty."""
    named = {"values": {UNIT: "user"}} if by == "unit" else {"request_id": "again"}
    users = split(400, (0.0, 0.0))
    again = [record(1_000 + number, Arm.CANARY, bad=True, **named) for number in range(50)]
    found = concluded(users + again, share=0.5)
    assert found.conclusion is Conclusion.UNDECIDED and found.fault is None
    (worse,) = [each for each in found.evidence if (each.measure, each.claim) == ("bad", "worse")]
    assert worse.e_value < 3


def test_wrong_shares_are_a_fault():
    """Nothing else is concluded, and the fault has its name."""
    found = concluded(split(4_000, (0.0, 0.5), share=0.2), share=0.5)
    assert (found.conclusion, found.fault) == (Conclusion.UNDECIDED, "sample_ratio_mismatch")
    assert concluded([each for each in split(400, (0, 0)) if each.arm is Arm.CHAMPION], share=0.5).fault


def sampled(records, share, seed=100):
    """The same as a monitor keeps them: all errors, and a share of the others, each for as many as it stands for."""
    rng = np.random.default_rng(seed)
    for each in records:
        drawn, bad = rng.random() < share, each.outcome != "ok"
        if bad or drawn:
            reasons = ("error",) * bad + ("sample",) * drawn
            weight = 1.0 if bad else 1 / share
            yield record(int(each.time - 1_700_000_000), each.arm, bad=bad, reasons=reasons, weight=weight)


def test_a_sampled_store_is_as_good_for_errors():
    """All errors are kept: they decide as soon as in a whole one, and the rates are those of all requests."""
    records = split(5_000, (0.05, 0.15))
    whole, part = concluded(records, share=0.5), concluded(list(sampled(records, 0.1)), share=0.5)
    assert (whole.conclusion, part.conclusion) == (Conclusion.WORSE, Conclusion.WORSE)
    assert part.rates["bad"] == pytest.approx(whole.rates["bad"], rel=0.15)
    assert part.after < whole.after


def test_equal_arms_of_a_sampled_store_are_not_called_otherwise():
    """Of 15, none is worse, better or of other shares."""
    runs = [list(sampled(split(800, (0.1, 0.1), 0.2, seed), 0.2, seed + 100)) for seed in range(15)]
    ends = [concluded(records, share=0.2) for records in runs]
    assert {end.conclusion for end in ends} <= {Conclusion.UNDECIDED, Conclusion.NO_WORSE}
    assert not [end for end in ends if end.fault]


@pytest.mark.parametrize(("mode", "n"), [(Mode.CANARY, 20_000), (Mode.SHADOW, 10_000)])
def test_without_a_single_error_a_challenger_is_no_worse(mode, n):
    """Its rate is shown to be negligible, where no ratio of rates can be; without that it is undecided."""
    rng = np.random.default_rng(0)
    at, half = np.arange(n, dtype=float), rng.random(n) < 0.5
    ids = tuple(map(str, range(n)))
    none = np.full(n, np.nan)
    whole = Outcomes(ids, at, np.zeros(n), none, none)
    arms = [
        Outcomes(tuple(np.array(ids)[side]), at[side], np.zeros(side.sum()), none[side], none[side])
        for side in (~half, half)
    ]
    sides = (whole, whole) if mode is Mode.SHADOW else arms
    found = compare(*sides, Plan(mode, 0.5))
    assert found.conclusion is Conclusion.NO_WORSE and "or it is below 0.001" in found.why
    assert compare(*sides, Plan(mode, 0.5, negligible=0.0)).conclusion is Conclusion.UNDECIDED


def test_blocks_stay_as_they_were_when_more_comes():
    """Where nobody drew, what an early look saw of a block is what a late one sees of it."""
    early = split(500, (0.1, 0.1), 0.3)
    late = early + [record(1_000 + number, Arm.CANARY) for number in range(5_000)]
    first, second = (concluded(records).evidence for records in (early, late))
    assert all(b.passed_after == a.passed_after for a, b in zip(first, second, strict=True) if a.passed_after)
    few = concluded(late, at_most=500).evidence
    assert [each.e_value for each in first] == [each.e_value for each in few]


def test_a_store_is_followed_record_by_record(settings):
    """Each comes once: a line that is on its way later, and one that became Parquet not again."""
    records = split(6, (0, 0))
    path = write(settings, records[:3])
    tail = Tail(settings, 0.0)
    assert [each.raw for each in tail.new()] == [each.raw for each in records[:3]]
    whole = path.read_bytes()
    write(settings, records[3:5], "other")
    with path.open("ab") as file:
        file.write(whole[:50])
    assert [each.raw for each in tail.new()] == [each.raw for each in records[3:5]]
    write(settings, records[5:], "third")
    assert close_hours(settings, records[0].time + 7_200) == 1
    assert [each.raw for each in tail.new()] == [records[5].raw]
    assert tail.new() == []


def test_only_what_stands_for_requests_is_followed(settings):
    """Neither a control of the hour's lottery, nor what came before the beginning."""
    records = [record(0, Arm.CHAMPION), record(10, Arm.CHAMPION), record(11, Arm.CANARY, weight=0.0)]
    write(settings, records)
    assert [each.raw for each in Tail(settings, records[1].time).new()] == [records[1].raw]
