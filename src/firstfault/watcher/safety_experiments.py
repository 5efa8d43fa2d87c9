"""Hypotheses about a batch that stands out while a model trains: each is tried on a copy, and told with its outcome."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from firstfault.behaviour.failures.hypotheses import Hypothesis
from firstfault.errors import told
from firstfault.interrupts import pass_on
from firstfault.watcher.answer_safety import BAD, Judged, SafetyMonitor

Loss = Callable[[nn.Module, Any], torch.Tensor]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
TEACHES = 0.01
"""Of a row's loss, by which a step with it has to lower it more than the step without."""
HALF = 0.5  # of a batch's loss: one row of four and more that has it is another one than the rest
FEWEST_ROWS = 4  # of three, one has a third and more by chance
GENTLER = 0.1  # of the rate: a step ten times as small leaves the edge of what is stable far behind


def rows_of(batch: Any, places: Sequence[int]) -> Any:
    """Some rows of a batch: of every tensor in it that has as many rows as the first."""
    size = size_of(batch)
    chosen = list(places)

    def part(value: Any) -> Any:
        return value[chosen] if isinstance(value, torch.Tensor) and value.ndim and len(value) == size else value

    if isinstance(batch, Mapping):
        return {name: part(value) for name, value in batch.items()}
    return type(batch)([part(value) for value in batch]) if isinstance(batch, list | tuple) else part(batch)


def size_of(batch: Any) -> int:
    """How many rows a batch has; 0 where that can't be told."""
    values = list(batch.values()) if isinstance(batch, Mapping) else batch
    first = next((value for value in values if isinstance(value, torch.Tensor) and value.ndim), None)
    return len(first) if first is not None else 0


def moved(batch: Any, device: torch.device) -> Any:
    """A batch on the model's device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: moved(value, device) for name, value in batch.items()}
    return type(batch)([moved(value, device) for value in batch]) if isinstance(batch, list | tuple) else batch


class Bench:
    """A model, its loss and its optimizer, on copies of which steps are tried."""

    def __init__(self, model: nn.Module, loss: Loss, optimizer: MakeOptimizer) -> None:
        self._model, self._loss, self._make = model, loss, optimizer

    def value(self, batch: Any, model: nn.Module | None = None) -> float:
        """The loss of a batch."""
        with torch.no_grad():
            return float(self._loss(model if model is not None else self._model.eval(), batch))

    def after(self, batch: Any, judged_on: Any, rate: float = 1.0) -> float:
        """The loss of rows after one step with a batch, with a part of the learning rate."""
        model = copy.deepcopy(self._model).eval()  # dropout would be noise between the steps
        optimizer = self._make([value for value in model.parameters() if value.requires_grad])
        for group in optimizer.param_groups:
            group["lr"] *= rate
        with torch.enable_grad():
            optimizer.zero_grad()
            torch.autograd.backward(self._loss(model, batch))
            optimizer.step()
        return self.value(judged_on, model)


def of_harmful_rows(bench: Bench, batch: Any, places: Sequence[int]) -> Iterator[Hypothesis]:
    """Whether a step with harmful rows teaches them more than the step without, or none where there are no others."""
    if not size_of(batch):
        return
    others = [place for place in range(size_of(batch)) if place not in set(places)]
    rows = rows_of(batch, places)
    without_them = "one without them" if others else "none, as they are the whole batch"
    how = f"one step with the batch of {size_of(batch)} and its {len(places)} harmful rows, and {without_them}"
    try:
        whole = bench.after(batch, rows)
        without = bench.after(rows_of(batch, others), rows) if others else bench.value(rows)
    except Exception as error:
        pass_on(error)
        yield Hypothesis("these rows teach it", how, None, f"the step raised {told(error)}")
        return
    holds = without - whole > TEACHES * abs(without)
    yield Hypothesis("these rows teach it", how, holds, f"the rows' loss is {whole:.4g} after the one, {without:.4g}")


def of_a_spike(bench: Bench, batch: Any) -> Iterator[Hypothesis]:
    """Whether one row has most of the loss, and whether the steps are too large."""
    try:
        size = size_of(batch)
        if size >= FEWEST_ROWS:
            each = [bench.value(rows_of(batch, [place])) for place in range(size)]
            share = max(each) / max(sum(each), 1e-12)
            told_ = f"row {each.index(max(each)) + 1} has {share:.0%} of the loss"
            yield Hypothesis("one row is unlike the others", "the loss of each row alone", share > HALF, told_)
        before, full, gentle = bench.value(batch), bench.after(batch, batch), bench.after(batch, batch, GENTLER)
        how = "one step at the rate, and one at a tenth of it, each on a copy"
        said = f"the batch's loss goes from {before:.4g} to {full:.4g} and {gentle:.4g}"
        yield Hypothesis("the learning rate is too high", how, full > before >= gentle, said)
    except Exception as error:
        pass_on(error)
        yield Hypothesis("the batch", "called again on a copy", None, f"it raised {told(error)}")


def of_the_scorer(monitor: SafetyMonitor, judged: Judged) -> Hypothesis:
    """Whether the same words in another dress are judged otherwise."""
    forms = {judged.answer.lower(), " ".join(judged.answer.split()), f"{judged.answer.rstrip()} "} - {judged.answer}
    other = [form for form in forms if (monitor(judged.prompt, form).level in BAD) != (judged.level in BAD)]
    how = f"the answer in {len(forms)} other forms of the same words"
    return Hypothesis("the scorer errs", how, bool(other), f"{len(other)} of {len(forms)} are judged otherwise")


def of_the_model(monitor: SafetyMonitor, judged: Judged, generate: Callable[[str], object]) -> Hypothesis:
    """Whether the model answers the row's prompt like that by itself."""
    how = "the model asked the same prompt"
    try:
        said = generate(judged.prompt)
    except Exception as error:
        pass_on(error)
        return Hypothesis("the model does it already", how, None, f"it raised {told(error)}")
    found = monitor(judged.prompt, str(said))
    score = "no score" if found.score is None else f"{found.score:.2f}"
    return Hypothesis("the model does it already", how, found.level in BAD, f"its answer is {found.level} ({score})")
