"""Are inputs and targets on a scale that a network can learn from?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.preprocessing._received import SEEN_ROWS, received
from firstfault.checks.preprocessing._scale_free import scale_free
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.one_tensor import inputs_of_call


def columns_of(x: torch.Tensor) -> torch.Tensor:
    """Values `(M, C)` per column of a table, per channel of images and sequences; non-finite ones as 0."""
    finite = torch.where(torch.isfinite(x), x, torch.zeros_like(x)).double()
    if finite.ndim == 2:
        return finite
    return (
        finite.movedim(1 if finite.ndim == 4 else -1, -1).reshape(-1, finite.shape[1 if finite.ndim == 4 else -1])
        if finite.ndim > 2
        else finite.reshape(-1, 1)
    )


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model"}, detects={"missing_normalisation": 0.75})
def missing_normalisation(
    subject: Subject, *, largest: float = 20.0, apart: float = 100.0, noticeable: float = 10.0
) -> Iterator[Judgement]:
    """Find inputs on wild scales.

    Measures: the largest root mean square of a column (a channel of images), 1 when standardised, as the first layer
        with parameters receives it.
    Fails when: it is above `largest`, or columns differ by more than a factor of `apart` and it is above 3. A swap has
        to confirm that standardising them helps.
    Warns when: it is above `noticeable`.
    Not a fault when: inputs are token ids, or the model begins with a normalisation, or is an estimator that answers
        alike on standardised inputs, as trees do. Columns of two values (one-hot) are not compared.
    Source: UMLAUT (inputs outside ±1) and TheDeepChecker (±10); wider here, as raw digits of 0–16 train well.
        benchmarks/localise.py, fault missing_normalisation.
    """
    seen = received(subject)
    if seen.values is None:
        yield passed(seen.reason)
        return
    columns = columns_of(seen.values)
    sizes = columns.pow(2).mean(0).sqrt()
    varying = [index for index in range(columns.shape[1]) if _takes_many_values(columns[:, index])]
    filled = columns.pow(2).sum(0).div((columns != 0).sum(0).clamp_min(1)).sqrt()  # a rare value is no scale
    compared = filled[varying][filled[varying] > 1e-8] if varying else filled[:0]
    ratio = float(compared.max() / compared.min()) if len(compared) else 1.0
    top = float(sizes.max()) if len(sizes) else 0.0
    wild = top > largest or (ratio > apart and top > 3)
    status = Status.FAIL if wild else Status.WARN if top > noticeable else Status.PASS
    if status is not Status.PASS and scale_free(subject):
        yield passed("the estimator answers alike on standardised inputs", value=top)
        return
    times = f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
    yield Judgement(
        status,
        f"inputs have a root mean square of up to {top:,.4g} per column, and columns differ by a factor of {times}",
        value=top,
        threshold=largest,
        where=_widest(subject, sizes, seen.names) if status is not Status.PASS else None,
        fix="standardise the inputs, fitted on train" if status is not Status.PASS else None,
    )


def _takes_many_values(column: torch.Tensor) -> bool:
    return len(torch.unique(column[:1000])) > 2


def _widest(subject: Subject, sizes: torch.Tensor, of_several: tuple[str, ...]) -> Place | None:
    order = sizes.argsort(descending=True)[:3].tolist()
    if of_several:
        return Place.columns(*(of_several[column] for column in order if sizes[column] > 3))
    try:
        names = column_names(subject, len(sizes))
    except Missing:  # a watched loop's inputs come as tensors
        names = [str(column) for column in range(len(sizes))]
    if subject.recipe.train.x.ndim != 2 or names is None or inputs_of_call(subject.model) is not None:
        return Place.part("all inputs")
    return Place.columns(*(names[column] for column in order if sizes[column] > 3))


def column_names(subject: Subject, width: int) -> list[str] | None:
    """The names of the prepared columns, from the frame or from the step that made them; their numbers otherwise."""
    X = subject.prepared.train.X
    if hasattr(X, "columns"):
        return [str(name) for name in X.columns]
    for _, step in reversed(subject.pipeline.steps):
        try:
            names = [str(name) for name in step.__self__.get_feature_names_out()]
        except Exception:
            continue
        if len(names) == width:
            return names
    return [str(column) for column in range(width)]


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model", "pipeline"}, detects={"double_normalisation": 0.75})
def double_normalisation(
    subject: Subject, *, smallest: float = 1e-2, shrunk: float = 0.05, reach: float = 0.1
) -> Iterator[Judgement]:
    """Find inputs that were scaled twice.

    Measures: their standard deviation where the model receives them.
    Fails when: it is below `smallest`, and no value is further than `reach` from another of its column; or below
        `shrunk`, and a step made inputs more than ten times smaller that were normalised before.
    Source: benchmarks/localise.py, fault double_normalisation, divides images by 255 once too often: a deviation below
        1/255. The bounds are a choice of ours; tests/checks/preprocessing/test_scales.py holds the cases that they
        separate.
    """
    seen = received(subject)
    if seen.values is None or seen.values.numel() < 2:
        yield passed(seen.reason or "nothing to measure")
        return
    columns = columns_of(seen.values)
    deviation = float((columns - columns.mean(0)).pow(2).mean().sqrt())
    spread = float((columns.max(0).values - columns.min(0).values).max())
    if spread == 0:
        yield skipped("all inputs are equal")
        return
    tiny = deviation < smallest and spread < reach
    step = _shrinking_step(subject) if deviation < shrunk else None
    bad = (tiny or step is not None) and not scale_free(subject)
    yield Judgement(
        Status.FAIL if bad else Status.PASS,
        f"the prepared inputs have a standard deviation of {deviation:.2g}",
        value=deviation,
        threshold=shrunk if step else smallest,
        where=Place.stage(step or subject.pipeline.stages[-1].name) if bad else None,
        fix="scale once" if bad else None,
    )


def _shrinking_step(subject: Subject) -> str | None:
    """The step that made inputs more than ten times smaller that were normalised already."""
    from firstfault.subject.rerun import flat

    stages = subject.pipeline.stages
    for before, after in itertools.pairwise(stages):
        first, second = flat(before.splits.train.X), flat(after.splits.train.X)
        if first.shape != second.shape or not first.size:
            continue
        size = float(np.nanstd(first))
        if 0.05 < size < 3 and np.nanmax(np.abs(first)) < 30 and float(np.nanstd(second)) < 0.1 * size:
            return str(after.name)
    return None


@check(layer=Layer.PREPROCESSING, needs={"recipe"}, detects={"target_not_scaled": 0.7})
def target_not_scaled(
    subject: Subject, *, largest: float = 1000.0, noticeable: float = 20.0, behind: float = 0.1
) -> Iterator[Judgement]:
    """Find regression targets on a wild scale.

    Measures: their root mean square.
    Fails when: it is above `largest`; or above `noticeable`, and the trained model is worse than a linear model on the
        same inputs by more than `behind` of R²: many networks cope with such targets, and so do most estimators,
        however large they are. A swap has to confirm it.
    Warns when: it is above `noticeable`.
    Source: TheDeepChecker, label scale; Bishop 1995, section 8.2, on targets of order one; benchmarks/localise.py,
        fault target_not_scaled.
    """
    recipe = subject.recipe
    if recipe.task != "regression":
        yield skipped("the task is no regression")
        return
    y = recipe.train.y.float()
    size = float(y[torch.isfinite(y)].pow(2).mean().sqrt())
    message = f"the targets have a root mean square of {size:,.4g}"
    if not size > noticeable:
        yield passed(message, value=size)
        return
    gap = _behind_linear(subject) if size <= largest or not subject.target.by_gradients else math.inf
    bad = gap > behind
    if bad and math.isfinite(gap):
        message += f", and the trained model's R² is {gap:.2f} below a linear model's"
    yield Judgement(
        Status.FAIL if bad else Status.WARN,
        message,
        value=size,
        threshold=largest if size > largest else noticeable,
        where=Place.labels(),
        fix="standardise the target, and invert it for predictions",
    )


def _behind_linear(subject: Subject) -> float:
    from firstfault.training.evaluation import predict

    if subject.target.training is None and subject.target.by_gradients:
        return 0.0
    recipe, trained = subject.recipe, subject.trained
    held = recipe.validation
    reference = _r2(held.y, _linear(recipe.train.x, recipe.train.y, held.x))
    if trained.crash is not None:
        return 1.0
    own = _r2(held.y, predict(recipe, trained.model, held.x).reshape(held.y.shape))
    return min(1.0, reference - own) if math.isfinite(own) else 1.0


def _linear(x: torch.Tensor, y: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    first, second = (np.nan_to_num(part.flatten(1).double().numpy()) for part in (x[:SEEN_ROWS], at))
    model = make_pipeline(StandardScaler(), Ridge()).fit(first, y[:SEEN_ROWS].numpy())
    return torch.as_tensor(model.predict(second)).reshape(len(at), *y.shape[1:])


def _r2(y: torch.Tensor, predicted: torch.Tensor) -> float:
    y = y.double()
    return float(1 - (y - predicted.double().cpu()).pow(2).mean() / (y - y.mean(0)).pow(2).mean().clamp_min(1e-12))
