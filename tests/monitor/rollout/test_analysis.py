"""The analysis of a rollout over a store: how it ends, what it says, and what a controller of rollouts gets to hear."""

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest
import yaml
from arms import record, split, write

from firstfault.monitor.record import Arm, Cuts
from firstfault.monitor.rollout.analysis import Analysis, Task, look_once, run
from firstfault.monitor.rollout.comparison import Comparison, Conclusion
from firstfault.monitor.rollout.conduct import _died
from firstfault.monitor.rollout.endpoint import STALE_SECONDS, Endpoint, exposition
from firstfault.monitor.rollout.noted import Note
from firstfault.monitor.rollout.plan import Mode, Plan
from firstfault.monitor.rollout.standing import Standing, nothing_yet

SPLIT = Plan(share=0.5)


def run_over(settings, records, plan=SPLIT, stop=None, **more):
    """All that an analysis says until it ends."""
    if records:
        write(settings, records)
    said = []
    run(Task(settings, plan, 0.0, every=0.05, settling=0.0, **more), said.append, stop or threading.Event())
    return said


def stopped():
    stop = threading.Event()
    stop.set()
    return stop


def test_it_ends_when_something_is_concluded(settings):
    """With the requests that show it, as they were recorded."""
    last = run_over(settings, split(600, (0.02, 0.4), path="POST /predict", request='{"x": 1}'))[-1]
    assert (last.conclusion, last.ended, last.passed, last.decided) == (Conclusion.WORSE, "decided", False, True)
    shown = last.comparison.shown
    assert len(shown) == 10 and [each["request_id"] for each in shown] == list(last.comparison.requests)
    assert shown[0]["request"] == '{"x": 1}' and shown[0]["challenger"]["status"] == 500
    assert shown[0]["champion"] is None


def test_a_pair_is_shown_with_both_sides(settings):
    """What was asked, both answers, and the first cut at which they differ."""
    records = [
        record(n, arm, bad=arm is Arm.SHADOW and n % 2 == 0, cuts=Cuts(raw=f"{n}", label=arm), response=f'"{arm}"')
        for n in range(60)
        for arm in (Arm.CHAMPION, Arm.SHADOW)
    ]
    last = run_over(settings, records, Plan(Mode.SHADOW))[-1]
    assert last.comparison.first_cut == "label" and last.conclusion is Conclusion.WORSE
    shown = last.comparison.shown[0]
    assert shown["first_cut"] == "label" and shown["request_id"].startswith("r") and " " not in shown["request_id"]
    assert (shown["champion"]["response"], shown["challenger"]["response"]) == ('"champion"', '"shadow"')


@pytest.mark.parametrize(
    ("how", "ended"),
    [
        ({"plan": Plan(share=0.5, at_most=100)}, "100 requests were looked at"),
        ({"seconds": 0.2}, "its time is over"),
        ({"stop": stopped()}, "it was interrupted"),
    ],
)
def test_an_end_without_a_conclusion_is_undecided(settings, how, ended):
    """After so many requests, after so long, and when it is told to; it is no pass."""
    last = run_over(settings, split(200, (0.02, 0.02)), **how)[-1]
    assert (last.conclusion, last.ended, last.passed) == (Conclusion.UNDECIDED, ended, False)


def test_wrong_shares_end_it_and_are_no_pass(settings):
    """There is no use in waiting."""
    last = run_over(settings, split(2_000, (0, 0), share=0.2))[-1]
    assert (last.ended, last.passed, last.decided) == ("decided", False, True)
    assert last.metric(0.0)["fault"] == "sample_ratio_mismatch"


def test_nothing_recorded_is_undecided(settings):
    """A store without a single request is no error; neither is one without the challenger's."""
    assert run_over(settings, [], stop=stopped())[-1].comparison.after == 0
    assert run_over(settings, [record(0, Arm.CHAMPION)], Plan(), stop=stopped())[-1].conclusion is Conclusion.UNDECIDED


def test_what_was_recorded_before_an_interruption_counts(settings):
    """It comes within a look: what that look has not seen, a last one does."""

    class WithinALook(threading.Event):
        asked = 0

        def is_set(self):
            self.asked += 1
            if self.asked == 2:
                write(settings, records[40:])
            return self.asked > 1

    records = split(80, (0.0, 0.0))
    last = run_over(settings, records[:40], stop=WithinALook())[-1]
    assert (last.champion + last.challenger, last.ended) == (80, "it was interrupted")


def test_looks_add_up(settings):
    """What is concluded after many looks is what is concluded after one."""
    records, analysis = split(600, (0.05, 0.4)), Analysis(Task(settings, SPLIT, 0.0))
    for number in range(0, 600, 100):
        write(settings, records[number : number + 100], f"w{number}")
        last = analysis.look()
    once = look_once(Task(settings, SPLIT, 0.0))
    assert (last.comparison.after, last.comparison.evidence) == (once.comparison.after, once.comparison.evidence)
    assert once.conclusion is Conclusion.WORSE


def test_without_a_beginning_the_challengers_first_request_is_it(settings):
    """The champion's traffic before it says nothing of the shares; the first itself is sure to be the challenger's."""
    before = [record(n, Arm.CHAMPION) for n in range(2_000)]
    after = split(600, (0.02, 0.4), time=1_700_010_000.0)
    write(settings, before + after)
    found = look_once(Task(settings, SPLIT))
    assert found.conclusion is Conclusion.WORSE and 500 < found.champion + found.challenger < 600
    assert look_once(Task(settings, SPLIT, 0.0)).comparison.fault == "sample_ratio_mismatch"


