"""What is concluded of two arms' recorded outcomes, and what the command says of it."""

import json

import numpy as np
import pytest
from command_line import call_here

from firstfault.monitor.rollout.comparison import Conclusion, compare
from firstfault.monitor.rollout.outcomes import Outcomes
from firstfault.monitor.rollout.plan import Mode, Plan


def arms(seed=0, n=20_000, share=0.5, bad=(0.03, 0.03), slow=1.0, better=0.0, paired=False):
    """Champion and challenger, whose rates and latencies follow the hour."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, 86_400, n))
    hour = 1 + 0.5 * np.sin(at / 13_750)
    theirs = rng.random(n) < share
    sides = []
    for arm in (0, 1):
        kept = np.ones(n, bool) if paired else theirs == bool(arm)
        ids = tuple(f"r{place}" for place in np.flatnonzero(kept))
        failed = (rng.random(n) < bad[arm] * hour).astype(float)
        seconds = rng.lognormal(-3, 0.5, n) * hour * (slow if arm else 1.0)
        score = rng.normal(size=n) - hour + (better if arm else 0.0)
        cuts = tuple({"raw": name, "logits": f"{arm}" if failed[place] else ""} for place, name in enumerate(ids))
        sides.append(Outcomes(ids, at[kept], failed[kept], seconds[kept], score[kept], cuts))
    return sides


CASES = {
    "equal": ({}, {"share": 0.5}, Conclusion.NO_WORSE),
    "equal, few": ({"n": 2_000}, {"share": 0.5}, Conclusion.UNDECIDED),
    "equal, ended early": ({}, {"share": 0.5, "at_most": 2_000}, Conclusion.UNDECIDED),
    "errors": ({"bad": (0.02, 0.05), "share": 0.1}, {"share": 0.1}, Conclusion.WORSE),
    "slow": ({"slow": 1.5}, {"share": 0.5}, Conclusion.WORSE),
    "low scores": ({"better": -0.5}, {"share": 0.5}, Conclusion.WORSE),
    "high scores": ({"better": 1.0, "n": 40_000}, {"share": 0.5}, Conclusion.BETTER),
    "shares": ({"share": 0.4, "bad": (0.02, 0.06)}, {"share": 0.5}, Conclusion.UNDECIDED),
    "shadow, errors": ({"paired": True, "bad": (0.02, 0.04)}, {"mode": Mode.SHADOW}, Conclusion.WORSE),
    "shadow, equal": ({"paired": True}, {"mode": Mode.SHADOW}, Conclusion.NO_WORSE),
    "nobody drew, errors": ({"bad": (0.02, 0.06), "share": 0.2}, {}, Conclusion.WORSE),
    "nobody drew, equal": ({}, {}, Conclusion.UNDECIDED),
}


@pytest.mark.parametrize("name", CASES)
def test_arms_are_concluded(name):
    """Worse, better, no worse and undecided, in each mode; an analysis that ended early is none of the first three."""
    drawn, planned, expected = CASES[name]
    found = compare(*arms(**drawn), Plan(**{"margin": 0.5, **planned}))
    assert found.conclusion is expected, found
    assert (found.conclusion is Conclusion.UNDECIDED) or found.after < 40_000


def test_equal_arms_are_not_called_otherwise():
    """Of 20 rollouts of equal arms by the hour, three measures each, none is worse, better or of other shares."""
    ends = [compare(*arms(seed, 2_000, 0.1), Plan(share=0.1)) for seed in range(20)]
    assert {end.conclusion for end in ends} <= {Conclusion.UNDECIDED, Conclusion.NO_WORSE}
    assert not [end for end in ends if "shares" in end.why]


def test_wrong_shares_come_before_any_other_conclusion():
    """Where the arms' shares are not as planned, nothing else is said, however bad the challenger looks."""
    found = compare(*arms(share=0.3, bad=(0.02, 0.04)), Plan(share=0.5))
    assert found.conclusion is Conclusion.UNDECIDED and "shares are not as planned" in found.why


def test_the_requests_that_show_it_are_named():
    """In shadow mode ten that went badly on the challenger's side alone, and the first cut that differs."""
    champion, challenger = arms(paired=True, bad=(0.02, 0.05))
    found = compare(champion, challenger, Plan(Mode.SHADOW))
    assert len(found.requests) == 10 and found.first_cut == "logits"
    place = {name: here for here, name in enumerate(champion.ids)}
    assert all(challenger.bad[place[name]] > champion.bad[place[name]] for name in found.requests)
    assert max(place[name] for name in found.requests) < found.after


@pytest.mark.parametrize("share", [0.2, None])
def test_the_requests_of_one_arm_that_show_it_are_named(share):
    """Where each request had one arm, ten of the challenger's that went badly."""
    champion, challenger = arms(bad=(0.02, 0.06), share=0.2)
    found = compare(champion, challenger, Plan(share=share))
    bad = dict(zip(challenger.ids, challenger.bad, strict=True))
    assert len(found.requests) == 10 and all(bad[name] for name in found.requests)


