"""Does the served model answer as the trained one? Compared cut by cut: raw → inputs → outputs → label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.probe.models import MODES_MATTER
from firstfault.serving import agreement, apart, run_module, serving_inputs

LOW_PRECISION = (torch.float16, torch.bfloat16, torch.int8, torch.quint8, torch.qint8)


@check(layer=Layer.DEPLOYMENT, needs={"served", "golden"}, detects={"train_mode_serving": 0.95})
def train_mode_serving(subject: Any) -> Iterator[Judgement]:
    """Find a served network whose dropout or batch normalisation is in train mode.

    Source: Humbatova et al. 2020; PyTorch documentation, Module.eval.
    """
    module = subject.served.module
    if module is None:
        yield skipped("the served network cannot be seen from outside")
        return
    on = [name for name, child in module.named_modules() if isinstance(child, MODES_MATTER) and child.training]
    if not on:
        yield passed("the served network is in eval mode")
        return
    yield Judgement(
        Status.FAIL, f"{len(on)} modules are served in train mode", value=len(on), threshold=0, where=", ".join(on[:5]),
        fix="call model.eval() after loading",
    )


@check(layer=Layer.DEPLOYMENT, needs={"served", "golden"}, detects={"nondeterministic_serving": 0.9})
def nondeterministic_serving(subject: Any, *, tolerance: float = 1e-5) -> Iterator[Judgement]:
    """Find a served model that answers the same call twice differently; `value` is the relative difference.

    Source: float32 rounding (1.2e-7) with a margin for summation in another order.
    """
    module = subject.served.module
    if module is not None and any(isinstance(child, MODES_MATTER) and child.training for child in module.modules()):
        yield skipped("it is served in train mode, which explains it")
        return
    first, second = subject.served.call(subject.golden.raw), subject.served.call(subject.golden.raw)
    value = _difference(first, second)
    yield judge(
        value, above=tolerance, where=subject.served.kind, message=f"the same call twice differs by {value:.1e}",
        fix="switch randomness off: eval mode, fixed seeds",
    )


def _difference(first: Any, second: Any) -> float:
    """The largest difference of two answers relative to the largest value; for text, the share that differs."""
    if first.shape != second.shape:
        return 1.0
    if first.dtype.kind in "OUS":
        return float(np.mean(first != second))
    first, second = first.astype(float), second.astype(float)
    return float(np.abs(first - second).max() / max(np.abs(first).max(), 1e-9))


@check(layer=Layer.DEPLOYMENT, needs={"golden", "deployment"}, detects={"train_serve_skew": 0.95, "schema_mismatch": 0.95})
def train_serve_skew(subject: Any, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find serving code that prepares inputs differently than training; `value` is the share of inputs that differ.

    Where each served column is some column of training, they were renamed or reordered: a schema mismatch.

    Source: Breck et al. 2019, Data validation for machine learning: training-serving skew.
    """
    if subject.deployment.preprocess is None:
        yield skipped("serving has no preprocessing of its own")
        return
    x = serving_inputs(subject, subject.golden.raw)
    expected = subject.golden.x
    if x.shape != expected.shape:
        yield Judgement(Status.FAIL, f"serving prepares inputs of shape {tuple(x.shape)}, training {tuple(expected.shape)}",
                        where="deployment.preprocess", fix="serve with the training's fitted preprocessing")
        return
    scale = expected.float().std(0, keepdim=True).clamp_min(1e-3)
    differs = (x.float() - expected.float()).abs() > 0.01 * scale
    value = float(differs.float().mean())
    columns = torch.nonzero(differs.flatten(1).any(0)).flatten()[:3].tolist()
    reordered = value > share and _reordered(x, expected)
    yield judge(
        value, above=share, faults={"schema_mismatch" if reordered else "train_serve_skew": 0.95}, where=f"deployment.preprocess, inputs {', '.join(map(str, columns))}" if columns else None,
        message=f"{value:.0%} of the inputs of golden samples differ between training and serving" + (": columns changed places" if reordered else ""),
        fix="send the columns in the order of training" if reordered else "serve with the training's fitted preprocessing",
    )


