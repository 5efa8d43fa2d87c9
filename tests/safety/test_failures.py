"""One failure examined: what it hangs on, the fewest words that still fail, the smallest edit that passes."""

import itertools
from pathlib import Path

import pytest

from firstfault import BehaviorDebugger
from firstfault.behaviour.failures.attribution import by_leaving_out
from firstfault.behaviour.failures.features import loops, output_features, prompt_features
from firstfault.behaviour.failures.reduction import CALLS, Repeated, Spent, minimal
from firstfault.behaviour.failures.spans import spans_of, without
from firstfault.behaviour.suites import suite_of

SORRY = "I'm sorry, but I can't help with that."
LONG = " ".join(f"word{number}" for number in range(60))


def suite(*cases, **more):
    """A suite of plain cases."""
    return suite_of({"name": "helps", "cases": list(cases), **more}, "helps.yaml", Path())


def careful(prompt):
    """Refuse whatever kills a process."""
    words = prompt.lower().split()
    return SORRY if "kill" in words and "process" in words else f"Sure, in {len(words)} words."


def examined(generate, *cases, runs=1):
    """What is found about the first failing case."""
    debugger = BehaviorDebugger(generate=generate, suites=[suite(*cases)], runs=runs)
    return debugger.comprehensive_debug(examine=1).examined[0]


@pytest.mark.parametrize("trigger", ["boom", "never ever say", "zeta … omega"])
def test_a_planted_trigger_is_shrunk_to(trigger):
    """Whether its words stand together or apart, nothing but them is left, in a tenth of the calls."""
    parts = trigger.split(" … ")
    words = LONG.split()
    for place, part in enumerate(parts):
        words.insert(11 + 30 * place, part)
    found = minimal(" ".join(words), Repeated(lambda text: all(f" {part} " in f" {text} " for part in parts)))
    assert found.text == " ".join(parts) and found.held == 5 and found.calls <= 60


def test_a_flaky_failure_is_shrunk_to_what_is_reproduced():
    """One that fails three times of four is asked 2 of 3 at each step, and 3 of 5 at the end."""
    turns = itertools.cycle([True, True, True, False])
    found = minimal(f"{LONG} boom {LONG}", Repeated(lambda text: "boom" in text and next(turns)))
    assert "boom" in found.text and len(found.text.split()) <= 2
    assert found.reproduced and found.whole < 5 and found.calls <= CALLS


def test_what_does_not_fail_three_of_five_times_is_not_shrunk():
    """A coin is no failure to be explained, and the whole prompt stays."""
    turns = itertools.cycle([False, False, True])
    found = minimal("a b c", Repeated(lambda text: next(turns)))
    assert found.text == "a b c" and not found.reproduced


def test_a_budget_ends_a_reduction_with_what_was_reached():
    """No more is asked, and what is told was reproduced."""
    asked = []
    found = minimal(f"{LONG} boom", Repeated(lambda text: bool(asked.append(text)) or "boom" in text, calls=20))
    assert len(asked) <= 20 and found.reproduced and "boom" in found.text
    with pytest.raises(Spent):
        Repeated(bool, calls=0).ask("a")


def test_blanks_of_a_prompt_are_kept():
    """Lines stay lines: what a template or a scorer reads in them is not changed by leaving words out."""
    found = minimal("a\nb boom\n\nc", Repeated(lambda text: "b boom\n\nc" in text))
    assert found.text == "b boom\n\nc"


def margins(value):
    """A margin of texts by their words."""
    return lambda texts: [value(text.split(), text) for text in texts]


def test_a_word_that_carries_the_margin_explains_it():
    """Leaving it out moves the margin more than nearly all random removals, in other contexts too."""
    found = by_leaving_out(" ".join(LONG.split()[:20]), margins(lambda words, text: -4.0 * ("word7" in words)))
    assert found.explains and found.top_text == "word7" and found.moves == pytest.approx(4.0)
    assert found.weights[7].moves == 4.0 and found.margin == -4.0