def test_a_note_lets_the_same_rollout_go_on(settings):
    """Until it is decided; another plan, another server or another header is another rollout."""
    first = Note(settings, SPLIT, "a", "b", "")
    assert not first.begin(1.0)
    again = Note(settings, SPLIT, "a", "b", "")
    assert again.begin(2.0) and again.began == 1.0
    again.decide()
    assert not again.begin(3.0) and again.began == 3.0
    for other in (Note(settings, Plan(share=0.4), "a", "b", ""), Note(settings, SPLIT, "a", "c", "")):
        assert not other.begin(4.0) and other.began == 4.0


def test_a_broken_note_begins_anew(settings):
    """As of a full disk."""
    settings.folder.mkdir(parents=True)
    (settings.folder / "rollout.json").write_text("{")
    assert not Note(settings, SPLIT, "a", "b", "").begin(5.0)


def test_an_analysis_that_died_has_concluded_nothing():
    """Not even what it said before."""
    last = Standing(Comparison(Conclusion.NO_WORSE, 90, "fine"), 50, 40, time=1.0)
    found = _died(last, -9)
    assert (found.conclusion, found.passed, found.champion) == (Conclusion.UNDECIDED, False, 50)
    assert "died (exit status -9)" in found.ended and "90 requests" in found.comparison.why


CONCLUDED = {
    Conclusion.BETTER: (200, 403, 1),
    Conclusion.NO_WORSE: (200, 403, 1),
    Conclusion.WORSE: (403, 200, -1),
    Conclusion.UNDECIDED: (403, 403, 0),
}


@pytest.mark.parametrize("conclusion", Conclusion)
def test_a_controller_hears_a_pass_of_better_and_no_worse_alone(conclusion):
    """By JSON, by the gates' statuses, and by Prometheus' number; what is undecided passes nowhere."""
    endpoint, now = Endpoint(), time.time()
    endpoint.standing = Standing(Comparison(conclusion, 9, "so"), 5, 4, time=now, ended="decided")
    promote, rollback, value = CONCLUDED[conclusion]
    assert (endpoint.answer("/promote", now)[0], endpoint.answer("/rollback", now)[0]) == (promote, rollback)
    told = json.loads(endpoint.answer("/metric", now)[2])
    assert (told["conclusion"], told["value"], told["passed"]) == (conclusion, value, promote == 200)
    assert f"\nfirstfault_rollout_value {value}\n" in exposition(endpoint.standing)
    assert endpoint.answer("/nowhere", now)[0] == 404


def test_prometheus_reads_it():
    """Every line, by its own parser."""
    from prometheus_client.parser import text_string_to_metric_families

    families = {each.name: each for each in text_string_to_metric_families(exposition(nothing_yet("why")))}
    assert [sample.value for sample in families["firstfault_rollout_value"].samples] == [0.0]
    assert len(families["firstfault_rollout_conclusion"].samples) == 4


def test_an_analysis_that_hangs_is_no_pass():
    """When it has not looked for too long, nothing is answered but that; one that has ended stays what it was."""
    endpoint, now = Endpoint(), time.time()
    passed = Standing(Comparison(Conclusion.BETTER, 9, "so"), time=now - STALE_SECONDS - 1)
    endpoint.standing = passed
    assert [endpoint.answer(path, now)[0] for path in ("/metric", "/promote", "/rollback", "/metrics")] == [503] * 4
    assert json.loads(endpoint.answer("/metric", now)[2])["passed"] is False
    endpoint.standing = msgspec.structs.replace(passed, ended="decided")
    assert endpoint.answer("/promote", now)[0] == 200


def test_the_endpoint_listens(settings):
    """A webhook's POST is answered as a GET is; a path that is none gets a 404."""
    with Endpoint.of("127.0.0.1", 0) as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}"
        endpoint.standing = msgspec.structs.replace(nothing_yet("so"), time=time.time())
        with urllib.request.urlopen(f"{url}/metric?x=1", timeout=20) as answer:
            assert json.load(answer)["why"] == "so" and answer.headers["content-type"] == "application/json"
        for path, code in (("/promote", 403), ("/", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}{path}", data=b'{"phase": "Progressing"}', timeout=20)
            assert refused.value.code == code


def test_the_examples_for_controllers_are_what_the_endpoint_answers():
    """Paths, fields and conditions in the documentation's YAML; an analysis that stays undecided can't succeed."""
    text = (Path(__file__).parents[3] / "docs" / "rollouts.md").read_text()
    blocks = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    documents = {doc["kind"]: doc for block in blocks for doc in yaml.safe_load_all(block)}
    (metric,) = documents["AnalysisTemplate"]["spec"]["metrics"]
    told = nothing_yet("so").metric(0.0)
    assert metric["provider"]["web"]["jsonPath"] == "{$.conclusion}" and "conclusion" in told
    assert metric["inconclusiveLimit"] == metric["count"] - 1 and metric["failureLimit"] == 0
    assert metric["successCondition"] == 'result == "better" || result == "no_worse"'
    assert metric["failureCondition"] == 'result == "worse"'
    hooks = {hook["type"]: hook["url"] for hook in documents["Canary"]["spec"]["analysis"]["webhooks"]}
    assert {kind: url.rpartition("/")[2] for kind, url in hooks.items()} == {
        "confirm-promotion": "promote",
        "rollback": "rollback",
    }
    assert documents["MetricTemplate"]["spec"]["query"].strip() in exposition(nothing_yet("so"))