def _reordered(x: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether the served columns `(N, D)` are those of training in another order."""
    if x.ndim != 2 or len(x) < 3:
        return False
    served, trained = x.double().T, expected.double().T
    close = torch.cdist(served, trained) <= 1e-4 * (trained.norm(dim=1)[None] + 1e-6)
    return bool(close.any(1).all() and close.any(0).all())


@check(
    layer=Layer.DEPLOYMENT, needs={"served", "golden"},
    detects={"weights_not_loaded": 0.95, "precision_loss": 0.9, "state_not_saved": 0.9},
)
def served_parameters(subject: Any, *, tolerance: float = 1e-4) -> Iterator[Judgement]:
    """Compare the served parameters with the trained ones: not loaded, rounded, or the same with other state.

    `value` is the share of parameter tensors that differ. Equal parameters with different outputs mean that
    state outside of them was lost.

    Source: Humbatova et al. 2020; strict=False in load_state_dict.
    """
    module = subject.served.module
    if module is None:
        yield skipped("the served network cannot be seen from outside")
        return
    trained, served = dict(subject.trained.model.state_dict()), dict(module.state_dict())
    shared = [name for name in trained if name in served and trained[name].shape == served[name].shape]
    low = [name for name in served if isinstance(served[name], torch.Tensor) and served[name].dtype in LOW_PRECISION]
    differ = [name for name in shared if not _close(trained[name], served[name])]
    value = (len(trained) - len(shared) + len(differ)) / max(1, len(trained))
    if low or any("quantized" in type(child).__module__ for child in module.modules()):
        yield _rounded(subject, len(low))
    elif value > 0:
        names = [name for name in trained if name not in shared or name in differ]
        yield Judgement(
            Status.FAIL, f"{value:.0%} of the served parameters are not the trained ones", value=value, threshold=0.0,
            where=", ".join(names[:5]), faults={"weights_not_loaded": 0.95}, fix="load with strict=True, and look at the missing keys",
        )
    else:
        yield from _state(subject, module, tolerance)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5))


def _rounded(subject: Any, count: int) -> Judgement:
    served = subject.served.call(subject.golden.raw)
    same = agreement(subject, subject.golden.outputs, served)
    return judge(
        same, below=0.95, where="served precision", faults={"precision_loss": 0.9},
        message=f"with {count} tensors in lower precision, {same:.0%} of the golden samples get the same answer",
        fix="serve in float32, or calibrate",
    )


def _state(subject: Any, module: torch.nn.Module, tolerance: float) -> Iterator[Judgement]:
    training = [child for child in module.modules() if child.training]
    module.eval()
    outputs = run_module(subject, module, subject.golden.x)
    for child in training:
        child.training = True
    moved = apart(subject.golden.outputs, outputs)
    if outputs.shape == subject.golden.outputs.shape and moved > tolerance:
        yield Judgement(
            Status.FAIL, f"all parameters are the trained ones, but outputs of the same inputs differ by {moved:.1e}", value=moved,
            threshold=tolerance, where="state outside of parameters", faults={"state_not_saved": 0.9}, fix="register the state as a buffer",
        )
        return
    yield passed("the served parameters are the trained ones")


@check(layer=Layer.DEPLOYMENT, needs={"served", "golden"}, detects={"label_map_mismatch": 0.95, "train_serve_skew": 0.6})
def served_answers(subject: Any, *, same: float = 0.95) -> Iterator[Judgement]:
    """Compare the answers to golden samples, where the served network cannot be seen; `value` is the share answered alike.

    Permuted class columns are told apart by trying permutations. Differences that another check explains are left to it.

    Source: this project's planted faults; a healthy path differs by rounding only, and ties are rare.
    """
    if subject.served.module is not None or subject.deployment.preprocess is not None:
        yield skipped("the parts of the served path are compared one by one")
        return
    offline = subject.golden.outputs
    served = subject.served.call(subject.golden.raw)
    again = subject.served.call(subject.golden.raw)
    value = agreement(subject, offline, served)
    if not np.array_equal(served, again):
        yield skipped("the answers differ from call to call")
        return
    if value >= same:
        yield passed(f"{value:.0%} of the golden samples get the answer of the trained model", value=value)
        return
    order = _permutation(offline, served)
    if order is not None:
        yield Judgement(Status.FAIL, f"the served classes are permuted: {order}", value=value, threshold=same, where="output columns",
                        faults={"label_map_mismatch": 0.95}, fix="save the label map with the model")
        return
    yield Judgement(
        Status.FAIL, f"{value:.0%} of the golden samples get the answer of the trained model", value=value, threshold=same,
        where=subject.served.kind, faults={"train_serve_skew": 0.6}, fix="compare the inputs that reach the model with those of training",
    )


def _permutation(offline: np.ndarray[Any, Any], served: np.ndarray[Any, Any]) -> list[int] | None:
    if offline.ndim != 2 or offline.shape != served.shape or not 2 <= offline.shape[1] <= 12:
        return None
    offline = offline - offline.mean(0)
    cost = np.array([[np.abs(np.argsort(np.argsort(a)) - np.argsort(np.argsort(b))).mean() for b in served.T] for a in offline.T])
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(cost)
    permuted = cost[range(len(order)), order].mean()
    straight = cost.diagonal().mean()
    changed = list(order) != list(range(len(order)))
    return [int(value) for value in order] if changed and permuted < 0.3 * straight else None


@check(layer=Layer.DEPLOYMENT, needs={"served", "golden"}, detects={"batch_dependence": 0.92, "baked_shape": 0.95})
def batch_dependence(subject: Any, *, tolerance: float = 1e-3) -> Iterator[Judgement]:
    """Find answers that depend on the batch: alone, a golden sample must get the answer it gets among others.

    `value` is the largest relative difference over 4 samples. A path that takes one batch size only has a baked shape.

    Source: float32 matrix products of other shapes differ by up to 1e-5 (PyTorch, Numerical accuracy), with a margin.
    """
    module = subject.served.module
    if module is not None and any(isinstance(child, MODES_MATTER) and child.training for child in module.modules()):
        yield skipped("it is served in train mode, which explains it")
        return
    golden = subject.golden
    whole = subject.served.call(golden.raw)
    if not np.array_equal(whole, subject.served.call(golden.raw)):
        yield skipped("the answers differ from call to call")
        return
    try:
        alone = [subject.served.call(_row(golden.raw, index)) for index in range(min(4, len(golden)))]
    except Exception as error:
        yield Judgement(Status.FAIL, f"a single sample is refused: {str(error).splitlines()[0]}", where=subject.served.kind,
                        faults={"baked_shape": 0.95}, fix="export with a dynamic batch size")
        return
    differences = [_relative(whole[index:index + 1], value) for index, value in enumerate(alone)]
    value = max(differences, default=0.0)
    yield judge(
        value, above=tolerance, where=subject.served.kind, message=f"a sample alone and in a batch of {len(golden)} differ by {value:.1e}",
        faults={"batch_dependence": 0.92} if value > tolerance else None, fix="mask padding, use fitted statistics, and serve in eval mode",
    )


def _row(raw: Any, index: int) -> Any:
    return raw.iloc[index:index + 1] if hasattr(raw, "iloc") else raw[index:index + 1]


def _relative(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    if a.shape != b.shape:
        return 1.0
    if a.dtype.kind in "OUS":
        return float(np.mean(a != b))
    return float(np.abs(a.astype(float) - b.astype(float)).max() / max(float(np.abs(a.astype(float)).max()), 1e-6))


