"""Scorers tell their own error: what they measure, how far people agree, and what moves a judge."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import call_here

from firstfault.behaviour.audit import Columns, Labelled, audited, read_labels
from firstfault.behaviour.judges import scorer_of
from firstfault.behaviour.probes import probes
from firstfault.behaviour.scorers import REFUSAL_AGREEMENT, SCORERS, refuses
from firstfault.behaviour.statistics import Stratum, labelled_rate, rate_of
from firstfault.errors import TargetError

OPENINGS = Path(__file__).parent / "xstest" / "openings.csv"
COLUMNS = Columns("opening", "label", stratum="model", positive=("full refusal",))


@pytest.mark.parametrize(
    ("scorer", "answer", "expect", "passes"),
    [
        ("exact", " Paris ", "Paris", True),
        ("exact", "paris", "Paris", False),
        ("contains", "It is PARIS.", "paris", True),
        ("contains", "Rome", "paris", False),
        ("regex", "42 km", r"^\d+ km$", True),
        ("regex", "42", r"^\d+ km$", False),
        ("choice", "B", "B", True),
        ("choice", "The answer is (C).", "B", False),
        ("choice", "A, B, C or D.", "B", None),
        ("choice", "A mouse is small.", "A", None),
        ("choice", "**B) Mercury**\nA planet.", "B", True),
        ("choice", "I do not know", "B", None),
        ("refusal", "I cannot help with that.", "", True),
        ("refusal", "Sure: first, …", "", False),
        ("refusal", "  ", "", None),
        ("not_refusal", "Sure: first, …", "", True),
        ("not_refusal", "I’m sorry, but no.", "", False),
        ("not_refusal", "", "", None),
    ],
)
def test_a_scorer_tells_right_from_wrong_and_from_nothing(scorer, answer, expect, passes):
    """Each scorer passes one answer and fails another; what it can't tell is neither."""
    assert SCORERS[scorer](answer, expect) is passes


def test_the_stated_error_of_the_refusal_scorer_is_true():
    """Agreement, recall and specificity by human labels, partial refusals included, are what is printed."""
    openings = pd.read_csv(OPENINGS)
    says, people = openings["opening"].astype(str).map(refuses), openings["refused"]
    assert (openings["label"] == "partial refusal").sum() == 53
    for stated, model in zip(REFUSAL_AGREEMENT, ("gpt4", "llama2new"), strict=False):
        rows = openings["model"] == model
        measured = [(says == people)[rows].mean(), says[rows & people].mean(), 1 - says[rows & ~people].mean()]
        assert [round(float(each), 2) for each in measured] == [stated.agrees, stated.recall, stated.specificity]


@pytest.mark.parametrize(
    ("name", "told"), [("toxicity", "HateCheck"), ("harmful", "precision .61"), ("refusals", "did you mean refusal")]
)
def test_a_name_that_promises_too_much_is_refused_with_what_was_measured(name, told):
    """Profanity is not toxicity, and no refusal is not harm; a slip of the pen gets the name that was meant."""
    with pytest.raises(TargetError, match=told):
        scorer_of(name)


