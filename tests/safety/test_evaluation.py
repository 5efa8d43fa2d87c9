"""Suites that are run: outcomes by exact bounds, intervals, labels, budgets, history, and the BehaviorDebugger."""

import json
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import call_here
from scipy.stats import binomtest

from firstfault import BehaviorDebugger
from firstfault.behaviour.asking import Asker, Budget
from firstfault.behaviour.debugger import SUITES
from firstfault.behaviour.evaluation import Outcome, evaluate, outcome_of
from firstfault.behaviour.history import changes, outcomes_of
from firstfault.behaviour.labelling import read_sheet, write_sheet
from firstfault.behaviour.statistics import at_least, clustered_rate, holm, needed_pairs, paired, rate_of
from firstfault.behaviour.suites import load_suite, suite_of
from firstfault.errors import TargetError
from firstfault.recording.asked_model import asked_model


def suite(*cases, **more):
    """A suite of cases that expect "yes", from their prompts, or of whole ones."""
    whole = [
        case if isinstance(case, dict) else {"prompt": case, "scorer": "contains", "expect": "yes"} for case in cases
    ]
    return suite_of({"name": "s", "cases": whole, **more}, "s.yaml", Path())


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ((True,), Outcome.PASS),
        ((False,), Outcome.FAIL),
        ((None,), Outcome.UNSCORED),
        ((True, False), Outcome.FLAKY),
        ((True,) * 5, Outcome.PASS),
        ((True,) * 4 + (False,), Outcome.FLAKY),
        ((True,) * 7 + (False,), Outcome.PASS),
        ((False,) * 7 + (True,), Outcome.FAIL),
        ((True, None), Outcome.UNSCORED),
        ((True,) * 7 + (None,), Outcome.PASS),
        ((False,) * 7 + (None,), Outcome.FAIL),
        ((False, None), Outcome.UNSCORED),
    ],
)
def test_a_case_passes_or_fails_by_an_exact_bound(verdicts, outcome):
    """More often than not is what can be relied on; between the bounds it is flaky, and unscored runs never pass."""
    assert outcome_of(verdicts) is outcome


def test_an_exact_bound_is_that_of_clopper_and_pearson():
    """The one-sided bound is scipy's."""
    for hits in (0, 3, 9, 10):
        assert at_least(hits, 10) == pytest.approx(
            binomtest(hits, 10, alternative="greater").proportion_ci(0.95, "exact").low
        )


@pytest.mark.parametrize("value", [None, float("nan"), b"\xff", "", object])
def test_what_is_no_answer_is_unscored_and_in_the_headline(value):
    """None, NaN, bytes that are no UTF-8 and an empty refusal are never a pass, nor a failure."""
    answers = {"a": value, "b": "gladly"}
    cases = [{"id": name, "prompt": name, "scorer": "not_refusal"} for name in answers]
    run = evaluate(suite(*cases), Asker(lambda prompt: Odd() if answers[prompt] is object else answers[prompt]))
    assert run.counts == {Outcome.PASS: 1, Outcome.FLAKY: 0, Outcome.FAIL: 0, Outcome.UNSCORED: 1}
    assert "1 of 1 cases pass" in run.headline and "1 unscored" in run.headline


class Odd:
    """An answer that can't be written."""

    def __str__(self):
        raise ValueError("no text")


def test_a_budget_is_kept_and_what_was_scored_stays():
    """Requests and tokens end the asking; the rest is unscored, and says so."""
    for budget, asked in ((Budget(requests=3), 3), (Budget(tokens=4), 2)):
        run = evaluate(suite(*"abcde"), Asker(lambda prompt: "yes indeed", budget))
        assert len(run.scored) == asked == budget.asked and "budget is spent" in run.cases[-1].note


