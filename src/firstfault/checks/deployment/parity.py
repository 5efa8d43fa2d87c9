"""Does the served model answer as the trained one? Compared cut by cut: raw → inputs → outputs → label."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.deployment._network import (
    UNSEEN,
    in_train_mode,
    is_rounded,
    low_precision,
    network_of,
    quantised,
    trained_part,
    untrained,
)
from firstfault.checks.deployment._train_mode import answers_as_in_train_mode, served_in_train_mode
from firstfault.checks.deployment.answers import (
    ALIKE,
    compared,
    permutation,
    permuted_answers,
    same_answers,
    score_likeness,
)
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place
from firstfault.probe.models import MODES_MATTER
from firstfault.subject.served_answers import agreement, apart
from firstfault.subject.serving import golden_of, run_module, served_of, serving_inputs
from firstfault.subject.subject import Subject
from firstfault.training.input_tree import InputTree
from firstfault.training.recipe import Tensors
from firstfault.training.tree_calls import inputs_in


@check(layer=Layer.DEPLOYMENT, needs={served_of, golden_of}, detects={"train_mode_serving": 0.95})
def train_mode_serving(subject: Subject) -> Iterator[Judgement]:
    """Find a served network whose dropout or batch normalisation is in train mode.

    Measures: the number of such modules; and, of a graph that keeps its mode inside or a function that can't be seen
        into, whether golden samples get the answers that the trained network gives in train mode: the same numbers, or,
        with dropout, the same mean and spread over 12 calls.
    Fails when: there is one, or they do.
    Not a fault when: the function that serves gives the answers of eval mode.
    Source: Humbatova et al. 2020; PyTorch, Module.eval; benchmarks/localise.py, fault train_mode_serving.
    """
    module = network_of(subject)
    children = module.named_modules() if module is not None else ()
    on = [name for name, child in children if isinstance(child, MODES_MATTER) and child.training]
    if on and not (served_of(subject).function is not None and same_answers(subject)):
        yield Judgement(
            Status.FAIL,
            f"{len(on)} modules are served in train mode",
            value=len(on),
            threshold=0,
            where=Place.modules(*on[:5]),
            fix="call model.eval() after loading",
        )
    elif answers_as_in_train_mode(subject):
        yield Judgement(
            Status.FAIL,
            "the served answers are those of the trained network in train mode: the graph was made in it",
            where=Place.part(served_of(subject).kind),
            fix="call model.eval() before the model is traced or exported: a graph keeps its mode",
        )
    else:
        yield skipped(UNSEEN) if module is None else passed("the served network answers as in eval mode")


@check(layer=Layer.DEPLOYMENT, needs={served_of, golden_of}, detects={"nondeterministic_serving": 0.9})
def nondeterministic_serving(subject: Subject, *, tolerance: float = 1e-5) -> Iterator[Judgement]:
    """Find a served model that answers the same call twice differently.

    Measures: the largest difference of two answers, relative to the largest value; for text, the share that differs.
    Fails when: it is above `tolerance`.
    Source: the rounding of float32 (1.2e-7), with a margin for sums in another order.
    """
    if served_in_train_mode(subject):
        yield skipped("it is served in train mode, which explains it")
        return
    first, second = served_of(subject).call(golden_of(subject).raw), served_of(subject).call(golden_of(subject).raw)
    value = _difference(first, second)
    yield judge(
        value,
        above=tolerance,
        where=Place.part(served_of(subject).kind),
        message=f"the same call twice differs by {value:.1e}",
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


@check(
    layer=Layer.DEPLOYMENT, needs={golden_of, "deployment"}, detects={"train_serve_skew": 0.95, "schema_mismatch": 0.95}
)
def train_serve_skew(
    subject: Subject, *, share: float = 0.01, moved: float = 0.01, alike: float = 0.999
) -> Iterator[Judgement]:
    """Find serving code that prepares inputs differently than training.

    Measures: the share of the inputs of golden samples that differ by more than `moved` deviations of their column.
    Fails when: the share is above `share`, or the shapes differ. Where each served column correlates by more than
        `alike` with some column of training, whatever its scale, they changed places: a schema mismatch.
    Not a fault when: the scores are those of the trained model: the served network does itself what is missing.
    Source: Breck et al. 2019, Data validation for machine learning: training-serving skew; benchmarks/localise.py,
        fault train_serve_skew. The bounds are a choice of ours; tests/checks/deployment/test_skew.py holds the cases
        that they separate.
    """
    if subject.deployment.preprocess is None:
        yield skipped("serving has no preprocessing of its own")
        return
    if same_answers(subject) or permuted_answers(subject):
        yield passed("serving has a path of its own, and gives the scores of the trained model")
        return
    x, expected = (
        _numbers(subject, serving_inputs(subject, golden_of(subject).raw)),
        _numbers(subject, golden_of(subject).x),
    )
    if x.shape != expected.shape:
        yield Judgement(
            Status.FAIL,
            f"serving prepares inputs of shape {tuple(x.shape)}, training {tuple(expected.shape)}",
            where=Place.setting("deployment.preprocess"),
            fix="serve with the training's fitted preprocessing",
        )
        return
    scale = expected.float().std(0, keepdim=True).clamp_min(1e-3)
    differs = (x.float() - expected.float()).abs() > moved * scale
    value = float(differs.float().mean())
    columns = torch.nonzero(differs.flatten(1).any(0)).flatten()[:3].tolist()
    reordered = value > share and _reordered(x, expected, alike)
    yield judge(
        value,
        above=share,
        faults={"schema_mismatch" if reordered else "train_serve_skew": 0.95},
        where=Place(Kind.SETTING, ("deployment.preprocess",), note=f"inputs {', '.join(map(str, columns))}")
        if columns
        else None,
        message=f"{value:.0%} of the inputs of golden samples differ between training and serving"
        + (": columns changed places" if reordered else ""),
        fix="send the columns in the order of training"
        if reordered
        else "serve with the training's fitted preprocessing",
    )


def _numbers(subject: Subject, x: torch.Tensor | InputTree) -> torch.Tensor:
    """Inputs as one tensor; of a tree all its numbers, side by side."""
    if isinstance(x, InputTree):
        return torch.as_tensor(np.asarray(x, dtype=np.float32))
    return inputs_in(subject.recipe, Tensors(x, x))


def _reordered(x: torch.Tensor, expected: torch.Tensor, alike: float) -> bool:
    """Whether the served columns `(N, D)` are those of training in another order, whatever their scale."""
    if x.ndim != 2 or len(x) < 3:
        return False
    served, trained = (_standard(part.double()) for part in (x, expected))
    close = (served.T @ trained / len(x)).abs() > alike
    return bool(close.any(1).all() and close.any(0).all() and not close.diagonal().all())


def _standard(columns: torch.Tensor) -> torch.Tensor:
    centred = columns - columns.mean(0)
    return centred / centred.pow(2).mean(0).sqrt().clamp_min(1e-12)


@check(
    layer=Layer.DEPLOYMENT,
    needs={served_of, golden_of},
    detects={"weights_not_loaded": 0.95, "precision_loss": 0.9, "state_not_saved": 0.9},
)
def served_parameters(
    subject: Subject, *, tolerance: float = 1e-4, same: float = 0.95, alike: float = ALIKE
) -> Iterator[Judgement]:
    """Compare the served parameters with the trained ones: not loaded, rounded, or the same with other state.

    Measures: the share of parameter tensors that are nowhere in the served network, whatever their names there, as it
        may wrap the trained one; for lower precision, the share of golden samples that get the same answer.
    Fails when: a tensor is missing, and the answers differ; in lower precision, fewer than `same` of the golden samples
        get the same answer, or scores correlate by less than `alike`; or all tensors are there, and outputs of the same
        inputs differ by more than `tolerance`: state outside of the parameters was lost. A network around the trained
        one is judged as `served_answers` judges.
    Not a fault when: the network is built otherwise and gives the same answers, as after fusing layers. Weights that
        were rounded to multiples of a step, and kept as float32, count as lower precision.
    Source: Humbatova et al. 2020; PyTorch, load_state_dict with strict=False; benchmarks/localise.py, fault
        weights_not_loaded. The bounds are a choice of ours; tests/checks/deployment/test_served_answers.py holds the
        cases that they separate.
    """
    module = network_of(subject)
    if module is None:
        yield skipped(UNSEEN)
        return
    if answers_as_in_train_mode(subject):
        yield passed("the served answers are those of the trained parameters in train mode")
        return
    absent, count = untrained(subject, module)
    if is_rounded(module) or quantised(subject, module, absent):
        yield _rounded(subject, low_precision(module) or len(absent), same, alike)
    elif (
        absent
        and not same_answers(subject)
        and (served_of(subject).function is None or compared(subject, same, alike).status is Status.FAIL)
    ):
        value = len(absent) / max(1, count)
        yield Judgement(
            Status.FAIL,
            f"{value:.0%} of the served parameters are not the trained ones",
            value=value,
            threshold=0.0,
            where=Place.parameters(*absent[:5]),
            faults={"weights_not_loaded": 0.95},
            fix="load with strict=True, and look at the missing keys",
        )
    elif served_of(subject).module is None or in_train_mode(module) or same_answers(subject):
        yield passed(
            "the served parameters are the trained ones"
            if not absent
            else "the served network gives the answers of the trained one"
        )
    elif (
        trained_part(module, subject.trained.model) is module
        and permutation(golden_of(subject).outputs, _outputs(subject, module)) is None
    ):
        yield from _state(subject, module, tolerance)
    else:
        yield compared(subject, same, alike)


def _rounded(subject: Subject, count: int, same: float, alike: float) -> Judgement:
    served, offline = served_of(subject).call(golden_of(subject).raw), golden_of(subject).outputs
    value, likeness = agreement(subject, offline, served), score_likeness(offline, served)
    fine = value >= same and likeness >= alike
    return Judgement(
        Status.PASS if fine else Status.FAIL,
        f"with {count} tensors in lower precision, {value:.0%} of the golden samples get the same answer, "
        f"and the scores correlate by {likeness:.4f}",
        value=value,
        threshold=same,
        where=None if fine else Place.part("served precision"),
        faults=None if fine else {"precision_loss": 0.9},
        fix="serve in float32, or calibrate",
    )


def _outputs(subject: Subject, module: torch.nn.Module) -> np.ndarray[Any, Any]:
    """The outputs of a network in eval mode on the inputs as training prepares them; its modes stay."""
    training = [child for child in module.modules() if child.training]
    with contextlib.suppress(NotImplementedError):  # an exported graph has no modes
        module.eval()
    outputs = run_module(subject, module, golden_of(subject).x)
    for child in training:
        child.training = True
    return outputs


def _state(subject: Subject, module: torch.nn.Module, tolerance: float) -> Iterator[Judgement]:
    outputs = _outputs(subject, module)
    moved = apart(golden_of(subject).outputs, outputs)
    if outputs.shape == golden_of(subject).outputs.shape and moved > tolerance:
        yield Judgement(
            Status.FAIL,
            f"all parameters are the trained ones, but outputs of the same inputs differ by {moved:.1e}",
            value=moved,
            threshold=tolerance,
            where=Place.part("state outside of parameters"),
            faults={"state_not_saved": 0.9},
            fix="register the state as a buffer",
        )
        return
    yield passed("the served parameters are the trained ones")
