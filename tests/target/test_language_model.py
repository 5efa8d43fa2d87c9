"""A declared language model is validated when it is made: one sentence says what was expected and what came."""

import pytest

from firstfault import LM, Data, FineTuning, Prompt, Target
from firstfault.errors import TargetError

GOOD = {"model": "folder"}


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({}, "lm must have exactly one of model, endpoint and generate, but got none of them"),
        ({"model": "a", "endpoint": "http://b"}, "exactly one of model, endpoint and generate, but got model and endp"),
        ({"endpoint": "localhost:8000"}, "lm.endpoint must be a URL of http or https"),
        ({"model": len}, "lm.tokenizer must be a tokenizer, a folder, or a function"),
        ({"generate": "text"}, "lm.generate must be a callable or None, but got 'text'"),
        ({**GOOD, "batch": 0}, "lm.batch must be a whole number of at least 1, but got 0"),
        ({**GOOD, "requests": 1.5}, "lm.requests must be a whole number of at least 1, but got 1.5"),
        ({**GOOD, "seconds": 0}, "lm.seconds must be a number of seconds above 0, but got 0"),
        ({**GOOD, "declared": {"precison": "bf16"}}, "lm.declared must be {name: value} with names of precision"),
        ({**GOOD, "declared": {"precision": "bf16"}}, "declared.precision must be one of float32"),
        ({**GOOD, "declared": {"decoding": {"temprature": 1}}}, "declared.decoding must be {name: value} with"),
        ({**GOOD, "declared": {"stop": "</s>"}}, "declared.stop must be a list of texts or token ids, but got '</s>'"),
        ({**GOOD, "stop": [""]}, "lm.stop must be a list of texts or token ids, but got ''"),
        ({**GOOD, "prompts": "hello"}, "lm.prompts must be a list of prompts, but got 'hello'"),
        ({**GOOD, "prompts": [""]}, "the prompt prompt 1 must be a text, or a list of"),
        ({**GOOD, "prompts": [[{"role": "user"}]]}, "the prompt prompt 1 must be a text, or a list of"),
        ({**GOOD, "prompts": [Prompt("a", id="x"), Prompt("b", id="x")]}, "prompts with ids of their own, but got 'x'"),
        ({**GOOD, "reference": 7}, "lm.reference must be LM(…), a checkpoint's folder, an endpoint's URL, or None"),
        ({**GOOD, "tuning": {}}, "lm.tuning must be FineTuning(…) or None, but got {}"),
    ],
)
def test_a_wrong_declaration_is_refused(parts, told):
    """With the field, what it must be, and what came."""
    with pytest.raises(TargetError) as raised:
        LM(**parts)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_prompts_are_texts_messages_pairs_or_prompts():
    """Each gets an id of its own, and a text is what the user says."""
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    lm = LM(model="folder", prompts=["a", ("b", "yes"), talk, Prompt("c", unwanted="no", id="mine")])
    assert [prompt.id for prompt in lm.asked] == ["prompt 1", "prompt 2", "prompt 3", "mine"]
    assert lm.asked[0].messages == [{"role": "user", "content": "a"}]
    assert (lm.asked[1].expected, lm.asked[2].messages, lm.asked[3].unwanted) == ("yes", talk, "no")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"task": "classification", "lm": LM(model="a")}, "task must be language_model where lm is given"),
        ({"lm": LM(model="a"), "data": Data(train="x.csv")}, "data must be None where lm is given"),
        ({"lm": "folder"}, "lm must be LM(…) or None, but got 'folder'"),
    ],
)
def test_a_language_model_is_a_target_of_its_own(parts, told):
    """Its task is declared, and nothing of a table stands beside it."""
    with pytest.raises(TargetError) as raised:
        Target(**{"name": "assistant", "task": "language_model", **parts})
    assert told in str(raised.value)


def test_a_tuning_names_what_is_no_function():
    """As every other field does."""
    with pytest.raises(TargetError, match="tuning.pack must be a callable or None"):
        FineTuning(pack=3)