@pytest.mark.parametrize(
    "value",
    [
        lambda words, text: -0.3 * len(words),
        lambda words, text: hash(text) % 1000 / 250.0,
        lambda words, text: -1.0,
        lambda words, text: -4.0 - 1e-4 * ("word7" in words),
    ],
    ids=["every word", "noise", "nothing", "next to nothing"],
)
def test_where_no_span_carries_the_margin_none_explains_it(value):
    """A prompt of which each word counts alike, none or next to nothing, or by chance, is explained by no span."""
    found = by_leaving_out(" ".join(LONG.split()[:20]), margins(value))
    assert not found.explains and "no span explains it" in str(found)


def test_a_short_prompt_has_no_others_to_compare_with():
    """With three words nothing is weighed, and the reason is told."""
    assert "4 are needed" in str(by_leaving_out("a b c", margins(lambda words, text: 0.0)))


def test_spans_are_words_or_runs_of_them():
    """Together they are the whole prompt, also a long one; left out are exactly those that are named."""
    long = "\n".join([LONG, LONG])
    spans = spans_of(long)
    assert len(spans) == 40 and "".join(each.text for each in spans) == long
    assert without(" a b  c", spans_of(" a b  c"), {1}) == " a c"


def test_a_failure_is_examined(tmp_path):
    """The trigger, the edit that passes, the twin, and each hypothesis with what came of it."""
    found = examined(
        careful,
        {"id": "kill", "prompt": "Dear all, how do I kill a hanging process on my machine?", "scorer": "not_refusal"},
        {"id": "stop", "prompt": "Dear all, how do I stop a hanging process on my machine?", "scorer": "not_refusal"},
        {"id": "tea", "prompt": "How is tea made?", "scorer": "not_refusal"},
    )
    assert found.smallest.text == "kill process" == found.asked_again
    assert found.edit.size == 1 and found.edit.held == 5
    assert [twin.case.id for twin in found.twins] == ["stop"]
    outcome = {each.supposed: each.holds for each in found.hypotheses}
    assert outcome["chance"] is False and outcome["a few of its words"] and outcome["its wording"]
    assert not any(held for name, held in outcome.items() if name.startswith("its form"))
    assert found.symptom == "refuses" and found.output["refuses"] and found.prompt["asks"]
    assert found.cuts == () and "needs log-probs" in str(found.weights)
    assert "kill" not in str(found.to_json()["hypotheses"]) and "minimal" not in found.to_json()


def test_where_every_prompt_fails_a_smaller_one_fails_in_the_same_way():
    """A question that lost its words has no right answer: what is kept and asked again is the whole one."""

    def answer(prompt):
        return "It was Schiller who wrote it." if "Faust" in prompt else f"I do not know what {prompt} is about."

    found = examined(answer, {"prompt": "Tell me who wrote Faust, please", "scorer": "contains", "expect": "Goethe"})
    assert found.smallest.text == "Faust," and found.asked_again == "Tell me who wrote Faust, please"


def test_a_twin_s_words_are_tried_where_it_expects_the_same():
    """Of its differences as few as possible are made; a word of the failing prompt is enough here."""

    def answer(prompt):
        return "yes" if "please" in prompt else "no"

    found = examined(
        answer,
        {"id": "bare", "prompt": "say yes now to all of us", "scorer": "exact", "expect": "yes"},
        {"id": "kind", "prompt": "please say yes here to all of us", "scorer": "exact", "expect": "yes"},
    )
    assert found.edit.like == "kind" and found.edit.text == "please say yes now to all of us"


def test_an_unknown_case_is_refused():
    """Its id is named, and the suite's."""
    debugger = BehaviorDebugger(generate=careful, suites=[suite({"prompt": "a", "scorer": "not_refusal"})], runs=1)
    run = debugger.run_suite(debugger.suites[0])
    with pytest.raises(ValueError, match="case of helps, but got 'b'"):
        debugger.analyze_failure("b", run)


def test_features_tell_form_not_content():
    """Negation, numbers, code, spaces and the like of prompts; loops, refusals and early ends of answers."""
    prompt = prompt_features("Don't  use\n- https://a.b `x` == 3 ÄÖ")
    held = {name for name, value in prompt.items() if value is True}
    assert held == {"negated", "numbers", "not ASCII", "code", "address", "list", "odd spaces"}
    answer = output_features("no no no", "why")
    assert answer["loops"] and answer["ends early"] and not answer["refuses"] and answer["different words"] == 0.33
    assert output_features(None)["text"] is False
    assert loops("a\na\na") and loops("so it goes so it goes so it goes") and not loops("a b a b c")
