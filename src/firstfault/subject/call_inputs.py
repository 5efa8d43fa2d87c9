"""Which way of calling a watched model again, with what it was given, gives answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.subject.model_inputs import has_outputs_of_pairs
from firstfault.training.answers import Answer, EveryAnswer, answers_in
from firstfault.training.call_tree import Arguments
from firstfault.training.input_forms import inputs_of
from firstfault.training.one_tensor import Batches, Inputs, called_with_one_tensor

MOST_TRIED = 8  # samples: whether a call raises shows on a few


@dataclass(frozen=True)
class OneTensor:
    """Samples `x` of a model as one tensor, and how it is called with them: as it is, or through `inputs`."""

    x: torch.Tensor
    inputs: Inputs | None = None
    answer: Answer = field(default_factory=Answer)

    def of(self, model: nn.Module) -> nn.Module:
        """The model, as it is called with such samples."""
        return model if self.inputs is None else called_with_one_tensor(model, self.inputs, self.answer)


def one_tensor(
    model: nn.Module, calls: Sequence[Arguments], targets: Sequence[torch.Tensor], sizes: Sequence[int], answer: Answer
) -> OneTensor | None:
    """How a model that was watched is called with one tensor; None where nothing gives answers."""
    plain = all(call.is_one_tensor for call in calls) and answer in (Answer(), EveryAnswer())
    if plain and len({call.tensors[0].shape[1:] for call in calls}) == 1:
        given = [call.tensors[0].cpu() for call in calls]
        x = _samples_in_a_row(model, given) if given[0].ndim == 1 and given[0].is_floating_point() else torch.cat(given)
        return OneTensor(x) if x is not None else None
    found = _inputs_that_answer(model, calls, targets, sizes, answer)
    return None if found is None else OneTensor(found.x, found, answer)


def _samples_in_a_row(model: nn.Module, given: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Calls with one axis as samples: each a batch of single numbers, or one sample of a loop that acts step by step.

    None where the model gives neither the answers that it gave.
    """
    whole = torch.cat(list(given))
    outputs = _called(model, whole[:MOST_TRIED])
    if outputs is not None and len(outputs) == len(whole[:MOST_TRIED]):
        return whole
    if len({len(x) for x in given}) > 1:
        return None
    rows = torch.stack(list(given))
    together, alone = _called(model, rows[:MOST_TRIED]), [_called(model, row) for row in rows[:MOST_TRIED]]
    if together is None or any(each is None or each.shape != together.shape[1:] for each in alone):
        return None
    same = torch.allclose(together, torch.stack([each for each in alone if each is not None]), rtol=1e-3, atol=1e-4)
    return rows if same else None


def answers_to_pairs(called: OneTensor, model: nn.Module) -> bool:
    """Whether a model has an output for each pair of samples; one that raises is judged by its checks."""
    whole = called.of(copy.deepcopy(model)).eval()
    device = next((value.device for value in whole.parameters()), called.x.device)
    try:
        return has_outputs_of_pairs(whole, called.x[:MOST_TRIED].to(device))
    except BaseException as error:
        pass_on(error)
        return False


def _inputs_that_answer(
    model: nn.Module, calls: Sequence[Arguments], targets: Sequence[torch.Tensor], sizes: Sequence[int], answer: Answer
) -> Inputs | None:
    """The first of the ways in which some samples in another company give one answer each; None where there is none.

    Without the labels among the arguments it must also answer as with them: a decoder that is given them needs them.
    """
    ways = list(inputs_of(calls, targets, sizes))
    return next((way for way in ways if _answers(model, way, answer) and _as_it_was(model, way, calls, answer)), None)


def _answers(model: nn.Module, inputs: Inputs, answer: Answer) -> bool:
    x = inputs.x[: 2 * MOST_TRIED].flip(0)[:MOST_TRIED]
    outputs = _asked(model, inputs, x, answer)
    return outputs is not None and len(outputs) == len(x)


def _as_it_was(model: nn.Module, inputs: Inputs, calls: Sequence[Arguments], answer: Answer) -> bool:
    """Whether the first batch is answered as when it is called as it was."""
    size = len(calls[0].tensors[0]) if calls[0].tensors and calls[0].tensors[0].ndim else 0
    if isinstance(inputs, Batches) or not size:
        return True
    whole = Batches(calls[:1], [size])
    expected = _asked(model, whole, whole.x, answer)
    if expected is None:
        return True
    found = _asked(model, inputs, inputs.x[: len(expected)], answer)
    if found is None or found.ndim != expected.ndim:
        return False
    if found.shape != expected.shape:  # rows that were filled up to the longest batch
        found = found[tuple(slice(length) for length in expected.shape)]
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4, equal_nan=True)


def _asked(model: nn.Module, inputs: Inputs, x: torch.Tensor, answer: Answer) -> torch.Tensor | None:
    return _called(called_with_one_tensor(model, inputs, answer), x)


def _called(model: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    """The first answer of a copy in eval mode; None where it raises, or gives none."""
    copied = copy.deepcopy(model).eval()
    device = next((value.device for value in copied.parameters()), x.device)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return next(answers_in(copied(x.to(device))), None)
    except BaseException as error:
        pass_on(error)
        return None
