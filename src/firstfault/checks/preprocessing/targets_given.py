"""Targets that a watched loop's model is given among its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.metrics import Array
from firstfault.place import Place
from firstfault.probe.capture import Capture
from firstfault.subject.subject import Subject


@check(layer=Layer.PREPROCESSING, gradients=True, detects={"target_leakage": 0.92})
def targets_among_inputs(subject: Subject, *, fewest: int = 200, most: float = 0.5) -> Iterator[Judgement]:
    """Find loops whose targets stand among the inputs of their own rows, as where windows overlap what they forecast.

    Measures: whether each number of the target is, in all captured rows, one and the same number of the inputs.
    Fails when: it is so for all of them, in at least `fewest` rows.
    Not a fault when: the targets are more than `most` of the inputs, which are reconstructed then; inputs are tokens;
        or targets are classes.
    Source: Kapoor & Narayanan 2023, leakage of the target into the inputs. That a number that varies is the same in
        all rows by chance is next to impossible.
    """
    capture = subject.made(Subject.capture)
    if not isinstance(capture, Capture) or capture.samples < fewest:
        yield skipped(f"fewer than {fewest} pairs of inputs and targets were captured")
        return
    targets, inputs = _numbers(capture.y), _inputs(capture)
    if targets is None or inputs is None:
        yield skipped("the inputs or the targets are not numbers of samples")
        return
    rows, count, among = len(targets), targets.shape[1], inputs.shape[1]
    wanted = _columns(targets)
    if not wanted or count > most * among or wanted - _columns(inputs):
        yield passed("the targets do not stand among the inputs of their rows")
        return
    yield Judgement(
        Status.FAIL,
        f"the targets are among the inputs: in each of {rows:,} rows they are {count} of its {among:,} numbers",
        value=count,
        threshold=0,
        where=Place.labels(),
        fix="cut what is to be told off the inputs: a window ends before what it forecasts",
    )


def _inputs(capture: Capture) -> Array | None:
    """The floats among the inputs, side by side `(N, F)`."""
    slots = zip(*(call.tensors for call in capture.calls), strict=False)
    known = [values for parts in slots if (values := _numbers(parts)) is not None and len(values) == capture.samples]
    return np.concatenate(known, 1) if known else None


def _numbers(parts: Sequence[torch.Tensor]) -> Array | None:
    """Floats of several batches as rows `(N, F)`; None of anything else."""
    if (
        not parts
        or len({part.shape[1:] for part in parts}) != 1
        or not all(part.is_floating_point() and part.ndim for part in parts)
    ):
        return None
    rows = torch.cat(list(parts)).float().cpu()
    return rows.reshape(len(rows), -1).numpy()


def _columns(values: Array) -> set[bytes]:
    """The columns that vary, by their bytes."""
    return {column.tobytes() for column in values.T if (column != column[0]).any()}
