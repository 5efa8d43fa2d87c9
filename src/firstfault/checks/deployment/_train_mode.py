"""Is a network served in train mode? Seen in its modules, or told from its answers where a graph keeps its mode inside.

A traced or exported graph holds dropout and batch normalisation as they were when it was made, and no mode of its
modules tells: its answers are then those of the trained network in train mode, number for number or, with dropout, in
mean and spread over several calls.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from firstfault.checks.deployment._network import in_train_mode, network_of
from firstfault.checks.deployment.answers import ROUNDING, same_answers
from firstfault.seeds import same_random_state
from firstfault.subject.memo import memo
from firstfault.subject.served_answers import apart
from firstfault.subject.serving import golden_of, run_module, served_of
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

CALLS = 12  # the spread of a number over so many calls errs by a fifth, and its mean over all numbers by far less
SPREAD = (0.7, 1.4)  # of the served answers over that of the network in train mode
NOISE = 1.5  # times the error of the mean that means may be apart


@memo(of="trained")
def served_in_train_mode(subject: Subject) -> bool:
    """Whether modules of the served network are in train mode, or its answers are those of one that is."""
    return in_train_mode(network_of(subject)) or answers_as_in_train_mode(subject)


@memo(of="trained")
def answers_as_in_train_mode(subject: Subject) -> bool:
    """Whether the served answers to the golden samples are those of the trained network in train mode."""
    if not subject.target.by_gradients or same_answers(subject):
        return False
    try:
        own = _in_train_mode(subject)
        if all(apart(golden_of(subject).outputs, outputs) <= ROUNDING for outputs in own[:2]):
            return False  # the mode makes no difference
        served = np.stack([served_of(subject).call(golden_of(subject).raw) for _ in range(CALLS)])
    except Exception:  # what refuses the samples is told by the other checks
        return False
    if served.shape != own.shape or served.dtype.kind != "f":
        return False
    return any(_alike(served.astype(float), outputs) for outputs in (own, _as_shares(own)))


def _in_train_mode(subject: Subject) -> Array:
    """The outputs `(CALLS, N, …)` of a copy of the trained network in train mode on the golden samples."""
    network = copy.deepcopy(subject.trained.model).train()
    with same_random_state():
        torch.manual_seed(0)
        return np.stack([run_module(subject, network, golden_of(subject).x) for _ in range(CALLS)]).astype(float)


def _as_shares(outputs: Array) -> Array:
    """Outputs as probabilities: by softmax over several, by the logistic function of one."""
    if outputs.ndim < 3 or outputs.shape[2] == 1:
        return np.asarray(1 / (1 + np.exp(-np.clip(outputs, -50, 50))))
    shifted = np.exp(outputs - outputs.max(2, keepdims=True))
    return np.asarray(shifted / shifted.sum(2, keepdims=True))


def _alike(served: Array, own: Array) -> bool:
    """Whether answers over several calls are the same, or vary alike about the same mean."""
    scale = max(float(np.abs(own).max()), 1e-9)
    first, second = served.std(0), own.std(0)
    if max(first.max(), second.max()) <= ROUNDING * scale:
        return bool(np.abs(served[0] - own[0]).max() <= ROUNDING * scale)
    ratio = float(first.mean() / max(float(second.mean()), 1e-12))
    error = np.sqrt((first**2 + second**2).mean() / CALLS)
    gap = np.sqrt(((served.mean(0) - own.mean(0)) ** 2).mean())
    return bool(SPREAD[0] < ratio < SPREAD[1] and gap < NOISE * error)
