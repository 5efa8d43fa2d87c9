"""A watched fine-tuning by the Trainer of transformers, with adapters of PEFT: faults are told, sound twins are not."""

import random
import types

import loops
import numpy as np
import own_model
import pytest
import torch
from planted import Kit

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.probe.row_tokenizer import Turns, tokenizer_beside
from firstfault.probe.token_rows import cost_of_counts

pytest.importorskip("accelerate", reason="accelerate is not installed")
ROPE = Kit("rope", lambda: own_model.model("rope"), own_model.tokenizer, True)
CHECKS = {
    "supervised_in_loop",
    "targets_ahead",
    "packing_in_loop",
    "accumulation_by_batches",
    "new_tokens_in_loop",
    "adapter_in_loop",
}
OF_PEFT = {
    "untrained_new_tokens",
    "constant_init (adapter)",
    "parameters_not_in_optimizer (adapter)",
    "new tokens",
    "adapter",
}


@pytest.fixture(scope="module", autouse=True)
def _trained():
    """The own model is trained before anything is watched."""
    own_model.trained("rope")


def told(seen):
    """What the checks of a language model's loop say."""
    entries = [entry for layer in (Layer.PREPROCESSING, Layer.TRAINING) for entry in checks_of(layer)]
    found = [finding for entry in entries if entry.name in CHECKS for finding in run_check(entry, seen.subject, {})]
    assert not [finding for finding in found if finding.status is Status.ERROR] and not seen.record.passed_over
    return found


def made(group, name, folder):
    """A watched fine-tuning."""
    if name in OF_PEFT:
        pytest.importorskip("peft", reason="peft is not installed")
    return group[name](ROPE, random.Random(name), folder)


@pytest.mark.parametrize("name", loops.FAULTY)
def test_a_planted_fault_of_a_loop_is_told(name, tmp_path):
    """The planted fault fails, and no other one of a language model does."""
    found = [finding for finding in told(made(loops.FAULTY, name, tmp_path)) if finding.status is Status.FAIL]
    empty = "constant_init", "parameters_not_in_optimizer"  # the cause is told by a check of every loop
    fault = name.partition(" (")[0]
    assert [list(finding.faults) for finding in found] == [["adapter_empty" if fault in empty else fault]]


@pytest.mark.parametrize("name", loops.HEALTHY)
def test_a_sound_fine_tuning_fails_nothing(name, tmp_path):
    """Accumulation by tokens, masked packs, trained new tokens and adapters are looked at, and pass."""
    found = told(made(loops.HEALTHY, name, tmp_path))
    assert not [finding for finding in found if finding.status in (Status.FAIL, Status.WARN)]
    looked = {finding.check for finding in found if finding.status is Status.PASS}
    of_name = {"packed": "packing_in_loop", "flattened": "packing_in_loop", "accumulated": "accumulation_by_batches"}
    assert {"supervised_in_loop", of_name.get(name, "new_tokens_in_loop")} <= looked


def test_the_verdict_names_the_layer_and_the_tokens(tmp_path):
    """A prompt that is learnt is preprocessing's fault, with the token that the learning begins with."""
    verdict = made(loops.FAULTY, "prompt_supervised", tmp_path).verdict(swaps=False)
    assert (verdict.first_faulty_layer, verdict.faults[0].fault) == (Layer.PREPROCESSING, "prompt_supervised")
    assert "the first supervised token is '<|im_start|>'" in verdict.faults[0].evidence[0]


def test_texts_that_never_end_and_rows_of_classes_are_no_fault(tmp_path):
    """A model of plain texts has no turns and no ends; one of classes has no rows of tokens at all."""
    model, ids = own_model.model("rope"), torch.randint(5, 300, (8, 24), generator=torch.Generator().manual_seed(0))
    head = torch.nn.Sequential(torch.nn.Embedding(400, 4), torch.nn.Flatten(), torch.nn.Linear(96, 2))
    with firstfault.watch(folder=tmp_path / "texts") as texts:
        for _ in range(2):  # torch tells no named arguments of the call in which a model is met
            model(input_ids=ids, labels=ids).loss.backward()
            torch.optim.SGD(model.parameters(), 1e-3).step()
    with firstfault.watch(folder=tmp_path / "classes") as classes:
        torch.nn.functional.cross_entropy(head(ids), ids[:, 0] % 2).backward()
        torch.optim.SGD(head.parameters(), 1e-3).step()
    assert not [finding for seen in (texts, classes) for finding in told(seen) if finding.status is Status.FAIL]
    assert texts.record.tokens.rows == 8 and classes.record.tokens.rows == 0


