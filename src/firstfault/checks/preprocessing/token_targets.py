"""Is every position of a language model asked for the token after those that it sees?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.interrupts import pass_on
from firstfault.place import Place
from firstfault.probe.token_targets import is_tokens
from firstfault.subject.captured import unlabelled
from firstfault.subject.model_inputs import answer, answer_to_others, sound_batch
from firstfault.subject.subject import Subject
from firstfault.subject.tokens_seen import record_of_tokens
from firstfault.training.one_tensor import Batches, inputs_of_call

ROWS = 8  # that are changed at one position: some tokens move an output more than others
MOVED = 1e-5  # of the largest output: above the rounding of float32 numbers


@check(layer=Layer.PREPROCESSING, gradients=True, detects={"misaligned_labels": 0.92, "labels_shifted_twice": 0.92})
def targets_ahead(subject: Subject, *, share: float = 0.9) -> Iterator[Judgement]:
    """Find language models that are asked for the token that they see, or for the one after the next.

    Measures: by how many positions the targets of the loss lie ahead of the last token that an output depends on: 1 for
        the next token. The targets are compared with the model's inputs on the sampled steps of the training, as the
        loss is given them; one token is changed to see which outputs move.
    Fails when: it is 0, or 2 and more, in at least `share` of the calls that were looked at.
    Not a fault when: the model or the loss moves the labels itself; outputs depend on later tokens, as those of a model
        that fills gaps; or other calls ask for the next token, as where several are predicted at once.
    Source: the model documentation of transformers: "labels are shifted inside the model"; docs/faults.md,
        labels_shifted_twice. The share is a choice of ours: a loop asks always alike.
    """
    record = record_of_tokens(subject)
    counts = {int(ahead): count for ahead, count in record.targets_ahead.items()} if record is not None else {}
    if not counts:
        yield skipped("no loss was given the tokens of its model's inputs as targets")
        return
    asked = max(counts, key=lambda ahead: counts[ahead])
    if (1 in counts and asked != 1) or counts[asked] < share * sum(counts.values()):
        yield passed("several tokens ahead are asked for")
        return
    last = _last_seen(subject)
    if last is None:
        yield skipped("which tokens an output depends on can't be told, or they are later ones, too")
        return
    ahead = asked - last
    if ahead == 1 or ahead < 0:
        yield passed("every position is asked for the next token", value=ahead)
        return
    yield _moved(ahead)


def _moved(ahead: int) -> Judgement:
    if ahead == 0:
        text, fault = "every position is asked for a token that it sees: targets are not shifted", "misaligned_labels"
        fix = "compare the outputs [:, :-1] with the tokens [:, 1:]"
    else:
        text, fault = f"every position is asked for the token {ahead} ahead of it", "labels_shifted_twice"
        fix = "shift the labels once: in the loop, or in the model that does it by itself"
    return Judgement(Status.FAIL, text, value=ahead, threshold=1, where=Place.labels(), faults={fault: 0.92}, fix=fix)


def _last_seen(subject: Subject) -> int | None:
    """How many positions later than itself the last token lies that an output depends on.

    It is 0, or −1 where the model moves its inputs by itself; None where later tokens are seen, or nothing can be told.
    """
    for each in unlabelled(subject) or (subject,):
        try:
            found = _first_moved(each)
        except BaseException as error:  # a model that can't be asked again
            pass_on(error)
            continue
        if found is not None:
            return found
    return None


def _first_moved(subject: Subject) -> int | None:
    model, x = subject.fresh_model().eval(), sound_batch(subject).x[:ROWS]
    inputs = inputs_of_call(model)
    if isinstance(inputs, Batches):  # those of unequal lengths: the first one
        x = inputs.x[inputs.batch == 0].to(x.device)
    length = _length(model, x)
    before = answer(model, x)
    axis = next((axis for axis in range(1, before.ndim) if before.shape[axis] == length), None)
    if axis is None:
        return None
    found = set()
    for position in (length // 2, length // 2 + 1):
        after = answer_to_others(model, x, partial(_other, position=position))
        moves = (after - before).abs().movedim(axis, 0).flatten(1).amax(1)
        moves = moves.masked_fill(_padded(model, length).to(moves.device), 0.0)
        moved = (moves > MOVED * float(before.abs().max())).nonzero()
        found.add(position - int(moved[0]) if len(moved) else position)
    last = found.pop()
    return last if not found and last <= 0 else None


def _length(model: nn.Module, x: torch.Tensor) -> int:
    """How many tokens a sample has; 0 where the model is given none."""
    inputs = inputs_of_call(model)
    given = inputs.tensors if inputs is not None else ()
    return next((tensor.shape[1] for tensor in given or (x,) if _is_read(tensor)), 0)


def _padded(model: nn.Module, length: int) -> torch.Tensor:
    """At which positions a mask among the inputs has a 0: what is asked there sees whatever it likes."""
    inputs = inputs_of_call(model)
    masks = [
        tensor == 0
        for tensor in (inputs.tensors if inputs is not None else ())
        if is_tokens(tensor) and tensor.shape[1] == length and not _is_read(tensor) and int(tensor.min()) == 0
    ]
    found = torch.zeros(length, dtype=torch.bool)
    for mask in masks:
        found = found | mask.any(0).cpu()
    return found


def _is_read(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds tokens; masks are none."""
    return is_tokens(tensor) and bool((tensor > 1).any())


def _other(tokens: torch.Tensor, position: int) -> torch.Tensor:
    if not _is_read(tokens) or tokens.shape[1] <= position:
        return tokens
    changed, column = tokens.clone(), tokens[:, position]
    other = column.roll(1)
    changed[:, position] = torch.where(other == column, tokens[:, 0], other)
    return changed
