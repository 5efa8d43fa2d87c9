"""A failing prompt of a model in this process: its cuts, the margin of two answers, and which version it was."""

from pathlib import Path

import own_model
import pytest
import torch

from firstfault.behaviour.debugger import BehaviorDebugger
from firstfault.behaviour.generation import Spoken
from firstfault.behaviour.suites import suite_of
from firstfault.errors import Missing
from firstfault.lm.cuts import Cut
from firstfault.lm.endpoint import Endpoint
from firstfault.lm.function import Function
from firstfault.lm.identity import identity_of
from firstfault.lm.local import Local
from firstfault.lm.margin import Margin
from firstfault.lm.trace import State, first_other, trace
from firstfault.target.language_model import Prompt

ASKED = Prompt("Who wrote Faust?")


def sound(**parts):
    """The own model with its own template."""
    return Local(own_model.model("rope"), own_model.tokenizer(), **parts)


def unopened(messages):
    """The template without what begins the answer."""
    return sound().render(messages, generation=False)


def test_a_sound_request_parts_nowhere():
    """Every cut that can be seen is the reference's; log-probs need a network of its own to compare with."""
    rungs = trace(sound(), ASKED)
    assert first_other(rungs) is None
    assert [each.state for each in rungs] == [State.SAME, State.SAME, State.UNSEEN, State.SAME, State.SAME]


@pytest.mark.parametrize(
    ("parts", "cut", "fault"),
    [
        ({"render_with": unopened}, Cut.TEXT, "generation_prompt_missing"),
        ({"encode_with": lambda text: [0, *sound().encode(text)]}, Cut.IDS, "bos_doubled"),
    ],
)
def test_the_first_cut_that_differs_is_named_with_its_fault(parts, cut, fault):
    """What comes behind it is not blamed: ids are compared on the model's own text."""
    found = first_other(trace(sound(**parts), ASKED))
    assert (found.cut, found.fault) == (cut, fault)


def test_other_weights_differ_at_the_log_probs():
    """Beside a reference network the gap is told in nat a token."""
    other = own_model.model("rope")
    with torch.no_grad():
        other.get_input_embeddings().weight[5:20] += 0.2
    found = first_other(trace(sound(), ASKED, Local(other, own_model.tokenizer())))
    assert found.cut is Cut.LOG_PROBS and "nat a token" in found.note


def test_a_function_or_what_raises_leaves_cuts_unseen():
    """The reason stands where the cut would."""
    rungs = trace(Function(lambda text: "yes"), ASKED)
    assert {each.state for each in rungs} == {State.UNSEEN} and "needs rendered text" in rungs[0].note
    broken = trace(sound(render_with=lambda messages: 1 / 0), ASKED)
    assert broken[0].state is State.UNSEEN and "division by zero" in broken[0].note


def test_a_margin_is_that_of_each_prompt_alone():
    """Together, padded on the right, they get what the log-probabilities of one after the other add up to."""
    margin, model = Margin(sound(), "Goethe wrote it.", "A cat has four legs."), sound()
    prompts = ["Who wrote Faust?", "Please tell me now who wrote Faust, if you can."]
    for prompt, found in zip(prompts, margin(prompts), strict=True):
        start = model.ids_of(Prompt(prompt))
        sums = []
        for answer in margin.answers:
            behind = model.log_probs([*start, *answer])[len(start) - 1 :]
            sums.append(sum(float(behind[place, id_]) for place, id_ in enumerate(answer)))
        assert found == pytest.approx(sums[0] - sums[1], abs=1e-3)


def test_attention_is_shown_by_a_network_with_a_faster_kernel():
    """It attends step by step for this one pass, and by its own kernel again behind it."""
    network = own_model.model("absolute")
    network.set_attn_implementation("sdpa")
    margin = Margin(Local(network, own_model.tokenizer()), "Red.", "Blue.")
    assert sum(margin.attention("Name a colour.")) == pytest.approx(1.0, abs=1e-3)
    assert network.config._attn_implementation == "sdpa"


