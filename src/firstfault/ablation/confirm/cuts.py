"""Testing a language model's faults: the reference's cut is put in place of one cut, on the failing prompts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from firstfault.ablation.confirm.brief_tuning import without_the_rows, without_the_tests
from firstfault.checks.deployment.lm_network import merge_gap
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.finding import LayerReport
from firstfault.lm.cuts import Cut
from firstfault.lm.local import Local, padded
from firstfault.lm.network import divergence, log_probs, vocabulary_of
from firstfault.standing import suspected
from firstfault.subject.language_causes import batched, cache_gap, sequences
from firstfault.subject.language_distances import bound, forward_ids, numerics
from firstfault.subject.language_model import (
    answers,
    language_model,
    local,
    network,
    prompts,
    reference,
    reference_network,
    template,
    tokens,
)
from firstfault.subject.subject import Subject
from firstfault.target.language_model import Prompt
from firstfault.verdict import Outcome, Swap

NO_SWAP = "no cut of a request can be swapped for it"
MOST_PROMPTS = 4
"""Prompts on which a cut is swapped, the failing ones first: on 135 M parameters a CPU second each and arm."""
SAME = 1e-4
"""Nat, within which one network says the same behind two ways of a prompt: another id changes it by far more."""
TEXT = "template_missing", "template_mismatch", "generation_prompt_missing", "default_system_lost"
IDS = "bos_doubled", "bos_missing", "special_token_split", "tokenizer_mismatch", "truncation"
CUT_OF: Mapping[str, Cut] = {**dict.fromkeys(TEXT, Cut.TEXT), **dict.fromkeys(IDS, Cut.IDS)}
CHANGES = {Cut.TEXT: "write the prompts as the reference does", Cut.IDS: "use the ids of the reference's tokenizer"}


def confirm_cuts(subject: Subject, report: LayerReport) -> list[Outcome]:
    """Undo each fault that a layer's failed findings point to at its own cut, with all other cuts as they are."""
    suspects = list(suspected(report))
    requests = _Requests(subject, frozenset(CUT_OF[fault] for fault in suspects if fault in CUT_OF))
    return [_tried(subject, fault, requests.test if fault in CUT_OF else OTHERS.get(fault)) for fault in suspects]


def _tried(subject: Subject, fault: str, test: Callable[..., Outcome | Swap | None] | None) -> Outcome:
    if test is None:
        return Outcome(fault, None, reason=NO_SWAP)
    try:
        found = test(fault) if fault in CUT_OF else test(subject)
    except (Missing, UserCodeError, FirstfaultError) as error:
        return Outcome(fault, None, reason=subject.masked(str(error)))
    if isinstance(found, Outcome):
        return found
    gained = found is not None and (found.after or 0.0) > (found.before or 0.0)
    return Outcome(fault, gained or None, found, "" if gained else "undoing it restored nothing that can be measured")


