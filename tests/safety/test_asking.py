"""Asking what may not answer: servers and judges that fail, budgets that end, and a Ctrl-C in the middle."""

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from firstfault import LM, AlignmentDebugger, BehaviorDebugger
from firstfault.behaviour.asking import Asker, Budget
from firstfault.behaviour.evaluation import Outcome, evaluate
from firstfault.behaviour.generation import generate_of
from firstfault.behaviour.history import keep, last_run
from firstfault.behaviour.suites import suite_of
from firstfault.behaviour.trust import trust

NAMES = "abcdefgh"


def suite(scorer="contains", **more):
    """Eight cases that expect yes."""
    cases = [{"id": name, "prompt": name, "scorer": scorer, "expect": "yes"} for name in NAMES]
    return suite_of({"name": "s", "cases": cases, **more}, "s.yaml", Path())


@pytest.fixture
def server():
    """A server on loopback: the address, and for each request in turn its status and the bytes that it answers."""
    replies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body, *length = replies.pop(0) if replies else said("yes")
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(length[0] if length else len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/v1", replies
    listening.shutdown()
    listening.server_close()


def said(text):
    """A chat completion."""
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        ([(429, b"slow down")] * 3, "answered HTTP 429: slow down"),
        ([(500, b"out of memory")], "answered HTTP 500: out of memory"),
        ([(404, b"")], "is not served (HTTP 404)"),
        ([(200, b"")], "gave an empty answer"),
        ([(200, b"\xff\xfe")], "must answer in UTF-8"),
        ([(200, b'{"choices":', 500)], "must answer with JSON"),
        ([(200, b"data: {}\n\n")], "broke off its stream"),
        ([said(None)], "its content is None"),
    ],
)
def test_a_server_that_fails_is_no_misbehaviour_of_its_model(server, replies, told):
    """Its case is unscored, with the reason in the headline, and all others count."""
    url, answers = server
    answers += replies
    run = evaluate(suite(), Asker(generate_of(LM(endpoint=url, seconds=5), Path())))
    assert [case.outcome for case in run.cases] == [Outcome.UNSCORED, *[Outcome.PASS] * 7]
    assert told in run.headline and not run.below


@pytest.mark.parametrize(("bound", "kept"), [({"requests": 3}, 3), ({"tokens": 2}, 2)])
def test_the_budget_of_an_endpoint_leaves_the_rest_unscored(server, bound, kept):
    """What was scored within it is kept, and the headline names the setting."""
    debugger = BehaviorDebugger(generate=generate_of(LM(endpoint=server[0], **bound), Path()), suites=[suite()])
    found = debugger.comprehensive_debug()
    assert len(found.runs["s"].scored) == kept and found.failures == []
    assert f"lm.{next(iter(bound))}" in found.runs["s"].headline


def test_a_judge_that_fails_later_takes_nothing_back(server):
    """What it has scored stays, and the headline says how it failed; its silence is no sign of gaming either."""
    url, answers = server
    answers += [said("yes"), said("maybe"), (503, b""), (503, b""), (503, b"")]
    ask = Asker(lambda prompt: "fine")
    run = evaluate(suite(f"{url}#criterion=fine"), ask)
    assert len(run.scored) == 6 and "gave no verdict" in run.headline
    assert "answered HTTP 503" in run.suite.scorer(run.cases[0].case).silence
    answers += [(500, b"gone")] * 200
    assert trust(run, ask).significant == []


def strikes(at, answer="yes"):
    """A model at whose n-th answer somebody presses Ctrl-C."""
    asked = []

    def generate(prompt):
        asked.append(prompt)
        if len(asked) == at:
            signal.raise_signal(signal.SIGINT)
        return answer

    return generate


def test_a_ctrl_c_ends_the_asking_and_keeps_what_was_scored():
    """A command goes on to its report, with the rest unasked; elsewhere a Ctrl-C is raised as ever."""
    debugger = BehaviorDebugger(generate=strikes(4), suites=[suite(opposite="over_refusal.yaml")], runs=2)
    debugger.ask.budget.outlives_interrupt = True
    found = debugger.comprehensive_debug(examine=3)
    assert "3 of 3 cases pass" in found.runs["s"].headline and "5 unscored (it was interrupted)" in found.lines[0]
    assert found.failures == [] and not found.trusts["s"].families
    with pytest.raises(KeyboardInterrupt):
        evaluate(suite(), Asker(strikes(4)))


def test_a_ctrl_c_in_a_judge_or_a_scenario_keeps_what_was_scored(tmp_path):
    """The answer that it was judging is unscored, and what follows is not asked."""
    (tmp_path / "judge.py").write_text(
        "import signal\nseen = []\n\ndef judge(answer):\n    seen.append(answer)\n"
        "    if len(seen) % 3 == 0:\n        signal.raise_signal(signal.SIGINT)\n    return True\n"
    )
    judge = f"{tmp_path / 'judge.py'}:judge"
    run = evaluate(suite(judge), Asker(lambda prompt: "yes", Budget(outlives_interrupt=True)))
    assert [case.outcome for case in run.cases] == [Outcome.PASS] * 2 + [Outcome.UNSCORED] * 6
    values = {
        "intent": "To agree.",
        "must": [{"id": "agree", "scorer": judge}],
        "scenarios": [{"id": "s", "prompt": "{x}?", "vary": {"x": list(NAMES)}}],
    }
    debugger = AlignmentDebugger(lambda prompt: "yes", values, cuts=False)
    debugger.ask.budget.outlives_interrupt = True
    assert len(debugger.debug_alignment().runs[0].scored) == 2


def test_a_case_that_is_not_scored_keeps_what_was_last_known_of_it(tmp_path):
    """A run that was cut short replaces the last one by what it scored alone."""
    for budget, answer in ((None, "yes"), (Budget(requests=2), "no")):
        keep(evaluate(suite(), Asker(lambda prompt, said=answer: said, budget)), tmp_path)
    assert sorted(last_run("s", tmp_path).values()) == [False] * 2 + [True] * 6


def test_a_score_that_could_not_be_tested_is_open(tmp_path):
    """Of three cases without anything beside them nothing is said, least of all that they are honest."""
    few = suite_of({"name": "s", "cases": [{"prompt": "a", "scorer": "exact", "expect": "b"}]}, "s.yaml", tmp_path)
    found = trust(evaluate(few, Asker(lambda prompt: "b")), Asker(lambda prompt: "b"))
    assert found.untested and found.headline == "trust in s: open; 0 of 17 tests could be run"
