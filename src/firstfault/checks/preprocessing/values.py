"""What the prepared values look like: finite, on one scale, and as many as there were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.stages import numbers, stage_table

NORMALISING = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"information_loss": 0.3})
def stage_statistics(subject: Any) -> Iterator[Judgement]:
    """Measure every stage of the preprocessing; the table goes to stages.json. `value` is the number of stages."""
    import json

    rows = stage_table(subject.pipeline)
    (subject.folder / "stages.json").write_text(json.dumps(rows, indent=1))
    stages = len(subject.pipeline.stages)
    yield Judgement(Status.PASS, f"{stages} stages measured on 3 splits", value=stages, artifacts=("stages.json",))


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"nonfinite_output": 0.95})
def nonfinite_output(subject: Any) -> Iterator[Judgement]:
    """Find the first step that turns finite numbers into NaN or infinity; `value` counts the cells.

    Source: SageMaker Debugger, Tensor rules; the first stage is looked for, as the cause lies there.
    """
    stages = subject.pipeline.stages
    for before, after in zip(stages, stages[1:], strict=False):
        for (name, source), (_, result) in zip(before.splits.items(), after.splits.items(), strict=True):
            clean = np.isfinite(numbers(source.X)).all() and not _has_missing(source.X)
            bad = int((~np.isfinite(numbers(result.X))).sum())
            if clean and bad:
                yield Judgement(
                    Status.FAIL, f"{after.name} makes {bad} values of {name} NaN or infinite", value=bad, threshold=0,
                    where=after.name, fix="guard the logarithm or division in this step",
                )
                return
    yield passed(f"{len(stages) - 1} steps keep finite values finite")


def _has_missing(X: Any) -> bool:
    from firstfault.stages import missing_cells

    return missing_cells(X) > 0


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model"}, detects={"missing_normalisation": 0.75})
def missing_normalisation(subject: Any, *, largest: float = 50.0, apart: float = 100.0) -> Iterator[Judgement]:
    """Find inputs on wild scales; a swap has to confirm that standardising them helps.

    `value` is the largest absolute value of the prepared training inputs; it fails above `largest`, or when
    the scales of two columns differ by more than `apart` with values above 10. Token ids and models that normalise first are left out.

    Source: UMLAUT (inputs outside [−10, 10]); the bounds are wider, since a swap confirms.
    """
    recipe = subject.recipe
    x = recipe.inputs_for(subject.model, recipe.train.x[:5000])
    if not x.is_floating_point():
        yield skipped("the inputs are token ids")
        return
    if _normalises_first(subject.model):
        yield skipped("the model normalises its inputs itself")
        return
    finite = torch.where(torch.isfinite(x), x, torch.zeros_like(x))
    top = float(finite.abs().max())
    scales = finite.flatten(1).std(0) if finite.ndim == 2 and len(finite) > 1 else finite.std().reshape(1)
    scales = scales[scales > 1e-8]
    ratio = float(scales.max() / scales.min()) if len(scales) else 1.0
    wild = top > largest or (ratio > apart and top > 10)
    where = _widest_columns(subject, finite)
    yield Judgement(
        Status.FAIL if wild else Status.PASS,
        f"inputs reach {top:,.4g}, and the scales of columns differ by a factor of {ratio:,.3g}", value=top, threshold=largest,
        where=where if wild else None, fix="standardise the inputs, fitted on train" if wild else None,
    )


def _normalises_first(model: nn.Module) -> bool:
    for module in model.modules():
        if list(module.children()):
            continue
        if isinstance(module, NORMALISING):
            return True
        if next(module.parameters(recurse=False), None) is not None:
            return False
    return False


def _widest_columns(subject: Any, x: torch.Tensor) -> str:
    if x.ndim != 2:
        return "all inputs"
    tops = x.abs().max(0).values
    order = tops.argsort(descending=True)[:3].tolist()
    names = _column_names(subject, x.shape[1])
    return "columns " + ", ".join(names[column] for column in order if tops[column] > 10)


def _column_names(subject: Any, width: int) -> list[str]:
    X = subject.prepared.train.X
    if hasattr(X, "columns"):
        return [str(name) for name in X.columns]
    for _, step in reversed(subject.pipeline.steps):
        owner = getattr(step, "__self__", None)
        try:
            names = [str(name) for name in owner.get_feature_names_out()]       # type: ignore[union-attr]
            if len(names) == width:
                return names
        except Exception:
            continue
    return [str(column) for column in range(width)]


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model", "pipeline"}, detects={"double_normalisation": 0.75})
def double_normalisation(subject: Any, *, smallest: float = 1e-2) -> Iterator[Judgement]:
    """Find inputs that were scaled twice; `value` is the standard deviation of the prepared inputs.

    Source: FAULTS of this project: a range near 1/255 and a deviation below 1e-2.
    """
    x = subject.recipe.train.x
    if not x.is_floating_point() or _normalises_first(subject.model):
        yield skipped("token ids, or a model that normalises its inputs itself")
        return
    finite = x[torch.isfinite(x)]
    deviation = float(finite.std()) if finite.numel() > 1 else 1.0
    if finite.numel() > 1 and float(finite.abs().max()) == 0:
        yield Judgement(Status.FAIL, "all prepared inputs are 0", faults={"information_loss": 0.9}, fix="look at the last step")
        return
    yield judge(
        deviation, below=smallest, where=subject.pipeline.stages[-1].name,
        message=f"the prepared inputs have a standard deviation of {deviation:.2g}", fix="scale once",
    )


@check(layer=Layer.PREPROCESSING, needs={"recipe"}, detects={"target_not_scaled": 0.7})
def target_not_scaled(subject: Any, *, largest: float = 50.0) -> Iterator[Judgement]:
    """Find regression targets on a wild scale; a swap has to confirm. `value` is their root mean square.

    Source: TheDeepChecker, label scale; Bishop 1995.
    """
    if subject.recipe.task != "regression":
        yield skipped("the task is no regression")
        return
    y = subject.recipe.train.y.float()
    size = float(y[torch.isfinite(y)].pow(2).mean().sqrt())
    yield judge(size, above=largest, where="labels", message=f"the targets have a root mean square of {size:,.4g}", fix="standardise the target")


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"row_loss": 0.9})
def row_loss(subject: Any, *, lost: float = 0.2) -> Iterator[Judgement]:
    """Find rows that are lost on the way; `value` is the largest lost share of a split.

    Rows of X lost without their labels are a fault at any number.

    Source: our planted faults; dropping a few rows with missing values is common and harmless.
    """
    raw, worst, place = subject.pipeline.stages[0].splits, 0.0, ""
    for stage in subject.pipeline.stages[1:]:
        for (name, before), (_, after) in zip(raw.items(), stage.splits.items(), strict=True):
            count = len(after.X)
            if count != len(after.y):
                yield Judgement(
                    Status.FAIL, f"{stage.name} leaves {count} inputs for {len(after.y)} labels of {name}", value=count,
                    threshold=len(after.y), where=stage.name, fix="drop rows with their labels, or impute",
                )
                return
            share = 1 - count / max(1, len(before.X))
            if share > worst:
                worst, place = share, f"{stage.name}, {name}"
    unequal = subject.target.prepare is not None and _resplit(subject)
    yield judge(
        0.0 if unequal else worst, above=lost, where=place or None, message=f"at most {worst:.0%} of the rows are lost on the way",
        fix="impute instead of dropping",
    )


def _resplit(subject: Any) -> bool:
    """Whether the user's prepare moved rows between splits and lost none."""
    first, last = subject.pipeline.stages[0].splits, subject.pipeline.stages[-1].splits
    return sum(len(s.y) for _, s in first.items()) <= sum(len(s.y) for _, s in last.items())


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"information_loss": 0.9})
def information_loss(subject: Any, *, constant: float = 0.5) -> Iterator[Judgement]:
    """Find inputs that become constant; `value` is the share of varying columns that ended constant.

    Source: our planted faults.
    """
    first, last = (numbers(stage.splits.train.X) for stage in (subject.pipeline.stages[0], subject.pipeline.stages[-1]))
    if last.size == 0 or first.size == 0 or last.ndim != first.ndim or first.shape[1:] != last.shape[1:]:
        yield skipped("the columns before and after cannot be matched")
        return
    varied = np.nanstd(first.reshape(len(first), -1), axis=0) > 1e-12
    still = np.nanstd(last.reshape(len(last), -1), axis=0) > 1e-12
    share = float((varied & ~still).sum() / max(1, varied.sum()))
    yield judge(share, above=constant, message=f"{share:.0%} of the columns became constant", fix="repair the step that collapses them")
