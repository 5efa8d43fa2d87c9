"""Testing deployment faults: repair the served path, and see whether golden samples get the trained model's answers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from torch import nn

from firstfault.ablation.compare import compare
from firstfault.checks.deployment._train_mode import answers_as_in_train_mode
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.metrics import Array
from firstfault.subject.served_answers import agreement, apart
from firstfault.subject.serving import Golden, golden_rows, run_module, served_of
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Swap

FOLDS = 3  # the fewest parts of the samples at which arms wholly apart are significant
ROWS = 384  # 128 in each part, of which a wrong answer is 0.8 %
RESTORED = 0.99  # of the samples, from which on a service answers as the trained model
CLOSE = 0.01  # of the largest score
Answer = Callable[[Golden], Array]
"""What a repaired service gives for samples."""


def confirm_serving(subject: Subject, fault: str) -> Outcome | None:
    """Undo a deployment fault, and compare the agreement with the trained model over disjoint folds of the test rows.

    Returns None where no repair is known for the fault.
    """
    repair = REPAIRS.get(fault)
    if repair is None:
        return None
    change, apply = repair
    try:
        repaired = apply(subject)
        golden = golden_rows(subject, ROWS)
        before = served_of(subject).call(golden.raw)
        after = repaired(golden)
    except (Missing, UserCodeError, FirstfaultError) as reason:
        return Outcome(fault, None, reason=subject.masked(str(reason)))
    folds = [np.arange(start, len(golden), FOLDS) for start in range(FOLDS)]
    first = [agreement(subject, golden.outputs[rows], before[rows]) for rows in folds]
    second = [agreement(subject, golden.outputs[rows], after[rows]) for rows in folds]
    measured = "agreement with the trained model"
    if min(first) > RESTORED and before.shape == golden.outputs.shape == after.shape:
        first, second = ([_alike(golden.outputs[rows], found[rows]) for rows in folds] for found in (before, after))
        measured = "agreement of scores with the trained model"
    result = compare(first, second, "agreement")
    restored = result.after > RESTORED and result.after > result.before
    p_value = None if restored and not result.better else result.p_value  # equal answers are no matter of chance
    swap = Swap(change, measured, result.before, result.after, FOLDS, p_value)
    return Outcome(fault, result.better or restored, swap)


def _alike(offline: Array, served: Array) -> float:
    """The share of samples whose scores are the trained model's, 0–1."""
    close = [apart(offline[row : row + 1], served[row : row + 1]) <= CLOSE for row in range(len(offline))]
    return float(np.mean(close))


def _module(subject: Subject) -> nn.Module:
    module = served_of(subject).module
    if module is None:
        raise Missing("the served network cannot be seen from outside")
    return copy.deepcopy(module)


def _in_eval_mode(subject: Subject) -> Answer:
    """The served network in eval mode; what a graph was made of, where it keeps the mode that it was made in."""
    if answers_as_in_train_mode(subject):
        return _with_trained_weights(subject)
    module = _module(subject).eval()
    return lambda golden: run_module(subject, module, golden.x)


def _with_trained_weights(subject: Subject) -> Answer:
    return lambda golden: run_module(subject, subject.trained.model.eval(), golden.x)


def _with_training_inputs(subject: Subject) -> Answer:
    module = served_of(subject).module or subject.trained.model
    return lambda golden: run_module(subject, module, golden.x)


def _in_float32(subject: Subject) -> Answer:
    return lambda golden: run_module(subject, subject.trained.model.float().eval(), golden.x)


REPAIRS: dict[str, tuple[str, Callable[[Subject], Answer]]] = {
    "train_mode_serving": ("serve in eval mode", _in_eval_mode),
    "weights_not_loaded": ("serve the trained weights", _with_trained_weights),
    "state_not_saved": ("serve with the trained model's state", _with_trained_weights),
    "train_serve_skew": ("serve with the training's preprocessing", _with_training_inputs),
    "precision_loss": ("serve in float32", _in_float32),
    "label_map_mismatch": ("serve with the training's label map", _with_trained_weights),
}
