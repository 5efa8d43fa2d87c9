"""How many threads a subject is examined with: one where its steps are too small to be shared.

The threads of one operation wait for each other. For a step of a millisecond they win nothing on a quiet machine; on a
busy one each waits for a processor in turn, and a training takes ten times as long.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.training.evaluation import predict

SMALL = 0.01
"""Seconds of one thread for a batch's forward pass; below, its operations take less than 1 ms each, as a rule."""


@contextlib.contextmanager
def fitting(subject: Subject, layer: Layer) -> Iterator[None]:
    """Use one thread inside the block for the checks of samples before the model, and for a model of small steps."""
    before = torch.get_num_threads()
    if before == 1 or (layer.rank >= Layer.MODEL.rank and not has_small_steps(subject)):
        yield
        return
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@memo(of="model")
def has_small_steps(subject: Subject) -> bool:
    """Whether one thread answers a batch within `SMALL` seconds of CPU time; not where that can't be tried."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        recipe, model, batch = subject.recipe, subject.fresh_model(), subject.batch
        predict(recipe, model, batch.x)
        began = time.thread_time()
        predict(recipe, model, batch.x)
        return time.thread_time() - began < SMALL
    except (Missing, UserCodeError, FirstfaultError):
        return False
    except BaseException as error:  # what the user's model does with a batch is judged by its layer
        pass_on(error)
        return False
    finally:
        torch.set_num_threads(threads)
