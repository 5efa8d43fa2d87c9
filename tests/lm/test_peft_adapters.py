"""Adapters of PEFT on a declared language model: what is wrong with them is told, whether they are declared or not."""

import random

import adapters
import own_model
import pytest
import torch
from planted import Kit, with_new_tokens

from firstfault import LM, FineTuning, Target
from firstfault.check import TargetKind, checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.lm.adapter_layers import own_adapter, without_adapter
from firstfault.lm.min_hash import likeness, signature
from firstfault.subject.subject import Subject

pytest.importorskip("peft", reason="peft is not installed")
ROPE = Kit("rope", lambda: own_model.model("rope"), own_model.tokenizer, True)
CHECKS = ("empty_adapter", "adapter_has_no_effect", "merged_otherwise", "dropout_while_serving", "new_tokens_untrained")


def failed(lm, folder, names=CHECKS):
    """The faults that the named checks find."""
    subject = Subject(Target("model", task="language_model", lm=lm, root=folder), folder)
    entries = [entry for layer in Layer for entry in checks_of(layer, TargetKind.LANGUAGE_MODEL)]
    found = [finding for entry in entries if entry.name in names for finding in run_check(entry, subject, {})]
    assert found and not [finding for finding in found if finding.status is Status.ERROR]
    return {fault for finding in found if finding.status is Status.FAIL for fault in finding.faults}


@pytest.mark.parametrize("name", adapters.FAULTY)
def test_a_fault_of_an_adapter_is_told(name, tmp_path):
    """Left in train mode, empty, switched off, lost by its names, not merged, merged twice."""
    lm = adapters.FAULTY[name](ROPE, random.Random(name))
    assert failed(lm, tmp_path) == {name.partition(" (")[0]}


@pytest.mark.parametrize("name", adapters.HEALTHY)
def test_a_sound_adapter_fails_nothing(name, tmp_path):
    """Merged once, or beside the weights, in eval mode."""
    assert failed(adapters.HEALTHY[name](ROPE, random.Random(name)), tmp_path) == set()


def test_a_network_without_its_adapter_is_the_one_before():
    """Switched off for a block, and as it was behind it, also where it was off."""
    model = adapters.trained(ROPE).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    plain, whole = ROPE.model()(ids).logits, model(ids).logits
    with without_adapter(model):
        assert torch.equal(model(ids).logits, plain)
    assert torch.equal(model(ids).logits, whole) and not torch.equal(whole, plain)
    assert len(own_adapter(model)) == 8 and not own_adapter(ROPE.model())


@pytest.mark.parametrize("trained", [True, False])
def test_new_tokens_that_an_adapter_trains_are_trained(trained, tmp_path):
    """PEFT keeps trained rows beside an embedding whose own rows stay; rows that transformers made are no news."""
    words = with_new_tokens(ROPE, mean_resizing=True)[1]
    ids = words.convert_tokens_to_ids(["<|think|>", "<|done|>"])

    def model():
        return with_new_tokens(ROPE, mean_resizing=True)[0]

    tuned = adapters.lora(model(), **({"trainable_token_indices": ids} if trained else {}))
    if trained:
        for name, value in tuned.named_parameters():
            if "trainable_tokens_delta" in name:
                value.data += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    for before in (model(), None):
        tuning = FineTuning(new_tokens=["<|think|>", "<|done|>"], before=before)
        lm = LM(model=tuned.eval(), tokenizer=words, tuning=tuning)
        assert failed(lm, tmp_path, ("new_tokens_untrained",)) == (set() if trained else {"untrained_new_tokens"})


def test_nearly_the_same_test_is_in_the_rows(tmp_path):
    """Another mark, case or word is the same test; other numbers, or another question, are another one."""
    asked = "Explain in one sentence why the sky above the sea is blue at noon."
    held = ["Explain in one sentence why the sky above the sea is blue at noon!", "How many legs has a cat?"]
    other = ["What is 7 times 12, and how did you come to the answer?", "Name a colour."]
    rows = [{"prompt": each, "completion": "Because."} for each in [*held, *other]]
    for prompt, seen in (
        (asked, True),
        ("explain in one sentence why the sky over the sea is blue at noon", True),
        ("What is 8 times 13, and how did you come to the answer?", False),
        ("Why do the leaves of many trees turn red in the autumn?", False),
    ):
        lm = LM(generate=lambda prompt: "", prompts=[prompt], tuning=FineTuning(rows=rows))
        assert failed(lm, tmp_path, ("tests_in_rows",)) == ({"test_in_training"} if seen else set()), prompt


def test_signatures_are_as_alike_as_their_texts():
    """The share of equal least hashes is that of the runs that two texts have in common."""
    one, other = "the quick brown fox jumps over the lazy dog", "the quick brown fox jumps over a lazy cat"
    runs = [{text[at : at + 5] for at in range(len(text) - 4)} for text in (one, other)]
    exact = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
    assert likeness(signature(one), signature(other)) == pytest.approx(exact, abs=0.1)
    assert likeness(signature(one), signature(one.upper())) == 1.0 and likeness(signature(""), signature(one)) < 0.1
