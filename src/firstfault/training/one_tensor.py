"""A watched model that takes a tree of tensors, called with one tensor: what every check and every replay calls models
with.

The tensor holds the samples themselves where all else follows from them (tokens, with a mask of those that are no
padding), else the numbers of samples that are looked up in what the model was given while it was watched.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from firstfault.training.answers import Answer, EveryAnswer
from firstfault.training.call_tree import Arguments, names_of, put_together, slots_of

Forward = Callable[..., Any]


class Inputs(ABC):
    """What a model was given, as one tensor `x` of samples."""

    x: torch.Tensor
    separable = True
    """Whether a sample can be given in the company of any others."""

    def __deepcopy__(self, memo: Any) -> Inputs:
        return self

    @abstractmethod
    def ask(self, forward: Forward, x: torch.Tensor, answer: Answer) -> torch.Tensor:
        """The answers `(N, …)` to samples."""

    def given(self, x: torch.Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a model is called with for samples.

        Raises:
            NotImplementedError: where samples are given in whole batches.
        """
        raise NotImplementedError

    def features(self, x: torch.Tensor) -> torch.Tensor | None:
        """The samples as rows of numbers `(N, F)`; None where they are none."""
        return None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Those that samples are looked up in, of the first call where there are several."""
        return ()

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs | None:
        """The same with other tensors in place of those that samples are looked up in; None where there are none."""
        return None


class Samples(Inputs):
    """One of the tensors is `x`; the others follow from it, or are the same for every sample.

    Args:
        form: of the call.
        main: the slot of `x`.
        alike: by slot, a row `(1, …)` that every sample has.
        masks: by slot, the token where it is 0, and its dtype.
        fixed: by slot, what belongs to no sample.
    """

    def __init__(
        self,
        form: Any,
        x: torch.Tensor,
        main: int,
        alike: dict[int, torch.Tensor],
        masks: dict[int, tuple[int, torch.dtype]],
        fixed: dict[int, torch.Tensor],
    ) -> None:
        self.form, self.x, self.main, self.alike, self.masks, self.fixed = form, x, main, alike, masks, fixed

    def ask(self, forward: Forward, x: torch.Tensor, answer: Answer) -> torch.Tensor:
        """Call the model with samples, and with what follows from them."""
        args, kwargs = self.given(x)
        return answer.of(forward(*args, **kwargs))

    def given(self, x: torch.Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Samples, and what follows from them."""
        if x.is_floating_point() and not self.x.is_floating_point():
            x = x.round()
        x = x.to(self.x.dtype)
        given = {self.main: x, **{slot: value.to(x.device) for slot, value in self.fixed.items()}}
        given |= {slot: (x != token).to(dtype) for slot, (token, dtype) in self.masks.items()}
        given |= {slot: self._for_each(row.to(x.device), x) for slot, row in self.alike.items()}
        return put_together(self.form, [given[slot] for slot in range(len(given))])

    def _for_each(self, row: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """A row for every sample, as long as the samples are."""
        if row.ndim > 1 and x.ndim > 1 and row.shape[1] == self.x.shape[1]:
            row = row[:, : x.shape[1]]
        return row.expand(len(x), *row.shape[1:])


class Rows(Inputs):
    """The samples are looked up by their numbers `(N, 1)` in the tensors that were seen.

    `fixed` are the tensors that belong to no sample, by slot.
    """

    def __init__(self, form: Any, rows: dict[int, torch.Tensor], fixed: dict[int, torch.Tensor]) -> None:
        self.form, self.rows, self.fixed = form, rows, fixed
        self.x = torch.arange(len(next(iter(rows.values()))))[:, None]

    def ask(self, forward: Forward, x: torch.Tensor, answer: Answer) -> torch.Tensor:
        """Call the model with the rows of those numbers."""
        args, kwargs = self.given(x)
        return answer.of(forward(*args, **kwargs))

    def given(self, x: torch.Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The rows of those numbers."""
        number = self.numbers(x)
        tensors = [
            (self.rows[slot][number] if slot in self.rows else self.fixed[slot]).to(x.device)
            for slot in range(len(self.rows) + len(self.fixed))
        ]
        return put_together(self.form, tensors)

    def numbers(self, x: torch.Tensor) -> torch.Tensor:
        """The places `(N,)` of samples among the rows."""
        return _numbers(x, len(self.x)).cpu()

    @property
    def named(self) -> dict[str, torch.Tensor]:
        """The rows by the names of their arguments or keys."""
        slots = slots_of(self.form)
        named = zip(names_of(slots), slots, strict=True)
        return {name: self.rows[slot.index] for name, slot in named if slot.index in self.rows}

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The rows."""
        return tuple(self.rows.values())

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Rows:
        """The same with other rows."""
        return Rows(self.form, {slot: change(row) for slot, row in self.rows.items()}, self.fixed)

    def features(self, x: torch.Tensor) -> torch.Tensor | None:
        """All numbers of the samples, side by side."""
        number = self.numbers(x)
        return torch.cat([value[number].reshape(len(number), -1).float() for value in self.rows.values()], 1)


class Batches(Inputs):
    """What can't be cut into samples, as graphs and packed sequences: whole batches are called, and samples taken out
    of the answers.
    """

    separable = False

    def __init__(self, calls: Sequence[Arguments], sizes: Sequence[int]) -> None:
        self.calls, self.sizes = calls, sizes
        self.batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        self.row = torch.cat([torch.arange(size) for size in sizes])
        self.x = torch.arange(len(self.batch))[:, None]

    def ask(self, forward: Forward, x: torch.Tensor, answer: Answer) -> torch.Tensor:
        """Call the model with the batches of those samples."""
        number = _numbers(x, len(self.x)).cpu()
        batch, row = self.batch[number], self.row[number]
        found, places = [], []
        for index in torch.unique(batch):
            args, kwargs = put_together(
                self.calls[index].form, [value.to(x.device) for value in self.calls[index].tensors]
            )
            outputs = answer.of(forward(*args, **kwargs))
            chosen = (batch == index).nonzero()[:, 0]
            found.append(outputs[row[chosen].to(outputs.device)])
            places.append(chosen)
        order = torch.cat(places).argsort()
        return torch.cat(of_one_length(found, 0.0))[order.to(found[0].device)]

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Those of the first batch."""
        return self.calls[0].tensors

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batches:
        """The same with other tensors in every call."""
        calls = [replace(call, tensors=tuple(change(value) for value in call.tensors)) for call in self.calls]
        return Batches(calls, self.sizes)


def of_one_length(parts: Sequence[torch.Tensor], filling: float) -> list[torch.Tensor]:
    """Tensors `(N, T, …)` of different T, filled up at their ends."""
    if len({part.shape[1:] for part in parts}) == 1:
        return list(parts)
    length = max(part.shape[1] for part in parts)
    return [
        torch.cat([part, part.new_full((len(part), length - part.shape[1], *part.shape[2:]), filling)], 1)
        for part in parts
    ]


def _numbers(x: torch.Tensor, size: int) -> torch.Tensor:
    return x.reshape(len(x), -1)[:, 0].long() % size


class OneTensorCall:
    """The forward function of a model that is called with one tensor; a tree of them it takes as it is."""

    def __init__(self, forward: Forward, inputs: Inputs, answer: Answer) -> None:
        self.forward, self.inputs, self.answer = forward, inputs, answer

    def __call__(self, x: Any) -> torch.Tensor:
        if not isinstance(x, torch.Tensor):
            return self.answer.of(self.forward(x))
        return self.inputs.ask(self.forward, x, self.answer)


def called_with_one_tensor(model: nn.Module, inputs: Inputs, answer: Answer) -> nn.Module:
    """A copy of a model that takes samples of `inputs`, and gives the answers that are learnt from."""
    copied = copy.deepcopy(model)
    copied.forward = OneTensorCall(copied.forward, inputs, answer)  # type: ignore[method-assign]
    return copied


def call_of(model: nn.Module) -> OneTensorCall | None:
    """How such a copy is called; None of any other model."""
    forward = vars(model).get("forward")
    return forward if isinstance(forward, OneTensorCall) else None


def every_answer(model: nn.Module, x: torch.Tensor) -> Any:
    """What a model returns for samples; of such a copy, all its outputs, and not only the one that is learnt from."""
    call = call_of(model)
    return model(x) if call is None else call.inputs.ask(call.forward, x, EveryAnswer())


def inputs_of_call(model: nn.Module) -> Inputs | None:
    """The inputs of such a copy; None of any other model."""
    call = call_of(model)
    return call.inputs if call is not None else None


def takes_whole_numbers(model: nn.Module) -> bool:
    """Whether whole numbers stay whole: a model that embeds them, or looks its samples up."""
    return inputs_of_call(model) is not None or any(
        isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in model.modules()
    )
