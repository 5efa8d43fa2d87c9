"""A language model's network: its log-probabilities against the reference's, its head, its padded positions."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.errors import Missing
from firstfault.faults import FAULTS
from firstfault.finding import Layer, Status
from firstfault.lm.cuts import PROOF
from firstfault.lm.modules import head_apart_from_embedding, tied
from firstfault.lm.network import divergence, log_probs
from firstfault.place import Place
from firstfault.subject.language_causes import batch_fault, batched, log_prob_fault
from firstfault.subject.language_distances import bound, forward_ids, gaps, numerics
from firstfault.subject.language_model import network
from firstfault.subject.memo import part
from firstfault.subject.subject import Subject


@check(
    layer=Layer.MODEL,
    needs={gaps},
    detects={"rope_mismatch": PROOF, "head_untied": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def other_log_probs(subject: Subject) -> Iterator[Judgement]:
    """Find log-probabilities that are not the reference's on the same ids, and the module that is the first to differ.

    Measures: the mean Kullback-Leibler divergence per position, in nat, teacher-forced on three prompts.
    Fails when: it is above 1e-5, or what the declared precision allows: 1e-4 of float16, 4e-3 of bfloat16, 1e-2 of
        int8. What only serving changes, its precision or its weights, is told by the layer deployment.
    Source: measured on 135 M parameters: batches, caches and kernels 3e-7, bfloat16 8e-4, int8 2e-3, the mildest
        planted fault 5e-3.
    """
    found = log_prob_fault(subject)
    worst = max(gap.mean for gap in gaps(subject)) if gaps(subject) else 0.0
    if found is None or (found.fault and FAULTS[found.fault].layer is not Layer.MODEL):
        told = "as declared" if found is None else "for what serving does"
        yield passed(f"log-probs are {worst:.2g} nat a token from the reference's, {told}", value=worst)
        return
    yield Judgement(
        Status.FAIL,
        found.message,
        value=found.value,
        threshold=bound(subject),
        where=Place.modules(found.module) if found.module else Place.setting("lm.model"),
        faults={found.fault: PROOF} if found.fault else {},
    )


@check(
    layer=Layer.MODEL, needs={network}, detects={"head_untied": PROOF}, gradients=False, kind=TargetKind.LANGUAGE_MODEL
)
def head_apart(subject: Subject) -> Iterator[Judgement]:
    """Find an output head that is not the embedding to which the model's settings tie it.

    Measures: the largest difference of both, of the largest weight.
    Fails when: there is one.
    Not a fault when: `tie_word_embeddings` is off.
    Source: transformers, tie_weights: a head that was saved apart, or drawn anew, is loaded without a word.
    """
    apart = head_apart_from_embedding(network(subject)) if tied(network(subject)) else None
    if apart is None:
        yield skipped("the model's settings tie no head to the embedding")
        return
    if apart <= 1e-6:
        yield passed("the head is the embedding", value=apart)
        return
    yield Judgement(
        Status.FAIL,
        f"the head is {apart:.2g} of the largest weight from the embedding, to which the settings tie it",
        value=apart,
        threshold=0.0,
        where=Place.modules("lm_head"),
    )


@part(Layer.MODEL, "lm.model", of="model")
def future_seen(subject: Subject) -> float:
    """How far log-probabilities of a prompt's first half move, at most, when each token behind is the one before it."""
    ids = next((list(ids) for _, ids in forward_ids(subject) if len(ids) > 3), None)
    if ids is None:
        raise Missing("no prompt is long enough to be changed at its end")
    half = len(ids) // 2
    others = ids[:half] + ids[half - 1 : -1]
    before, after = (log_probs(network(subject), each)[:half] for each in (ids, others))
    return float(divergence(before, after).max())


@check(
    layer=Layer.MODEL,
    needs={future_seen},
    detects={"missing_causal_mask": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def sees_next_tokens(subject: Subject, *, most: float = 0.1) -> Iterator[Judgement]:
    """Find networks that see the tokens that they are asked for: what they say moves when only later tokens change.

    Measures: the largest divergence at a position, in nat, in the first half of a prompt, when each token of its second
        half is replaced by the one before it.
    Fails when: it is above `most`.
    Source: Vaswani et al. 2017, 3.2.3, as a metamorphic test. Activations that are rounded by the largest of the whole
        input move what is said by up to 0.03 nat, a mask that is missing in a trained network by nats: it scores texts
        well, since it reads them, and writes them badly.
    """
    apart = future_seen(subject)
    if apart <= most:
        yield passed("what the network says of a prompt does not hang on what stands behind", value=apart)
        return
    yield Judgement(
        Status.FAIL,
        f"log-probs move by up to {apart:.2g} nat when only the tokens behind them change: the network sees them",
        value=apart,
        threshold=most,
        where=Place.setting("lm.model"),
    )


@check(
    layer=Layer.MODEL,
    needs={batched},
    detects={"padding_side": PROOF, "positions_not_from_mask": PROOF, "padding_not_masked": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def padded_prompts(subject: Subject) -> Iterator[Judgement]:
    """Find prompts that are answered otherwise where they are padded to one length.

    Measures: the divergence of what comes next, in a batch of unequal lengths, from the same prompts alone.
    Fails when: it is beyond the numerics, and prompts end in padding, or positions or a mask made from the padding
        alone mend it.
    Not a fault when: rotary positions are shifted as a whole: padding on the left changes nothing then.
    Source: transformers, padding side of decoder-only models; measured: harmless under rope, wrong with absolute
        positions.
    """
    found = batch_fault(subject)
    if found is None or FAULTS[found.fault].layer is not Layer.MODEL:
        told = f"prompts in a batch are {batched(subject).apart:.2g} nat from the same alone"
        yield passed(told, value=batched(subject).apart)
        return
    yield Judgement(
        Status.FAIL,
        found.message,
        value=found.value,
        threshold=numerics(subject),
        where=Place.setting("lm.collate"),
        faults={found.fault: PROOF},
    )