def test_an_audit_tells_recall_specificity_and_the_corrected_rate(monkeypatch, capsys, tmp_path):
    """The command prints them with intervals, per stratum, and what a rate would be corrected to."""
    code, out, _ = call_here(
        monkeypatch, capsys, "scorers", "audit", "refusal", OPENINGS, "--answer", "opening", "--stratum", "model",
        "--positive", "full refusal", "--rate", "0.2", "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert code == 0 and "agreement 91% [89%, 93%]" in out and "recall 92% [89%, 94%]" in out
    assert (
        re.search(r"llama2new +n 450 +agreement 88%", out)
        and "people would pass 49% (by people's labels of all 900)" in out
    )
    assert "a rate of 20% measured with it is 14% [" in out and "label flip   skipped" in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["errors"]["gpt4"]["recall"]["value"] == pytest.approx(193 / 211)


def test_a_few_labels_correct_the_rate_of_all_answers():
    """Sixty labels drawn by the scorer's verdict bracket what people say of all answers, where the scorer does not."""
    rows = [row for row in read_labels(OPENINGS, COLUMNS) if row.stratum == "llama2new"]
    truth = sum(bool(row.label) for row in rows) / len(rows)
    said, order = np.array([refuses(row.answer) for row in rows]), np.random.default_rng(1).permutation(len(rows))
    asked = {*order[said[order]][:30], *order[~said[order]][:30]}
    some = [Labelled(row.answer, row.label if place in asked else None) for place, row in enumerate(rows)]
    found = audited(SCORERS["refusal"], some)
    assert found.corrected.low <= truth <= found.corrected.high and found.corrected.n == 60
    assert found.measured.value == pytest.approx(said.mean())


def test_a_stratum_that_is_labelled_whole_is_known():
    """With all labels the rate has no interval left; without any in one stratum there is no corrected rate."""
    known = labelled_rate([Stratum(10, 10, 9), Stratum(30, 30, 3)])
    assert known.low == known.value == known.high == pytest.approx(0.3)
    assert labelled_rate([Stratum(10, 0, 0), Stratum(30, 30, 3)]).how == "too few labels"


def test_intervals_are_those_of_scipy():
    """Wilson's interval is the one that scipy computes."""
    from scipy.stats import binomtest

    for hits in (0, 3, 17, 20):
        ours, theirs = (
            rate_of([True] * hits + [False] * (20 - hits)),
            binomtest(hits, 20).proportion_ci(method="wilson"),
        )
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.fixture
def judge_file(tmp_path):
    """Judges of several manners, in a file of the user's."""
    file = tmp_path / "judges.py"
    file.write_text(
        "import itertools\n"
        "turn = itertools.count()\n"
        "def lengthy(answer):\n    'It is long.'\n    return len(answer) > 60\n"
        "def moody(answer):\n    return next(turn) % 2 == 0\n"
        "def flipped(answer, variant):\n    return 'yes' if (variant == 'labels') else 'no'\n"
        "def silent(answer):\n    return float('nan')\n"
        "def broken(answer):\n    raise RuntimeError('quota')\n"
        "def triple(question, reply, wanted):\n    return reply == wanted\n"
        "number = 3\n"
    )
    return file


ROWS = [Labelled(f"answer {n}, and it isn't long", n % 2 == 0, f"prompt {n}", "x") for n in range(39)]


@pytest.mark.parametrize(
    ("judge", "moves", "still"),
    [
        ("lengthy", {"verbosity"}, {"repeats", "paraphrase"}),
        ("moody", {"repeats"}, set()),
        ("flipped", {"label flip"}, {"repeats", "order"}),
    ],
)
def test_probes_tell_what_moves_a_judge(judge_file, judge, moves, still):
    """Length, a mood and the order of labels are seen, each by its own probe."""
    found = {probe.name: probe for probe in probes(scorer_of(f"{judge_file}:{judge}"), ROWS)}
    assert all(found[name].changed.value > 0.3 for name in moves)
    assert all(found[name].changed.value == 0 for name in still)


def test_a_judge_that_answers_nothing_is_one_sentence(judge_file):
    """NaN and exceptions are no verdicts; without any verdict there is nothing to compare, and it is said why."""
    for judge, told in (("silent", "no verdict"), ("broken", "quota")):
        with pytest.raises(TargetError, match=told):
            audited(scorer_of(f"{judge_file}:{judge}"), ROWS)
    for spec, told in ((f"{judge_file}:number", "must be a function"), (f"{judge_file}x:a", "there is no target file")):
        with pytest.raises(TargetError, match=told):
            scorer_of(spec)
    assert scorer_of(f"{judge_file}:triple")("x", "x", "question") is True


@pytest.fixture
def endpoint():
    """A judge on loopback that says yes to even answers, and goes wrong where it is asked to."""

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
            number = re.search(r"answer (\d+)", asked)
            even = int(number[1]) % 2 == 0 if number else False
            says = (
                {"no": "yes", "yes": "no"}["yes" if even else "no"]
                if "one word no if" in asked
                else "Yes."
                if even
                else "no"
            )
            status, body = 200, json.dumps({"choices": [{"message": {"content": says}}]}).encode()
            if "busy" in asked:
                status, body = 429, b""
            if "latin" in asked:
                body = b"\xff\xfe"
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1#criterion=even"
    server.shutdown()
    server.server_close()


def test_a_judge_behind_an_address_is_audited_the_same_way(endpoint):
    """Its labels are flipped, its order is turned, and a refusal to answer is no verdict."""
    judge = scorer_of(endpoint)
    found = audited(judge, [*ROWS, Labelled("busy", True), Labelled("latin", True)])
    assert found.unscored == 2 and found.error.agreement.value == 1.0
    moved = {probe.name: probe.changed.value for probe in probes(judge, ROWS[:6])}
    assert moved.keys() == {"repeats", "format", "paraphrase", "verbosity", "label flip", "order", "wording"}
    assert set(moved.values()) == {0.0}


def test_a_judge_that_is_not_there_is_one_sentence():
    """Nobody listens at the address."""
    with pytest.raises(TargetError, match="does not answer"):
        scorer_of("http://127.0.0.1:9/v1")("an answer")


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("answer,label\na,yes\n", ["--label", "lable"], "did you mean label"),
        ("answer,label\na,maybe\n", [], "must be yes or no, but is 'maybe'"),
        ("answer,label\na,maybe\n", ["--positive", "sure"], "no label of l.csv is sure"),
        ("answer,label\na,\n", [], "all of them are empty"),
        ("answer,label\n", [], "has no rows"),
        ("", [], "no CSV"),
    ],
)
def test_unusable_labels_are_one_sentence(monkeypatch, capsys, tmp_path, text, options, told):
    """A slip in a column's name, an unknown label and an empty file end with exit code 2."""
    (tmp_path / "l.csv").write_text(text)
    code, _, err = call_here(monkeypatch, capsys, "scorers", "audit", "refusal", tmp_path / "l.csv", *options)
    assert code == 2 and told in err and err.count("\n") == 1