def test_a_tokenizer_is_found_beside_the_loader():
    """In a collator's attributes, in what a function names or closes over, and nowhere else."""
    words = own_model.tokenizer()

    class Collator:
        tokenizer = None

        def __init__(self):
            self.tokenizer = words

    class Strict:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert tokenizer_beside(Collator()) is words and tokenizer_beside(lambda batch: words) is words
    assert tokenizer_beside(Strict()) is None and tokenizer_beside(lambda batch: batch, [words]) is None


def test_turns_are_those_of_the_template():
    """What opens the user's turn is not what opens the assistant's; without a template there is none."""
    words = own_model.tokenizer()
    turns = Turns(words)
    assert "user" in turns.read(turns.opening) and "assistant" not in turns.read(turns.opening)
    assert turns.ends == {words.eos_token_id} and turns.start[0] == words.bos_token_id
    bare = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    for unmarked in (None, bare, bare.replace("{{ m[", "{% if m['role'] == 'assistant' %}### Said: {% endif %}{{ m[")):
        words.chat_template = unmarked  # any text begins as what the user says there
        assert Turns(words).opening == () and Turns(words).ends == {words.eos_token_id}


def test_counts_cost_what_a_loop_over_the_other_rows_says():
    """Against a slow count of every row but the one judged."""
    import math

    rows = [[(1, 2), (2, 3)], [(1, 2), (2, 4), (4, 2)], [(2, 3)]]
    alone, paired = [], []
    for place, row in enumerate(rows):
        others = [pair for number, other in enumerate(rows) if number != place for pair in other]
        for first, wanted in row:
            share = (sum(w == wanted for _, w in others) + 1) / (len(others) + 3)
            behind = [w for f, w in others if f == first]
            alone.append(-math.log(share))
            paired.append(-math.log((behind.count(wanted) + share) / (len(behind) + 1)))
    assert cost_of_counts(rows) == pytest.approx((sum(alone) / 6, sum(paired) / 6))
    assert all(map(math.isnan, cost_of_counts([])))


@pytest.mark.parametrize(("steps", "loss", "status"), [(100, 3.0, "warn"), (100, 1.0, "pass"), (99, 3.0, "skipped")])
def test_a_model_is_compared_with_counts_of_pairs(steps, loss, status, tmp_path):
    """Worse than counts after a hundred steps is a warning; a shorter training is not judged."""
    from firstfault.probe.record import Record, TokensSeen
    from firstfault.subject.subject import Subject

    record = Record(steps=steps, tokens=TokensSeen(rows=9, unigram=4.0, bigram=2.0))
    record.tokens.loss.add(steps, loss)
    subject = Subject(firstfault.Target("loop", task="classification", training=firstfault.Training()), tmp_path)
    subject.supply(Subject.record, record)
    entry = next(entry for entry in checks_of(Layer.TRAINING) if entry.name == "no_better_than_pairs")
    assert run_check(entry, subject, {})[0].status.value == status


class Chars(torch.nn.Sequential):
    """A model of a few characters, with the settings that name its end."""

    def __init__(self):
        super().__init__(torch.nn.Embedding(9, 8), torch.nn.Linear(8, 9))
        self.config = types.SimpleNamespace(eos_token_id=8)


@pytest.mark.parametrize(
    ("change", "fault"), [("", None), ("end", "eos_never_supervised"), ("all", "no_supervised_tokens")]
)
def test_the_rows_of_a_targets_own_training_are_looked_at(change, fault, tmp_path):
    """Ids `(N, T)` and the next ones as labels, with −100 where nothing is asked."""
    from firstfault import Data, Target, Training
    from firstfault.subject.subject import Subject

    ids = np.random.default_rng(0).integers(0, 8, (80, 13))
    ids[:, -2] = 8
    labels = ids[:, 1:].copy()
    labels[:, -1] = -100
    labels[:, -2] = -100 if change == "end" else 8
    labels[: 40 if change == "all" else 0] = -100
    training = Training(
        loss=lambda outputs, y: torch.nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten()),
        optimizer=lambda values: torch.optim.SGD(values, 0.1),
        epochs=1,
    )
    data = Data(train=(ids[:, :-1], labels))
    target = Target("chars", task="language_model", data=data, model=Chars, training=training)
    entry = next(entry for entry in checks_of(Layer.PREPROCESSING) if entry.name == "supervised_in_loop")
    found = run_check(entry, Subject(target, tmp_path), {})
    assert [list(finding.faults) for finding in found if finding.status is Status.FAIL] == ([[fault]] if fault else [])
    assert found[0].status is not Status.SKIPPED, found[0].message