def test_templates_widen_an_interval_and_it_still_covers():
    """Cases of one template rise and fall together: the interval over them covers, where Wilson's does not."""
    rng, covered = np.random.default_rng(4), []
    for _ in range(300):
        chances = rng.beta(2, 1, 15)
        passes = [bool(rng.random() < chance) for chance in chances for _ in range(6)]
        found = clustered_rate(passes, [template for template in range(15) for _ in range(6)])
        plain = rate_of(passes)
        covered.append([found.low <= 2 / 3 <= found.high, plain.low <= 2 / 3 <= plain.high])
    ours, wilson = np.mean(covered, axis=0)
    assert ours >= 0.93 > 0.85 > wilson
    assert clustered_rate([True] * 12, list("aabbccddeeff")).low == pytest.approx(rate_of([True] * 6).low, abs=0.2)


def test_a_change_is_tested_in_pairs_and_tells_the_n_that_it_needs():
    """McNemar's exact p-value, and as many cases as would show the difference with a power of 80 %."""
    before, now = [True] * 20 + [False] * 20, [True] * 19 + [False] + [True] * 5 + [False] * 15
    change = paired(before, now)
    assert (change.gained, change.lost) == (5, 1) and change.p == pytest.approx(binomtest(5, 6).pvalue)
    assert change.needed == needed_pairs(5, 1, 40) and 100 < change.needed < 140
    rng = np.random.default_rng(0)
    gained, lost, _ = rng.multinomial(change.needed, [5 / 40, 1 / 40, 34 / 40], size=400).T
    found = np.mean([binomtest(int(a), int(a + b)).pvalue <= 0.05 for a, b in zip(gained, lost, strict=True) if a + b])
    assert 0.7 < found < 0.9
    assert list(holm(np.array([0.04, 0.01, 0.03]))) == pytest.approx([0.06, 0.03, 0.06])


def test_only_what_is_comparable_is_compared_with_the_last_run():
    """A changed prompt or expectation is another case."""
    old = outcomes_of(evaluate(suite("a", "b"), Asker(lambda prompt: "no")))
    new = evaluate(suite("a", "c"), Asker(lambda prompt: "yes"))
    assert changes({"s": new}, {"s": old})["s"].change.cases == 1


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ([{"promt": "a", "prompt": "a", "scorer": "exact"}], "did you mean prompt"),
        ([{"id": 1, "prompt": "a", "scorer": "exact"}, {"id": 1, "prompt": "b", "scorer": "exact"}], "two cases"),
        ([{"prompt": "a", "scorer": "exakt"}], "did you mean exact"),
        ([{"prompt": "a {x}", "scorer": "exact", "vary": {"y": [1]}}], r"names \{x\}, which its vary does not have"),
        ([{"prompt": "a", "scorer": "exact", "vary": {"y": [1]}}], "has 'y', which nothing"),
        ([{"prompt": None, "scorer": "exact"}], "prompt of case 0 of s.yaml must be a text, but is None"),
        ([{"prompt": "a", "scorer": "choice", "options": ["b"], "expect": "c"}], "one of its options"),
    ],
)
def test_a_slip_in_a_suite_is_one_sentence(cases, told):
    """A misspelt key, a repeated id, an unknown scorer, a variable that is not there."""
    with pytest.raises(TargetError, match=told):
        suite(*cases)
    for more in ({"pass_rat": 1}, {"pass_rate": 2}, {"runs": 0}, {"forms": ["sung"]}):
        with pytest.raises(TargetError, match=r"s\.yaml|no form"):
            suite("a", **more)


def test_a_suite_says_what_is_written(tmp_path):
    """No is no, 010 is no eight, and NO is Norway; braces that hold no variable stay, and a key stands once."""
    (tmp_path / "own.yaml").write_text(
        "pass_rate: 0.5\nruns: 2\ncases:\n"
        "  - {id: 010, prompt: 12:30, scorer: exact, expect: no}\n"
        "  - {id: 8, prompt: Which, scorer: choice, options: [yes, off], expect: off}\n"
        "  - {id: c, prompt: '{\"in\": {}} {of}?', scorer: exact, expect: '{of} 1.10', vary: {of: [NO, 1e3]}}\n"
    )
    found = load_suite(tmp_path / "own.yaml")
    assert (found.pass_rate, found.runs) == (0.5, 2)
    assert [(case.id, case.prompt, case.expect) for case in found.cases] == [
        ("010", "12:30", "no"),
        ("8", "Which", "off"),
        ("c-NO", '{"in": {}} NO?', "NO 1.10"),
        ("c-1e3", '{"in": {}} 1e3?', "1e3 1.10"),
    ]
    (tmp_path / "own.yaml").write_text("cases:\n  - {prompt: a, scorer: exact, expect: a, expect: b}\n")
    with pytest.raises(TargetError, match=r"own.yaml is no YAML: 'expect' stands twice in a mapping, line 2"):
        load_suite(tmp_path / "own.yaml")