def test_gradients_and_attention_belong_to_the_tokens_of_the_prompt():
    """The gradient is that of finite differences, attention adds up to one, and tokens read as their characters."""
    margin, prompt = Margin(sound(), "Goethe wrote it.", "A cat has four legs."), "Who wrote Faust?"
    gradient, places = margin.by_gradient(prompt), margin.places(prompt)
    assert len(gradient) == len(places) == len(margin.ids_of(prompt))
    assert "".join(prompt[start:end] for start, end in places) == prompt
    assert sum(margin.attention(prompt)) == pytest.approx(1.0, abs=1e-3)
    weight, step = margin.model.model.get_input_embeddings(), 1e-3
    handle = weight.register_forward_hook(lambda module, inputs, output: output * (1 + step))
    try:
        moved = margin([prompt])[0]
    finally:
        handle.remove()
    answers = [margin._gradient(margin.ids_of(prompt), answer) for answer in margin.answers]
    assert torch.isfinite(answers[0]).all() and abs(moved - margin([prompt])[0]) < 1


@pytest.mark.parametrize(
    ("expected", "given", "prompt", "why"),
    [
        ("a", "a", "b", "begins as what is expected"),
        ("", "a", "b", "one is empty"),
        ("a", "b", "c " * 400, "context of 256"),
    ],
)
def test_a_margin_that_can_t_be_measured_says_why(expected, given, prompt, why):
    """The same answer twice, none, or a prompt that is too long."""
    with pytest.raises(Missing, match=why):
        Margin(sound(), expected, given)([prompt])


def test_a_version_is_its_weights_template_and_code():
    """Two loads of a model are one version; another weight, template or source is another."""
    one = identity_of(sound())
    assert one == identity_of(sound()) and one.kind == "model" and one.template
    other = own_model.model("rope")
    with torch.no_grad():
        other.get_input_embeddings().weight[0, 0] += 1
    words = own_model.tokenizer()
    words.chat_template = words.chat_template.replace("kind", "terse")
    changed = [Local(other, own_model.tokenizer()), Local(own_model.model("rope"), words), sound(render_with=unopened)]
    assert len({one.version, *(identity_of(each).version for each in changed)}) == 4
    assert identity_of(Endpoint("http://a/v1", "m")).kind == "endpoint"
    assert identity_of(unopened).version != identity_of(test_a_version_is_its_weights_template_and_code).version


def test_an_answer_is_spoken_without_what_ends_it():
    """A scorer that compares whole texts sees no control token behind them."""
    assert sound().answer(ASKED, 24).text.endswith("<|im_end|>")
    assert Spoken(sound())(ASKED.ask) == "Goethe wrote it."


def test_a_failure_of_a_model_is_traced_weighed_and_swapped():
    """The first bad cut is named, swapping it alone is tried, and no text is asked twice of a greedy model."""
    cases = [
        {"id": "fish", "prompt": "Where do fish live?", "scorer": "contains", "expect": "water"},
        {"id": "bees", "prompt": "What do bees make?", "scorer": "contains", "expect": "honey"},
    ]
    suite = suite_of({"name": "talk", "cases": cases}, "talk.yaml", Path())
    model = sound(render_with=unopened)
    debugger = BehaviorDebugger(generate=Spoken(model), suites=[suite], runs=1)
    report = debugger.comprehensive_debug()
    run = report.runs["talk"]
    assert set(report.cuts.values()) == {"rendered text"} and len(report.cuts) == len(report.failures)
    before = debugger.ask.budget.asked
    found = debugger.analyze_failure("fish", run)
    assert found.first_cut == "rendered text" and found.symptom == "other text"
    assert {each.supposed: each.holds for each in found.hypotheses}["the rendered text"] is True
    assert found.weights.weights and found.weights.weights[0].gradient is not None
    assert debugger.ask.budget.asked - before <= 30
