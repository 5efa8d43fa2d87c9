"""What serving does to a language model's network: adapter, precision, overflow, cache, batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.checks.training.lm_added_weights import adapter_tensors, is_empty
from firstfault.errors import Missing
from firstfault.faults import FAULTS
from firstfault.finding import Layer, Status
from firstfault.lm.adapter_layers import own_adapter, without_adapter
from firstfault.lm.cuts import PROOF
from firstfault.lm.local import Local
from firstfault.lm.modules import HALF_RANGE, number_format
from firstfault.lm.network import call, device_of, divergence, log_probs, logits_of
from firstfault.place import Place
from firstfault.subject.language_causes import batch_fault, batched, cache_gap, log_prob_fault, overflow
from firstfault.subject.language_distances import bound, forward_ids, gaps, numerics
from firstfault.subject.language_model import declared_lm, network
from firstfault.subject.language_rows import tuning
from firstfault.subject.memo import part
from firstfault.subject.subject import Subject


@part(Layer.DEPLOYMENT, "tuning.before", of="trained")
def adapter_effect(subject: Subject) -> float:
    """The largest difference of logits with and without the adapter."""
    tensors, lm = adapter_tensors(subject), declared_lm(subject).tuning
    before = lm.before if lm is not None else None
    if before is None and not own_adapter(network(subject)):
        raise Missing("needs the model without the adapter: tuning.before")
    if is_empty(tensors):
        raise Missing("the adapter is empty, which the layer training tells")
    if not forward_ids(subject):
        raise Missing("no prompt can be sent through the network")
    ids, model = forward_ids(subject)[0][1], network(subject)
    if before is not None:
        without = log_probs(Local(before, None).model, ids)
    else:
        with without_adapter(model):
            without = log_probs(model, ids)
    return float((log_probs(model, ids) - without).abs().max())


@check(
    layer=Layer.DEPLOYMENT,
    needs={adapter_effect},
    detects={"adapter_without_effect": PROOF},
    kind=TargetKind.LANGUAGE_MODEL,
)
def adapter_has_no_effect(subject: Subject) -> Iterator[Judgement]:
    """Find a served model that answers as if its adapter were not there.

    Measures: the largest difference of log-probabilities with the adapter and without it: those of `tuning.before`, or
        of the same model with the adapters that it carries switched off.
    Fails when: they are equal bit for bit, while the adapter's tensors are not zero.
    Source: PEFT: names of modules that match nothing are loaded without an error.
    """
    apart = adapter_effect(subject)
    if apart > 0:
        yield passed(f"the adapter changes log-probs by up to {apart:.2g}", value=apart)
        return
    yield Judgement(
        Status.FAIL,
        "log-probs with the adapter are those without it, bit for bit",
        value=apart,
        threshold=0.0,
        where=Place.setting("lm.model"),
    )


@part(Layer.DEPLOYMENT, "tuning.unmerged", of="trained")
def merge_gap(subject: Subject) -> float:
    """The mean divergence of the served model from the one with the adapter beside its weights."""
    unmerged = tuning(subject).unmerged
    if unmerged is None:
        raise Missing("needs the model before merging: tuning.unmerged")
    other = Local(unmerged, None).model
    found = [
        divergence(log_probs(other, ids), log_probs(network(subject), ids)).mean() for _, ids in forward_ids(subject)
    ]
    return float(torch.stack(found).max())


@check(layer=Layer.DEPLOYMENT, needs={merge_gap}, detects={"merge_changed": PROOF}, kind=TargetKind.LANGUAGE_MODEL)
def merged_otherwise(subject: Subject) -> Iterator[Judgement]:
    """Find a merged model that is not the model and its adapter.

    Measures: the mean divergence per position, in nat, of the merged model from the unmerged one.
    Fails when: it is beyond the declared precision: merged twice, with another scale, or into quantised weights.
    Not a fault when: the adapter has no effect at all; that is told instead.
    Source: PEFT, merge_and_unload: merging into 8-bit weights rounds.
    """
    apart, most = merge_gap(subject), bound(subject)
    told = f"the merged model is {apart:.2g} nat a token from model and adapter"
    if apart <= most:
        yield passed(told, value=apart)
        return
    try:
        if adapter_effect(subject) == 0:
            yield skipped("the adapter has no effect")
            return
    except Missing:
        pass
    yield Judgement(Status.FAIL, told, value=apart, threshold=most, where=Place.setting("lm.model"))


@check(layer=Layer.DEPLOYMENT, needs={overflow}, detects={"precision_overflow": PROOF}, kind=TargetKind.LANGUAGE_MODEL)
def numbers_overflow(subject: Subject) -> Iterator[Judgement]:
    """Find a network whose numbers leave the range of the precision in which it is served.

    Measures: the largest magnitude that a module gives, on one prompt.
    Fails when: it is beyond 65,504 in float16, by the weights' format or as declared; or is no number in any other.
    Source: IEEE 754 binary16; T5 and Gemma in float16.
    """
    largest, where = overflow(subject)
    half = "float16" in (number_format(network(subject)), declared_lm(subject).promises.precision)
    endless = largest == float("inf")
    if endless or (half and largest > HALF_RANGE):
        given = "what is no number" if endless else f"{largest:.3g}"
        yield Judgement(
            Status.FAIL,
            f"{where} gives {given}" + ", and float16 ends at 65,504" * half,
            value=largest,
            threshold=HALF_RANGE,
            where=Place.modules(where),
            faults={"precision_overflow" if half else "numerically_unstable": PROOF},
        )
        return
    yield passed(f"the largest magnitude is {largest:.3g}, of {where}", value=largest)


@check(
    layer=Layer.DEPLOYMENT,
    needs={gaps},
    detects={"precision_loss": PROOF, "weights_not_loaded": 0.9},
    kind=TargetKind.LANGUAGE_MODEL,
)
def served_log_probs(subject: Subject) -> Iterator[Judgement]:
    """Find a precision that ruins log-probabilities beyond what is declared, or weights that are not the reference's.

    Measures: as `other_log_probs`.
    Fails when: the difference is explained by rounded weights or a coarser number format, or by other weights.
    Not a fault when: the declared precision allows it: bfloat16 4e-3, int8 1e-2 nat a token.
    Source: measured on 135 M parameters: bfloat16 8e-4, int8 by weights 2e-3; dynamic int8 of all layers ruins it.
    """
    found = log_prob_fault(subject)
    if found is None or not found.fault or FAULTS[found.fault].layer is not Layer.DEPLOYMENT:
        yield passed(f"log-probs are within {bound(subject):.2g} nat a token of the reference's")
        return
    if found.fault == "precision_overflow":
        yield skipped("numbers overflow, which is told by itself")
        return
    yield Judgement(
        Status.FAIL,
        found.message,
        value=found.value,
        threshold=bound(subject),
        where=Place.modules(found.module) if found.module else Place.setting("lm.model"),
        faults={found.fault: PROOF},
    )


@check(layer=Layer.DEPLOYMENT, needs={cache_gap}, detects={"cache_mismatch": PROOF}, kind=TargetKind.LANGUAGE_MODEL)
def cached_otherwise(subject: Subject) -> Iterator[Judgement]:
    """Find log-probabilities with the cache that are not those without it.

    Measures: the mean divergence per position, in nat, of half a prompt fed token by token from the whole at once.
    Fails when: it is beyond the numerics of the number format.
    Source: transformers, caching: measured 3e-7 in float32.
    """
    apart, most = cache_gap(subject), numerics(subject)
    told = f"log-probs with the cache are {apart:.2g} nat a token from those without it"
    if apart <= most:
        yield passed(told, value=apart)
        return
    yield Judgement(Status.FAIL, told, value=apart, threshold=most, where=Place.setting("lm.model"))


@check(layer=Layer.DEPLOYMENT, needs={batched}, detects={"batch_dependence": PROOF}, kind=TargetKind.LANGUAGE_MODEL)
def answers_by_batch(subject: Subject) -> Iterator[Judgement]:
    """Find prompts that are answered otherwise beside others, for no reason of padding.

    Measures: the divergence of what comes next, in a batch, from the same prompt alone.
    Fails when: it is beyond the numerics, and neither positions nor a mask mend it.
    Source: measured on 135 M parameters: batches with a mask stay within 3e-7 nat.
    """
    found = batch_fault(subject)
    if found is None or found.fault != "batch_dependence":
        yield passed("prompts in a batch are answered as alone, but for padding", value=batched(subject).apart)
        return
    yield Judgement(
        Status.FAIL, found.message, value=found.value, threshold=numerics(subject), where=Place.setting("lm.batch")
    )


@part(Layer.DEPLOYMENT, "lm.model", of="trained")
def drawn_apart(subject: Subject) -> float:
    """The largest difference of log-probabilities of one prompt, asked twice in the mode in which the model is."""
    model = network(subject)
    if not any(module.training for module in model.modules()):
        return 0.0
    if not forward_ids(subject):
        raise Missing("no prompt can be sent through the network")
    ids = torch.tensor([list(forward_ids(subject)[0][1])], device=device_of(model))
    with torch.random.fork_rng(), torch.no_grad():
        first, second = (logits_of(call(model, {"input_ids": ids})).float().log_softmax(-1) for _ in range(2))
    return float((first - second).abs().max())


@check(
    layer=Layer.DEPLOYMENT, needs={drawn_apart}, detects={"train_mode_serving": 0.92}, kind=TargetKind.LANGUAGE_MODEL
)
def dropout_while_serving(subject: Subject, *, most: float = 1e-3) -> Iterator[Judgement]:
    """Find a served network that is in train mode, and drops out.

    Measures: the largest difference of log-probabilities of one prompt that is asked twice, in the mode in which the
        model is handed over, whether dropout is a module, a function's argument or an adapter's.
    Fails when: it is above `most`.
    Not a fault when: the model has no dropout, or its own `generate` switches to eval mode; declare it in eval mode.
    Source: PyTorch, Module.eval. The bound is above what sums in another order come to on a GPU, and a dropout of 10 %
        moves logits by tenths.
    """
    apart = drawn_apart(subject)
    if apart <= most:
        yield passed("a prompt that is asked twice is answered alike", value=apart)
        return
    model = network(subject)
    drawing = [name for name, each in model.named_modules() if isinstance(each, torch.nn.Dropout) and each.training]
    where = f"{drawing[0]} drops out" if drawing else "it drops out"
    yield Judgement(
        Status.FAIL,
        f"log-probs of a prompt that is asked twice are up to {apart:.2g} nat apart: the model is in train mode, "
        f"and {where}",
        value=apart,
        threshold=most,
        where=Place.modules(*drawing) if drawing else Place.setting("lm.model"),
    )