def biased(prompt):
    """Yes, but for Jamal; refuses what is harmful; knows one capital."""
    if "Jamal" in prompt:
        return "No."
    if any(word in prompt for word in ("poison", "bomb", "steal", "fire")):
        return "I'm sorry, but I can't help with that."
    return "Paris" if "France" in prompt else "Yes."


def test_the_debugger_gives_pass_rates_failures_and_analyses(tmp_path):
    """All shipped suites are run; a rate has an interval, a failure no text, and unequal treatment is seen."""
    report = BehaviorDebugger(generate=biased, runs=1, history=tmp_path).comprehensive_debug()
    assert list(report.pass_rates) == list(SUITES)
    rate = report.pass_rates["fairness"]["rate"]
    assert 0 < rate["low"] < rate["value"] < rate["high"] < 1 and "cluster-robust over 12 templates" in rate["how"]
    assert [gap["worse"] for gap in report.analyses["fairness"]["gaps"] if gap["p"] <= 0.05] == ["Jamal"] * 3
    assert report.analyses["safety"]["symptoms"] == {"other text": 20}
    failures = json.dumps(report.failures)
    assert "prompt" not in report.failures[0] and "neighbour" not in failures and "harm-person" in failures
    again = BehaviorDebugger(generate=lambda prompt: "I'm sorry, no.", suites=["safety"], runs=1, history=tmp_path)
    told = again.comprehensive_debug()
    assert told.since["safety"].change.gained == 20 and told.since["safety"].p < 0.001
    assert "look at the" in told.trusts["safety"].headline or told.trusts["safety"].gaming_suspected


def test_flaky_cases_are_told_apart_by_asking_again():
    """A case that passes in three of five runs is flaky, and does not count as passed."""
    turns = cycle(["yes", "yes", "no", "yes", "no"])
    report = BehaviorDebugger(generate=lambda prompt: next(turns), suites=[suite("a")]).comprehensive_debug()
    assert report.failures[0]["outcome"] == "flaky" and report.failures[0]["passed"] == "3 of 5"


def test_labels_of_people_correct_a_rate(tmp_path):
    """A sheet is written by the scorer's verdict, filled in, read again, and counts while the answer is the same."""
    cases = [{"id": n, "prompt": f"question {n}", "scorer": "not_refusal"} for n in range(60)]

    def answer(prompt):
        return "Sorry, no." if int(prompt.split()[1]) % 3 == 0 else "Yes."

    debugger = BehaviorDebugger(generate=answer, suites=[suite(*cases)], runs=1)
    run = debugger.run_suite(debugger.suites[0])
    assert run.rate.value == 1.0 and run.corrected is None
    sheet = tmp_path / "sheet.csv"
    assert write_sheet([run], sheet, 30) == 30
    lines = sheet.read_text().splitlines()
    filled = [lines[0], *(line + ("no" if "Sorry" in line else "yes") for line in lines[1:])]
    sheet.write_text("\n".join(filled))
    labelled = evaluate(suite(*cases), debugger.ask, 1, read_sheet(sheet))
    assert labelled.corrected.low < 2 / 3 < labelled.corrected.high and "30 of people's labels" in labelled.headline
    other = evaluate(suite(*cases), Asker(lambda prompt: "Sure!"), 1, read_sheet(sheet))
    assert other.corrected is None
    sheet.write_text(sheet.read_text().replace("yes", "jein"))
    with pytest.raises(TargetError, match="must be yes, no or empty"):
        read_sheet(sheet)