@dataclass(frozen=True)
class _Requests:
    """The failing prompts, sent through one network with the reference's text or ids in place of the target's."""

    subject: Subject
    suspected: frozenset[Cut]
    known: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)

    def test(self, fault: str) -> Outcome:
        """The swap of a fault's cut alone; where another cut is wrong too, beside the swap of that one."""
        cut, metric = CUT_OF[fault], "agreement with the reference's next token"
        count = len(self._prompts())
        before, alone = self._agreement(frozenset()), self._agreement(frozenset({cut}))
        if alone > before:
            return Outcome(fault, True, Swap(CHANGES[cut], metric, before, alone, count, over="prompts"))
        every, others = self._agreement(self.suspected), self._agreement(self.suspected - {cut})
        if every > others:
            return Outcome(fault, True, Swap(CHANGES[cut], metric, others, every, count, over="prompts"))
        return Outcome(fault, None, reason="its cut alone changes nothing that the next token shows")

    def _prompts(self) -> tuple[Prompt, ...]:
        return prompts(self.subject)[:MOST_PROMPTS]

    def _agreement(self, cuts: frozenset[Cut]) -> float:
        """The share of prompts behind which the next token is as likely as behind the reference's own ids."""
        hits = [
            float(divergence(self._next(reference(self.subject).ids_of(prompt)), self._next(self._ids(prompt, cuts))))
            for prompt in self._prompts()
        ]
        return sum(apart <= SAME for apart in hits) / len(hits)

    def _ids(self, prompt: Prompt, cuts: frozenset[Cut]) -> list[int]:
        model, other = language_model(self.subject), reference(self.subject)
        if not cuts:
            return model.ids_of(prompt)
        if cuts >= {Cut.TEXT, Cut.IDS}:
            return other.ids_of(prompt)
        if Cut.IDS in cuts:
            ids = other.encode(model.text_of(prompt))
            return other.ids_of(prompt) if self._only_bos(prompt) else ids
        return self._encoded(other.text_of(prompt))

    def _only_bos(self, prompt: Prompt) -> bool:
        """Whether both texts are the same but for first tokens, which the ids then bring."""
        bos = template(self.subject).bos
        texts = [each.text_of(prompt) for each in (language_model(self.subject), reference(self.subject))]
        return len({_behind(text, bos) for text in texts}) == 1

    def _encoded(self, text: str) -> list[int]:
        """The target's ids of the reference's text, without a first token that both of them write."""
        model, bos = language_model(self.subject), tokens(self.subject).bos
        ids = model.encode(text)
        if bos is not None and ids[:2] == [bos, bos] and reference(self.subject).encode(text)[:2] != [bos, bos]:
            return ids[1:]
        return ids

    def _next(self, ids: Sequence[int]) -> torch.Tensor:
        """Log-probabilities `(V,)` behind some ids, each sequence sent once."""
        key = tuple(ids)
        if key not in self.known:
            self.known[key] = self._asked(key)
        return self.known[key]

    def _asked(self, ids: tuple[int, ...]) -> torch.Tensor:
        model = self._network()
        rows = vocabulary_of(model)
        if not ids or max(ids) >= rows:  # it raises there, and says nothing
            return torch.full((rows,), -1e9).index_fill(0, torch.tensor([0]), 0.0)
        return log_probs(model, ids)[-1]

    def _network(self) -> torch.nn.Module:
        if isinstance(language_model(self.subject), Local):
            return network(self.subject)
        return reference_network(self.subject)


def _behind(text: str, bos: str) -> str:
    """A text without the first tokens that it begins with."""
    while bos and text.startswith(bos):
        text = text.removeprefix(bos)
    return text


def _by_reference(subject: Subject) -> Swap:
    """Agreement with the reference's network, before and with that network itself."""
    return _with_network(subject, "use the reference's network on the same ids", reference_network(subject))


def _with_its_positions(subject: Subject) -> Swap:
    """The same with the reference's rotary frequencies in the network, and nothing else of it."""
    model, known = copy.deepcopy(network(subject)), dict(reference_network(subject).named_buffers())
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name in known and known[name].shape == value.shape:
                value.copy_(known[name])
    return _with_network(subject, "use the reference's rotary frequencies", model)


def _with_tied_head(subject: Subject) -> Swap:
    """The same with the network's own embedding as its head."""
    model: Any = copy.deepcopy(network(subject))
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    return _with_network(subject, "tie the head to the embedding", model)


def _in_float32(subject: Subject) -> Swap:
    """The same with the network in float32; where its weights have overflown too, with the reference's."""
    found = _with_network(subject, "compute in float32", copy.deepcopy(network(subject)).float())
    return found if (found.after or 0.0) > (found.before or 0.0) else _by_reference(subject)


def _with_network(subject: Subject, change: str, repaired: torch.nn.Module) -> Swap:
    """Agreement of log-probs with those of the reference, of the network as it is and of a repaired one."""
    known = [ids for _, ids in forward_ids(subject)]
    if not known:
        raise Missing("no prompt can be sent through the network")
    before, after = (_agreement(subject, model, known) for model in (network(subject), repaired))
    return Swap(change, "agreement with the reference's log-probs", before, after, len(known), over="prompts")


