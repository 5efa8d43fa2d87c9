"""Faults of sequence models: a position that sees the future, attention to padding, weights that are always 1."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer
from firstfault.metrics import IGNORED
from firstfault.place import Place
from firstfault.subject.model_inputs import answer_to_others, finite_outputs, sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.one_tensor import Rows, inputs_of_call
from firstfault.training.padding import padding_token
from firstfault.training.torch_calls import Call, flag, record, softmax_axis


def predicts_next(x: torch.Tensor, y: torch.Tensor, share: float = 0.95) -> bool:
    """Whether the labels `(N, T)` are the inputs `(N, T)` moved by one position."""
    if x.ndim == 3 and x.shape[-1] == 1:
        x = x[..., 0]
    if y.ndim == 3 and y.shape[-1] == 1:
        y = y[..., 0]
    if x.shape != y.shape or x.ndim < 2 or x.shape[1] < 3:
        return False
    asked = y[:, :-1] != IGNORED
    same = (x[:, 1:].float() - y[:, :-1].float()).abs()[asked] < 1e-6
    return len(same) > 0 and float(same.float().mean()) >= share


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"missing_causal_mask": 0.95})
def missing_causal_mask(subject: Subject, *, tolerance: float = 1e-4) -> Iterator[Judgement]:
    """Find models that predict the next token and see it: an output moves when only later tokens change.

    Measures: the largest move of an output at the first half of the positions, relative to the largest of these
        outputs, when the tokens of the second half change.
    Fails when: the move is above `tolerance`.
    Not a fault when: the labels are not the inputs moved by one position (95 % of them are to be): a tagger or a masked
        model may look both ways.
    Source: Vaswani et al. 2017, 3.2.3: ∂out_t/∂x_{t'>t} = 0, as a metamorphic test. The tolerance lies above the
        rounding of float32 numbers; benchmarks/localise.py, fault missing_causal_mask.
    """
    subject.owner.get("labels")  # a part has none of its own
    labels, outputs, x = sound_batch(subject.owner).y, finite_outputs(subject), sound_batch(subject).x
    read = next((given for given, tokens in _given(subject) if predicts_next(tokens, labels)), None)
    if read is None or outputs.ndim < 2 or read.ndim < 2:
        yield skipped("the labels are not the inputs moved by one position")
        return
    length = read.shape[1]
    axis = next((axis for axis in range(1, outputs.ndim) if outputs.shape[axis] == length), None)
    if axis is None:
        yield skipped("there is no output per position")
        return
    cut = length // 2
    after = answer_to_others(subject.model, x, lambda given: _later_changed(given, cut) if given is read else given)
    before, after = (value.movedim(axis, 1)[:, :cut] for value in (outputs, after))
    value = float((after - before).abs().max()) / (float(before.abs().max()) + 1e-12)
    yield judge(
        value,
        above=tolerance,
        where=Place.part("attention over positions"),
        message=f"outputs at the first {cut} positions move by {value:.1e} when only later tokens change",
        fix="apply a causal mask (is_causal=True, or an upper triangle of −∞)",
    )


def _given(subject: Subject) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What the model is given, its samples or each tensor that they are looked up in, and the tokens `(N, T)` there."""
    x, inputs = sound_batch(subject).x, inputs_of_call(subject.model)
    if not isinstance(inputs, Rows):
        yield x, sound_batch(subject.owner).x
        return
    for rows in inputs.tensors:
        if rows.ndim == 2 and not rows.is_floating_point() and rows.dtype != torch.bool:
            yield rows, rows[inputs.numbers(x)]


def _tokens(subject: Subject) -> Iterator[torch.Tensor]:
    """The samples `(N, …)` as the model is given them: of several inputs each that may be tokens."""
    return (tokens for _, tokens in _given(subject))


def _later_changed(tokens: torch.Tensor, cut: int) -> torch.Tensor:
    """Tokens of which those from a position on are others."""
    changed = tokens.clone()
    changed[:, cut:] = tokens[:, cut:].roll(1, 0).flip(1)
    return changed


def attending(subject: Subject) -> list[Call]:
    """The calls that attend, with their masks; the fast path of torch's encoder is avoided by asking for gradients."""
    model = subject.fresh_model().eval()
    with torch.enable_grad():
        _, calls = record(model, sound_batch(subject).x)
    return [
        call
        for call in calls
        if call.name in ("multi_head_attention_forward", "scaled_dot_product_attention") or _scores(call)
    ]


def _scores(call: Call) -> bool:
    given = call.args[0] if call.args else None
    return (
        call.name == "softmax"
        and isinstance(given, torch.Tensor)
        and given.ndim >= 3
        and given.shape[-1] == given.shape[-2] > 2
        and softmax_axis(call) == given.ndim - 1
    )


def _looks_at(call: Call, padded: torch.Tensor) -> bool:
    """Whether an attention call gives weight to positions that are padding, `(N, T)`."""
    if call.name == "multi_head_attention_forward":
        return call.kwargs.get("key_padding_mask") is None and call.kwargs.get("attn_mask") is None
    if call.name == "scaled_dot_product_attention":
        return flag(call, "attn_mask", 3, None) is None and not flag(call, "is_causal", 5, False)
    weights: torch.Tensor = call.result
    if len(weights) != len(padded) or weights.shape[-1] != padded.shape[1]:
        return False
    to_padding = weights.detach().movedim(-1, 1)[padded]
    return bool((to_padding > 1e-6).float().mean() > 0.9)


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"padding_not_masked": 0.7})
def padding_not_masked(subject: Subject, *, share: float = 0.1) -> Iterator[Judgement]:
    """Find attention that looks at padding: it has no mask, or one that leaves weight on padding.

    Measures: the share of padding among all tokens, 0–1. Padding is the token that fills rows `(N, T)` of different
        lengths up at their end.
    Fails when: attention looks at padding, and the share is above `share`.
    Not a fault when: a mask of any kind is passed to the call, a causal one too.
    Source: Vaswani et al. 2017; torch.nn.MultiheadAttention, key_padding_mask. The bound is a choice of ours: less
        padding moves an output little. tests/checks/model/test_every_fault.py holds masked and unmasked twins.
    """
    x, token = next(
        ((x, token) for x in _tokens(subject) if (token := padding_token(x, subject.model)) is not None),
        (sound_batch(subject).x, None),
    )
    calls = attending(subject) if token is not None else []
    if not calls:
        yield skipped("there is no padding, or no attention")
        return
    padded = torch.eq(x, token if token is not None else -1)
    looking = [call for call in calls if _looks_at(call, padded)]
    if not looking:
        yield passed(f"attention masks the padding token {token}")
        return
    value = float(padded.float().mean())
    yield judge(
        value,
        above=share,
        where=looking[0].place,
        message=f"{len(looking)} of {len(calls)} attention calls look at the padding token {token}, "
        f"{value:.0%} of all tokens",
        fix="pass key_padding_mask=(x == padding)",
    )