def test_nothing_to_ask_is_one_sentence():
    """Neither a model nor a function, both, or two suites of one name."""
    for options in ({}, {"model": 1, "generate": biased}, {"model": object()}):
        with pytest.raises(TargetError):
            BehaviorDebugger(**options)
    with pytest.raises(TargetError, match="two suites"):
        BehaviorDebugger(generate=biased, suites=[suite("a"), suite("b")])
    with pytest.raises(TargetError, match="there is no suite 'safty', nor a file .*; did you mean safety"):
        BehaviorDebugger(generate=biased, suites=["safty"])
    with pytest.raises(TargetError, match="generation.py has no 'generate_wiht'; did you mean generate_with"):
        asked_model("firstfault.behaviour.generation:generate_wiht")


def test_the_command_shows_rates_and_keeps_the_last_run(monkeypatch, capsys, tmp_path):
    """Rates with intervals and failures by id, the change since the last run, and exit codes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".firstfault").mkdir()
    values = {"cases": [{"id": n, "prompt": f"p{n}", "scorer": "contains", "expect": "yes"} for n in range(4)]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    said = {"good": "'yes'", "bad": "'secret no'", "mute": "None", "two": "1"}

    def call(name, *options):
        more = ", model" * (name == "two")
        Path("model.py").write_text(f"def answer(prompt{more}): return {said[name]}\n")
        return call_here(monkeypatch, capsys, "behaviour", "own.yaml", "--target", "model.py:answer", *options)

    code, out, _ = call("good", "--json", "r.json", "--label-sheet", "sheet.csv", "--export", "promptfoo=p.yaml")
    assert code == 0 and "own: 4 of 4 cases pass, 100% [51%, 100%]" in out and "trust in own" in out
    assert json.loads(Path("r.json").read_text())["pass_rates"]["own"]["rate"]["n"] == 4
    assert load_suite(tmp_path / "own.yaml").cases[0].prompt in Path("p.yaml").read_text()
    code, out, _ = call("bad", "--runs", "1")
    assert code == 1 and "since the last run -100% on 4 cases" in out
    assert "fail     own: 0" in out and "secret" not in out
    code, out, _ = call("mute", "--runs", "1")
    assert code == 4 and "4 unscored" in out
    assert call("two")[0] == 2 and call("good", "--export", "word=x")[0] == 2
    call("good", "--runs", "2", "--export", "inspect=log.json")
    code, out, _ = call_here(monkeypatch, capsys, "behaviour", "log.json", "--target", "log.json")
    assert code == 0 and "own: 4 of 4 cases pass" in out
    assert call_here(monkeypatch, capsys, "behaviour", "own.yaml", "--target", "r.json")[0] == 2
    Path("model.py").write_text("from firstfault import LM\nanswer = LM(generate=lambda prompt: 'Sorry, I cannot.')")
    code, out, _ = call_here(monkeypatch, capsys, "behaviour", "safety", "--target", "model.py:answer", "--runs", "1")
    assert code == 4 and "gaming suspected, by behaviour and scorer" in out


def test_a_model_and_its_tokenizer_answer(tmp_path):
    """A transformers model is asked by its template, stays in its mode, and refuses what is beyond its context."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["<unk>", "<eos>", "hello", "yes", "user", ":"])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="<eos>")
    config = transformers.GPT2Config(vocab_size=6, n_positions=16, n_embd=8, n_layer=1, n_head=1, eos_token_id=1)
    model = transformers.GPT2LMHeadModel(config).train()
    long = {"id": "long", "prompt": "hello " * 20, "scorer": "contains", "expect": "yes"}
    for template in (None, "{% for m in messages %}user: {{ m.content }}{% endfor %}"):
        tokenizer.chat_template = template
        report = BehaviorDebugger(model, tokenizer, suites=[suite("hello", long)], runs=1).comprehensive_debug()
        assert model.training and report.pass_rates["s"]["counts"]["unscored"] == 0
        assert "the model's context 16" in report.failures[-1]["note"]
