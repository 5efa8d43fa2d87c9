"""Do the workers of the user's loader draw numbers of their own?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.preprocessing._loader_passes import codes_of_rows, copies, made_for
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import Array
from firstfault.subject.subject import Subject


@check(layer=Layer.PREPROCESSING, needs={"recipe"}, detects={"worker_seed_duplicated": 0.95})
def worker_seed_duplicated(subject: Subject, *, by_chance: float = 1e-4) -> Iterator[Judgement]:
    """Find loader workers that draw the same random numbers, or the same again in the next pass.

    Measures: the share of the workers whose batches equal those of the first. Copies of one row are loaded, so that
        they differ by what is drawn alone; batch i comes from worker i modulo their number.
    Fails when: a worker's draws equal the first one's, or the second pass repeats those of the first where the target
        seeds its workers by `worker_init_fn`. Equal draws count where chance makes them with less than `by_chance`.
    Warns when: the second pass repeats the first without a `worker_init_fn`.
    Not a fault when: draws come from Python's, NumPy's or torch's global generator, which torch seeds in every worker.
        A generator of the data set's own is copied, and a fixed seed in `worker_init_fn` undoes it.
    Source: PyTorch's notes on reproducibility (DataLoader, worker_init_fn). The bound is a choice of ours;
        tests/checks/preprocessing/test_loader.py holds the cases.
    """
    made = made_for(subject, "train")
    first, second = copies(subject, "train")
    if first.alike:
        yield passed("the training loader draws nothing for its rows")
        return
    batches, again = codes_of_rows(first, second)
    workers = made.num_workers if isinstance(made, DataLoader) and getattr(made, "in_order", True) else 0
    value = _equal_workers(batches, workers, by_chance)
    if value is not None and value > 0:
        yield Judgement(
            Status.FAIL,
            f"{value:.0%} of {workers} loader workers draw the same random numbers as the first",
            value=value,
            threshold=0,
            where=Place.setting("training.loader", "train"),
            fix="draw from torch's generator, or seed each worker by torch.initial_seed()",
        )
    elif _repeated(batches, again, by_chance):
        seeded = workers > 0 and made.worker_init_fn is not None
        yield Judgement(
            Status.FAIL if seeded else Status.WARN,
            "a second pass over train draws the same random numbers as the first",
            where=Place.setting("training.loader", "train"),
            fix="derive the workers' seeds from torch.initial_seed(), which changes with every pass",
            faults={"worker_seed_duplicated": 0.92 if seeded else 0.3},
        )
    elif workers < 2:
        yield passed("the loader draws anew in every pass, without several workers")
    elif value is None:
        yield skipped("too few batches, or too few different draws, to compare the workers")
    else:
        yield passed(f"{workers} loader workers draw different numbers", value=value)


def _equal_workers(batches: list[Array], workers: int, by_chance: float) -> float | None:
    """The share of the workers that draw what the first one draws; None where that can't be told."""
    own = [batches[worker::workers] for worker in range(min(workers, len(batches)))] if workers > 1 else []
    if len(own) < 2 or not own[0]:
        return None
    equal, tellable = 0, False
    for other in own[1:]:
        pairs = [(a, b) for a, b in zip(own[0], other, strict=False) if len(a) == len(b)]
        told = bool(pairs) and _chance([a for a, _ in pairs]) < by_chance
        tellable |= told
        equal += told and all((a == b).all() for a, b in pairs)
    return equal / len(own) if tellable else None


def _repeated(first: list[Array], second: list[Array], by_chance: float) -> bool:
    same = len(first) == len(second) and all(
        len(a) == len(b) and (a == b).all() for a, b in zip(first, second, strict=True)
    )
    return same and _chance(first) < by_chance


def _chance(batches: list[Array]) -> float:
    """The chance that two such lists of draws are equal: by rows, or by batches where all rows of a batch are alike."""
    draws = (
        np.array([part[0] for part in batches])
        if all((part == part[0]).all() for part in batches)
        else np.concatenate(batches)
    )
    shares = np.unique(draws, return_counts=True)[1] / len(draws)
    return float((shares**2).sum() ** len(draws))
