"""Steps that come fitted already, on rows of every split: their outputs are centred over all rows, not over train."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.data.splits import Splits
from firstfault.interrupts import pass_on
from firstfault.subject.rerun import flat
from firstfault.subject.subject import Subject
from firstfault.target.estimators import parted, working
from firstfault.training.preprocessing import steps_of

Array = np.ndarray[Any, Any]
CENTRED = {4: 1e-5, 8: 1e-6}  # of the deviation, by bytes of a number: rounding
OFF = 10.0  # times as far from the middle is the mean of train, which a fit on train would have put there
MOST = 0.5  # of the columns: of fewer, chance and constants are not ruled out


def fitted_on_all(subject: Subject) -> list[str]:
    """The steps that were fitted on the rows of train and of held-out splits together, before firstfault saw them."""
    stages = subject.pipeline.stages
    given = _steps(subject)
    return [
        after.name
        for before, after, step in zip(stages, stages[1:], given, strict=False)
        if any(_centred_over_all(before.splits, outputs) for outputs in _outputs(before.splits, after.splits, step))
    ]


def _steps(subject: Subject) -> list[Any]:
    target = subject.target
    return [step for _, step in [*steps_of(target.preprocess), *working(parted(target.estimator)[0])]]


def _outputs(before: Splits, after: Splits, step: Any) -> Iterator[dict[str, Array]]:
    """What a step makes of the splits: as firstfault runs it, and as it is where it comes fitted."""
    yield {name: flat(split.X) for name, split in after.items()}
    if not hasattr(step, "transform") or not any(name.endswith("_") and name[0] != "_" for name in vars(step)):
        return
    try:
        own = copy.deepcopy(step)
        yield {name: flat(own.transform(copy.deepcopy(split.X))) for name, split in before.items()}
    except BaseException as error:  # it was fitted on other columns
        pass_on(error)


def _centred_over_all(before: Splits, outputs: dict[str, Array]) -> bool:
    """Whether most columns have a mean of 0 over all rows, which they had not before, and train has not."""
    raw = {name: flat(split.X) for name, split in before.items()}
    for others in (("validation", "test"), ("test",), ("validation",)):
        whole, first = (_means([parts[name] for name in ("train", *others)]) for parts in (outputs, raw))
        own = _means([outputs["train"]])
        if not len(whole) or len(own) != len(whole):
            continue
        near = CENTRED.get(outputs["train"].dtype.itemsize, CENTRED[8])
        new = whole <= near
        if len(first) == len(whole):
            new &= first > near
        if (new & (own > OFF * near)).mean() > MOST:
            return True
    return False


def _means(parts: list[Array]) -> Array:
    """By column that varies, how many deviations its mean is from 0; the columns of the first part."""
    if len({part.shape[1] for part in parts}) > 1 or not parts[0].size:
        return np.zeros(0)
    values = np.concatenate(parts).astype(np.float64)
    with np.errstate(all="ignore"):
        mean, deviation = np.nanmean(values, 0), np.nanstd(values, 0)
    return np.where(deviation > 0, np.abs(mean) / np.where(deviation > 0, deviation, 1.0), np.inf)
