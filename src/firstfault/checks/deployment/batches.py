"""Does an answer depend on the batch that it is asked in?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.check import Judgement, check, judge, skipped
from firstfault.checks.deployment._network import is_rounded, network_of
from firstfault.checks.deployment._train_mode import served_in_train_mode
from firstfault.checks.deployment.answers import same_answers
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.served_answers import apart
from firstfault.subject.serving import golden_of, served_of
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

SIZES = (1, 2, 4, 8, 10, 16, 32, 50)  # the usual ones, tried where another is refused
SAMPLES = 4  # asked alone: bounds the time of a slow service
OF_TRAIN_MODE = "more than 1 value per channel when training"


@check(
    layer=Layer.DEPLOYMENT,
    needs={served_of, golden_of},
    detects={"batch_dependence": 0.92, "baked_shape": 0.95, "train_mode_serving": 0.95},
)
def batch_dependence(subject: Subject, *, tolerance: float = 1e-3, coarse: float = 0.05) -> Iterator[Judgement]:
    """Find answers that depend on the batch: alone, a golden sample must get the answer it gets among others.

    Measures: the largest relative difference between both answers over 4 samples.
    Fails when: the difference is above `tolerance`, or above `coarse` for a network in lower precision, whose rounding
        follows the range of the batch, or a function that can't be seen into and answers that near to the trained
        model; or the path refuses a single sample or the whole batch. One that takes certain sizes only, or whose
        answer to one sample has another shape, has a baked shape, unless it is batch normalisation in train mode that
        refuses a single sample.
    Source: PyTorch, Numerical accuracy: float32 products of other shapes differ by rounding, up to about 1e-5; 8 bits
        round by 1/256, each layer anew. The bounds leave a margin to either.
    """
    golden = golden_of(subject)
    if served_in_train_mode(subject):
        yield skipped("it is served in train mode, which explains it")
        return
    refusals = {size: refusal for size in (len(golden), 1) if (refusal := _refusal(subject, size)) is not None}
    if refusals:
        yield _refused(subject, refusals)
        return
    whole = served_of(subject).call(golden.raw)
    if not np.array_equal(whole, served_of(subject).call(golden.raw)):
        yield skipped("the answers differ from call to call")
        return
    alone = [served_of(subject).call(rows_of(golden.raw, index, 1)) for index in range(min(SAMPLES, len(golden)))]
    if (odd := _of_another_shape(whole, alone, len(golden))) is not None:
        yield _reshaped(subject, odd, whole)
        return
    differences = [_relative(whole[index : index + 1], value) for index, value in enumerate(alone)]
    value, limit = max(differences, default=0.0), coarse if _in_lower_precision(subject, whole, coarse) else tolerance
    yield judge(
        value,
        above=limit,
        where=Place.part(served_of(subject).kind),
        message=f"a sample alone and in a batch of {len(golden)} differ by {value:.1e}",
        faults={"batch_dependence": 0.92} if value > limit else None,
        fix="mask padding, use fitted statistics, and serve in eval mode",
    )


def _in_lower_precision(subject: Subject, whole: Array, coarse: float) -> bool:
    """Whether the network that answers is rounded, or one that can't be seen answers as if it was."""
    module, offline = network_of(subject), golden_of(subject).outputs
    if module is not None:
        return is_rounded(module)
    if whole.shape != offline.shape or whole.dtype.kind != "f" or same_answers(subject):
        return False
    return apart(offline, whole) <= coarse


def _of_another_shape(whole: Array, alone: list[Array], rows: int) -> Array | None:
    """The answer to one sample whose shape is not what the whole batch has for each of its rows."""
    if not whole.ndim or len(whole) % rows:
        return alone[0]
    expected = (len(whole) // rows, *whole.shape[1:])
    return next((answer for answer in alone if answer.shape != expected), None)


def _reshaped(subject: Subject, one: Array, whole: Array) -> Judgement:
    return Judgement(
        Status.FAIL,
        f"one sample gets an answer of shape {one.shape}, a batch of {len(golden_of(subject))} one of {whole.shape}",
        value=str(one.shape),
        where=Place.part(served_of(subject).kind),
        faults={"baked_shape": 0.95},
        fix="export with a dynamic batch size, and take no size from the example that is traced",
    )


def _refusal(subject: Subject, size: int) -> Exception | None:
    try:
        served_of(subject).call(rows_of(golden_of(subject).raw, 0, size))
    except Exception as error:
        return error
    return None


def _refused(subject: Subject, refusals: dict[int, Exception]) -> Judgement:
    size, error = next(reversed(refusals.items()))
    text = f"a batch of {size} is refused: {str(error).splitlines()[0]}"
    if any(OF_TRAIN_MODE in str(refusal) for refusal in refusals.values()):
        return Judgement(
            Status.FAIL,
            text,
            where=Place.part(served_of(subject).kind),
            faults={"train_mode_serving": 0.95},
            fix="call model.eval() after loading",
        )
    taken = [
        other
        for other in (*SIZES, len(golden_of(subject)))
        if other <= len(golden_of(subject)) and _refusal(subject, other) is None
    ]
    if not taken:
        raise error
    return Judgement(
        Status.FAIL,
        f"{text}; {', '.join(map(str, dict.fromkeys(taken)))} are taken",
        where=Place.part(served_of(subject).kind),
        faults={"baked_shape": 0.95},
        fix="export with a dynamic batch size",
    )


def rows_of(raw: Any, first: int, size: int) -> Any:
    """Some of the raw samples, as a batch."""
    return raw.iloc[first : first + size] if hasattr(raw, "iloc") else raw[first : first + size]


def _relative(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    if a.shape != b.shape:
        return 1.0
    if a.dtype.kind in "OUS":
        return float(np.mean(a != b))
    return float(np.abs(a.astype(float) - b.astype(float)).max() / max(float(np.abs(a.astype(float)).max()), 1e-6))
