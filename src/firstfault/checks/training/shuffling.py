"""The order in which a training sees its samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.rerun import fixed_seeds
from firstfault.subject.subject import Subject
from firstfault.training.batches import batches_of, is_pair
from firstfault.training.label_variety import WITHIN, variety_within

MOST_BATCHES = 500  # bounds the time of a loader; sorted labels show in far fewer


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"no_shuffle": 0.85})
def no_shuffle(subject: Subject, *, within: float = WITHIN) -> Iterator[Judgement]:
    """Find unshuffled batches of sorted labels.

    Measures: what a batch holds of the labels' variety, relative to what as many rows at random hold, about 1 where the
        rows are in no order: the mean entropy of classes, or the mean variance of numbers; of several labels, that of
        the one with the least.
    Fails when: it is below `within`.
    Not a fault when: the data are unsorted: without shuffling, too, a batch then holds nearly all of the variety.
    Source: benchmarks/localise.py, fault no_shuffle, sorts the rows by class. The bound is a choice of ours;
        tests/checks/training/test_loop_faults.py holds the cases that it separates.
    """
    recipe = subject.recipe
    own = recipe.training.loader is not None
    if recipe.training.shuffle and not own:
        yield passed("the training split is shuffled")
        return
    batches = label_batches(subject)
    if len(batches) < 2 or recipe.task == "language_model":
        yield skipped("fewer than two batches, or a label for every token")
        return
    ratio = variety_within(batches, recipe)
    if ratio is None:
        yield skipped("all labels are equal, or batches of one sample")
        return
    measure = "entropy" if recipe.task == "classification" else "variance"
    yield judge(
        ratio,
        below=within,
        where=Place.setting("training.loader" if own else "training.shuffle"),
        message=f"{'in the order of the loader' if own else 'without shuffling'}, "
        f"a batch holds {ratio:.0%} of the label {measure} that as many rows at random hold",
        fix="shuffle the training split",
    )


@memo(of="model")
def label_batches(subject: Subject) -> list[torch.Tensor]:
    """The labels of each training batch, as the user's loader gives them, or in order.

    Empty where the classes of a loader are no ids.
    """
    recipe = subject.recipe
    if recipe.training.loader is None:
        return list(torch.split(recipe.train.y, recipe.training.batch_size))
    with fixed_seeds():
        pairs = [batch for batch in islice(batches_of(recipe, "train", 0), MOST_BATCHES) if is_pair(batch)]
    labels = [y for _, y in pairs]
    if recipe.task != "classification":
        return labels
    ids = [y for y in labels if y.ndim == 1 and not y.is_floating_point() and int(y.min()) >= 0]
    return ids if len(ids) == len(pairs) else []