def line(number, **more):
    return json.dumps({"id": number, "time": number / 10, **more})


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """A function that compares two lists of lines by the command: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(champion, challenger, *options, end="\n"):
        for name, lines in (("a.jsonl", champion), ("b.jsonl", challenger)):
            (tmp_path / name).write_text("\n".join(lines) + end)
        return call_here(monkeypatch, capsys, "rollout", "compare", "a.jsonl", "b.jsonl", *options)

    return run


def drawn(rate, seed, n=4_000, **more):
    rng = np.random.default_rng(seed)
    return [line(number, status=500 if rng.random() < rate else 200, **more) for number in range(n)]


@pytest.mark.parametrize(
    ("rates", "code", "says"),
    [((0.02, 0.06), 1, "worse after"), ((0.05, 0.01), 0, "better after"), ((0.02, 0.02), 4, "undecided after 4000")],
)
def test_the_command_ends_with_the_code_of_its_conclusion(call, tmp_path, rates, code, says):
    """0 for better and no worse, 1 for worse, 4 for undecided; the same in the JSON file."""
    ended = call(drawn(rates[0], 1), drawn(rates[1], 2), "--mode", "shadow", "--json", "found.json")
    assert ended[0] == code and ended[1].startswith(says)
    found = json.loads((tmp_path / "found.json").read_text())
    assert says.startswith(found["conclusion"]) and found["evidence"][0]["measure"] == "bad"


def test_records_of_the_monitor_are_read(call):
    """Its outcome, its stages' total and its confidence are what is compared."""
    record = {"request_id": "r", "time": 1.0, "outcome": "error", "stages": {"total": 0.1}, "confidence": 0.9}
    code, out, _ = call([json.dumps(record)], [json.dumps(record)], "--mode", "shadow")
    assert code == 4 and all(f"\n  {name} " in out for name in ("bad", "slow", "low"))


def test_an_arm_without_requests_is_no_crash(call, tmp_path):
    """Where nothing of the challenger is among what is looked at, it is undecided, and has no rate."""
    late = [json.dumps({"id": 1, "time": 9_999, "bad": False})]
    code, out, _ = call(drawn(0.02, 1), late, "--at-most", "10", "--share", "0.01", "--json", "found.json")
    assert code == 4 and "challenger –" in out
    assert json.loads((tmp_path / "found.json").read_text())["rates"]["bad"][1] is None


def test_a_torn_last_line_is_left_out(call):
    """What a kill has cut is counted and said."""
    code, out, err = call([line(1, bad=False)], [line(1, bad=False), '{"id": 2, "ti'], "--mode", "shadow", end="")
    assert code == 4 and "1 last lines were torn" in err and "after 1 requests" in out


@pytest.mark.parametrize(
    ("lines", "options", "sentence"),
    [
        ([], [], "must hold the outcome of at least one request"),
        (["nonsense"], [], "line 1 of a.jsonl must be the outcome of a request, but Expecting value"),
        (["[1]"], [], "it is no JSON object: '[1]'"),
        ([line(1)], [], "it says neither `bad`, `outcome` nor `status`"),
        (['{"time": 1, "bad": true}'], [], "it has neither `request_id` nor `id`"),
        ([line(1, bad="yes")], [], "`bad` must be true or false, and is 'yes'"),
        ([line(1, seconds="3")], [], "`seconds` must be a finite number, and is '3'"),
        (['{"id": 1, "bad": true}'], [], "each line must have a `time`"),
        ([line(1, bad=True), '{"id": 1, "bad": true}'], [], "or none, but some have one"),
        ([line(1, seconds=1.0)], [], "both arms must have bad, seconds or score, but none is in both"),
        ([line(9, bad=True)], ["--mode", "shadow"], "no id is in both"),
        ([line(1, bad=True)], ["--mode", "blue"], "mode must be shadow, canary or ab, but got 'blue'"),
        ([line(1, bad=True)], ["--share", "1.5"], "share must be between 0 and 1, but got 1.5"),
        ([line(1, bad=True)], ["--margin", "0"], "margin must be above 0, but got 0.0"),
        ([line(1, bad=True)], ["--at-most", "0"], "at_most must be at least 1, but got 0"),
    ],
)
def test_a_bad_call_gets_one_sentence(call, lines, options, sentence):
    """What was expected and what came, and exit code 2."""
    code, out, err = call(lines, [line(1, bad=True)], *options)
    assert code == 2 and sentence in err and len(err.strip().splitlines()) == 1 and out == ""


def test_a_file_that_is_missing_gets_one_sentence(call, monkeypatch, capsys):
    """So does one that can't be read."""
    code, _, err = call_here(monkeypatch, capsys, "rollout", "compare", "gone.jsonl", "gone.jsonl")
    assert code == 2 and "gone.jsonl must be a file of JSON lines" in err
