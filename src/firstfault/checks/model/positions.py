"""Attention to which the order of the positions is invisible: those of a sequence, or the patches of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from firstfault.check import Judgement, check, judge, skipped
from firstfault.checks.model._order_matters import ROWS, order_matters
from firstfault.checks.model.attention import attending
from firstfault.finding import Layer, Status
from firstfault.place import FORWARD
from firstfault.subject.model_inputs import answer, finite_outputs, sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.padding import padding_token
from firstfault.training.torch_calls import Call

EXTRA_TOKENS = 2  # beside the patches: a class token, and one of distillation
Move = Callable[[torch.Tensor], torch.Tensor]


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"missing_positional_information": 0.7})
def missing_positional_information(
    subject: Subject, *, tolerance: float = 1e-4, deviations: float = 6.0
) -> Iterator[Judgement]:
    """Find attention over sequences, or over patches of pictures, to which their order is invisible.

    Measures: the difference that permuting the positions makes to the outputs, over their spread. The output per sample
        stays, or the outputs per position are permuted with them. Where rows are filled up, the positions before the
        padding are permuted.
    Fails when: the difference is below `tolerance`.
    Warns when: it is, and the data look the same with their positions shuffled, so that they may be sets: no count of
        what stands where, or next to what, is off by more than `deviations` standard deviations of shuffled samples.
    Not a fault when: there is no attention: a bag of words ignores order on purpose.
    Source: Vaswani et al. 2017, 3.5; Dosovitskiy et al. 2021, 3.1; metamorphic test f(perm x) = perm f(x). Of some 10⁴
        counts of shuffled samples none is off by 6 in 10⁴ tests; the tolerance lies above the rounding of float32
        numbers; tests/checks/model/test_other_architectures.py holds cases on both sides.
    """
    x, outputs = sound_batch(subject).x, finite_outputs(subject)
    if subject.owner is not subject:
        yield skipped("a part may leave the order of positions to another")
        return
    move = _of_patches(subject, x) if x.ndim == 4 else _of_positions(subject, x)
    if move is None:
        yield skipped("there is no attention over sequences or patches")
        return
    spread = float((outputs - outputs.mean(0)).abs().max())
    if spread <= 1e-6 * float(outputs.abs().max()):
        yield skipped("the outputs do not depend on the inputs")
        return
    after = answer(subject.model, move(x))
    value = (
        min(
            float((after - rival).abs().max())
            for rival in ([outputs, move(outputs)] if _per_position(outputs, x) else [outputs])
        )
        / spread
    )
    text = (
        f"permuting the {'patches' if x.ndim == 4 else 'positions'} changes the outputs by {value:.1e} of their spread"
    )
    may_be_sets = value < tolerance and x.ndim < 4 and subject.recipe.task != "language_model"
    sets = may_be_sets and not _order_matters(subject, deviations)
    yield judge(
        value,
        below=tolerance,
        where=FORWARD,
        otherwise=Status.WARN if sets else Status.FAIL,
        message=f"{text}; the data look the same with their positions shuffled, so they may be sets" if sets else text,
        fix="add positional encodings to the embeddings",
    )


def _per_position(outputs: torch.Tensor, x: torch.Tensor) -> bool:
    if x.ndim == 4:
        return outputs.ndim == 4 and outputs.shape[-2:] == x.shape[-2:]
    return outputs.ndim > 2 and outputs.shape[1] == x.shape[1]


def _order_matters(subject: Subject, deviations: float) -> bool:
    rows = subject.recipe.train.rows(slice(ROWS))
    token = padding_token(rows.x, subject.model)
    padding = None if token is None else rows.x == token
    return order_matters(rows.x, rows.y, subject.seed, beyond=deviations, padding=padding)


def _of_positions(subject: Subject, x: torch.Tensor) -> Move | None:
    """A permutation of the positions of sequences `(N, T)` or `(N, T, C)`; padding stays at the end."""
    sequence = x.ndim == 3 if x.is_floating_point() else x.ndim == 2
    if not sequence or x.shape[1] < 3 or not attending(subject):
        return None
    token = padding_token(x, subject.model)
    keys = torch.rand(x.shape[1], generator=_generator(subject)).expand(x.shape[:2])
    order = (keys if token is None else keys + (x == token).cpu()).argsort(1).to(x.device)

    def move(values: torch.Tensor) -> torch.Tensor:
        return torch.take_along_dim(values, order.reshape(*order.shape, *[1] * (values.ndim - 2)), 1)

    return move


def _of_patches(subject: Subject, x: torch.Tensor) -> Move | None:
    """A permutation of the square patches of pictures `(N, C, H, W)`.

    Their size follows from the number of positions that the model attends over.
    """
    lengths = {_positions(call) for call in attending(subject)}
    height, width = x.shape[-2:]
    sides = [
        side
        for side in range(1, min(height, width) // 2 + 1)
        if not height % side
        and not width % side
        and any(0 <= length - height * width // side**2 <= EXTRA_TOKENS for length in lengths)
    ]
    if not sides:
        return None
    side = sides[0]
    order = torch.randperm((height // side) * (width // side), generator=_generator(subject)).to(x.device)

    def move(values: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.unfold(values.float(), side, stride=side)[:, :, order]
        return torch.nn.functional.fold(patches, (height, width), side, stride=side).to(values.dtype)

    return move


def _positions(call: Call) -> int:
    """Over how many positions a call attends."""
    given = call.args[0]
    return int(given.shape[0] if call.name == "multi_head_attention_forward" and given.ndim == 3 else given.shape[-2])


def _generator(subject: Subject) -> torch.Generator:
    return torch.Generator().manual_seed(subject.seed + 11)
