"""Each fault of a language model is named first, in its layer; healthy set-ups that look like one are healthy."""

import dataclasses
import random

import own_model
import pytest
from healthy import HEALTHY
from planted import PLANTED, Kit, applies

from firstfault.faults import FAULTS
from firstfault.finding import Layer

KITS = [
    Kit(kind, lambda kind=kind: own_model.model(kind), own_model.tokenizer, kind == "rope")
    for kind in ("rope", "absolute")
]
ROPE, ABSOLUTE = KITS
CUTS = {"bos_doubled", "template_mismatch", "generation_prompt_missing", "padding_side", "cache_mismatch"}


@pytest.mark.parametrize(("fault", "kit"), [(fault, kit) for fault in PLANTED for kit in KITS if applies(fault, kit)])
def test_a_planted_fault_is_the_first_that_is_named(diagnosed, fault, kit):
    """The verdict is faulty, and its top fault is the planted one, in the layer where it is made."""
    lm = PLANTED[fault](kit, random.Random(f"{fault} {kit.name}"))
    verdict = diagnosed(lm)
    assert [each.fault for each in verdict.faults][:1] == [fault]
    served = FAULTS[fault].served and lm.tuning is not None
    assert verdict.first_faulty_layer is (Layer.DEPLOYMENT if served else FAULTS[fault].layer)
    assert fault not in CUTS or verdict.faults[0].confirmed


@pytest.mark.parametrize(("name", "kit"), [(name, kit) for name in HEALTHY for kit in KITS])
def test_a_healthy_set_up_is_healthy(diagnosed, name, kit):
    """Declared precision, batches, kernels, padding under rope, ties and sound tunings are no faults."""
    verdict = diagnosed(HEALTHY[name](kit, random.Random(f"{name} {kit.name}")))
    assert verdict.status.value == "healthy"
    assert verdict.faults == ()


@pytest.mark.parametrize(
    "fault", ["adapter_without_effect", "merge_changed", "cache_mismatch", "packing_leak", "head_untied"]
)
def test_prompts_that_fail_for_a_reason_are_no_incapable_model(diagnosed, fault):
    """What a later layer does wrongly is not told as what the model can't do."""
    lm = PLANTED[fault](ROPE, random.Random(5))
    verdict = diagnosed(dataclasses.replace(lm, prompts=[("What is 7331 times 412?", "3020372")]))
    assert verdict.faults[0].fault == fault


def test_every_fault_of_a_language_model_is_planted():
    """No id that only a language model's checks detect is left without a planted example."""
    from firstfault.check import TargetKind
    from firstfault.checks.catalogue import all_checks
    from firstfault.verdict import SubjectKind

    of_lm = {fault for entry in all_checks() if entry.kind is TargetKind.LANGUAGE_MODEL for fault in entry.detects}
    others = {fault for entry in all_checks() if entry.kind is SubjectKind.TARGET for fault in entry.detects}
    assert of_lm - others <= set(PLANTED)
    assert len(PLANTED) == 31


def test_checks_of_a_language_model_and_of_a_table_keep_apart(diagnosed):
    """A language model's verdict lists no check of tables, not even as skipped."""
    from firstfault.check import checks_of

    verdict = diagnosed(HEALTHY["plain"](ROPE, random.Random(0)))
    run = {finding.check for report in verdict.layers for finding in report.findings}
    tables = {entry.name for layer in Layer for entry in checks_of(layer)}
    assert run and not run & tables


def test_a_swap_says_what_it_put_in_place_and_what_came_back(diagnosed):
    """Of a doubled first token the ids alone are swapped, and the next token agrees with the reference's again."""
    verdict = diagnosed(PLANTED["bos_doubled"](ROPE, random.Random(3)))
    swap = verdict.faults[0].swap
    assert swap.change == "use the ids of the reference's tokenizer"
    assert (swap.after, swap.over) == (1.0, "prompts") and swap.before < 0.5


def test_two_faults_of_one_request_are_both_named(diagnosed):
    """A lost opening and a doubled first token stand together, each confirmed beside the other."""
    from firstfault import LM

    words = own_model.tokenizer()

    def render(messages):
        return words.apply_chat_template(messages, tokenize=False)

    lm = LM(model=own_model.trained(), tokenizer=words, render=render, encode=words, prompts=["Name a colour."])
    verdict = diagnosed(lm)
    assert {fault.fault for fault in verdict.faults} == {"generation_prompt_missing", "bos_doubled"}