def _agreement(subject: Subject, model: torch.nn.Module, known: Sequence[tuple[int, ...]]) -> float:
    other = reference_network(subject)
    apart = [float(divergence(log_probs(other, ids), log_probs(model, ids)).mean()) for ids in known]
    return sum(each <= bound(subject) for each in apart) / len(apart)


def _padded_as_reference(subject: Subject) -> Swap:
    """Agreement of prompts in a batch with themselves alone: as the target pads, and on the left with positions."""
    seen, model = batched(subject), local(subject)
    inputs = padded(model.tokenizer, sequences(subject), "left")
    before, after = (
        float((divergence(seen.alone, model.last_log_probs(made)) <= numerics(subject)).float().mean())
        for made in (seen.inputs, inputs)
    )
    return Swap(
        "pad on the left, with mask and positions",
        "agreement with the same prompt alone",
        before,
        after,
        len(seen.lengths),
        over="prompts",
    )


def _alone(subject: Subject) -> Swap:
    seen = batched(subject)
    before = divergence(seen.alone, local(subject).last_log_probs(seen.inputs)) <= numerics(subject)
    metric = "agreement with the same prompt alone"
    return Swap("answer each prompt alone", metric, float(before.float().mean()), 1.0, len(before), over="prompts")


def _without_cache(subject: Subject) -> Swap:
    before = float(cache_gap(subject) <= numerics(subject))
    return Swap("answer without the cache", "agreement with the uncached log-probs", before, 1.0, 1, over="prompt")


def _unmerged(subject: Subject) -> Swap:
    before = float(merge_gap(subject) <= bound(subject))
    return Swap("serve the adapter unmerged", "agreement with model and adapter", before, 1.0, 1, over="prompt")


def _with_the_stop(subject: Subject) -> Swap | None:
    """The share of answers that end at the end of their turn, as they are and with that token as a stop."""
    end = tokens(subject).controls.get(template(subject).turn_end)
    seen = [answer.ids for _, answer in answers(subject) if end in answer.ids]
    if end is None or not seen:
        raise Missing("no answer came to the end of its turn")
    before = sum(ids[-1] == end for ids in seen) / len(seen)
    return Swap(
        f"stop at {template(subject).turn_end}", "answers that end there", before, 1.0, len(seen), over="prompts"
    )


OTHERS: Mapping[str, Callable[[Subject], Swap | None]] = {
    "rope_mismatch": _with_its_positions,
    "head_untied": _with_tied_head,
    "precision_overflow": _in_float32,
    "precision_loss": _by_reference,
    "weights_not_loaded": _by_reference,
    **dict.fromkeys(("padding_side", "positions_not_from_mask", "padding_not_masked"), _padded_as_reference),
    "batch_dependence": _alone,
    "cache_mismatch": _without_cache,
    "merge_changed": _unmerged,
    "stop_incomplete": _with_the_stop,
    "behaviour_in_data": without_the_rows,
    "test_in_training": without_the_tests,
}
"""By fault, how it is undone where no text and no ids are swapped."""
UNDONE: Mapping[str, str] = {
    **{fault: CHANGES[cut] for fault, cut in CUT_OF.items()},
    "rope_mismatch": "use the reference's rotary frequencies",
    "head_untied": "tie the head to the embedding",
    "precision_overflow": "compute in float32",
    **dict.fromkeys(("precision_loss", "weights_not_loaded"), "use the reference's network on the same ids"),
    **dict.fromkeys(("padding_side", "positions_not_from_mask"), "pad on the left, with mask and positions"),
    "batch_dependence": "answer each prompt alone",
    "cache_mismatch": "answer without the cache",
    "merge_changed": "serve the adapter unmerged",
    "stop_incomplete": "stop at the template's end of a turn",
    "behaviour_in_data": "tune briefly without the rows that show it",
    "test_in_training": "tune briefly without the rows that hold the tests",
}
"""The same in words, for the fault reference."""
