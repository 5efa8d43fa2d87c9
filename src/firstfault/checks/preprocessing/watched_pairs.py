"""Do the inputs of a watched loop say anything of the targets that they are paired with?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data.signal import BY_HEART, FEWEST_HELD, Ranking, best, by_class, by_column
from firstfault.checks.preprocessing._pair_signal import Pairs, is_given, new_rows, pairs_of, ranking
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.capture import Capture
from firstfault.subject.subject import Subject
from firstfault.training.evaluation import predict
from firstfault.training.loop import train
from firstfault.training.recipe import Tensors

MOVES = (1, -1, 2, -2)  # rows by which labels may have slipped, to either side
GIVEN = 0.98  # of a perfect order: a series' own past among its inputs


@check(layer=Layer.PREPROCESSING, gradients=True, detects={"misaligned_labels": 0.95, "random_labels": 0.92})
def watched_pairs(
    subject: Subject, *, fewest: int = 200, weak: float = 0.3, doubt: float = 0.005, sure: float = 1e-6
) -> Iterator[Judgement]:
    """Find loops whose inputs say nothing of their targets, and whether targets of other rows would fit them.

    Measures: how far a linear model, neighbours and trees, on the captured pairs that they were not fitted on, order
        rows as their targets do: 0 for chance, 1 for perfect; the same with the targets of the rows 1 and 2 before and
        after, in the order of the loader's dataset, or in that of the loop.
    Fails when: the pairs are chance, with a p-value above `doubt`, and moved ones are not, with one below `sure`. Also
        where no moved ones are better, `weak` order can be excluded, and a replay on four fifths of the pairs orders
        the others by chance as well: proof where the watched model orders the rows that it has learnt from, else a
        suspicion.
    Not a fault when: an input is the moved target itself, as where a series is told from its own past; batches all have
        the same labels, as in contrastive learning; or there are fewer than `fewest` pairs.
    Source: TheDeepChecker, shuffled labels; standard errors as in random_labels.
    """
    capture = subject.made(Subject.capture)
    if not isinstance(capture, Capture) or capture.samples < fewest or subject.failed(Subject.recipe_and_classes):
        yield skipped(f"fewer than {fewest} pairs of inputs and targets were captured")
        return
    pairs = pairs_of(subject, capture)
    found = ranking(pairs, doubt) if pairs is not None and not _repeated(capture) else None
    if pairs is None or found is None:
        yield skipped("the targets are neither numbers nor classes of samples")
        return
    if not found.is_chance(doubt):
        yield passed(f"inputs order rows by their targets (by {found.value:.2f} of 1)", value=found.value)
        return
    for rows in MOVES:
        moved = _better(pairs.moved(rows), fewest, sure)
        if moved is not None:
            yield _shifted(found, moved, rows)
            return
    yield from _independent(subject, pairs, found, weak, doubt)


def _repeated(capture: Capture) -> bool:
    """Whether all whole batches have the same labels, each once or in the same order: those of the batch itself."""
    whole = [part for part in capture.targets if len(part) == len(capture.targets[0])]
    return len(whole) > 1 and all(torch.equal(part, whole[0]) for part in whole)


def _better(moved: Pairs, fewest: int, sure: float) -> Ranking | None:
    found = ranking(moved, sure) if len(moved.x) >= fewest else None
    return None if found is None or found.is_chance(sure) or is_given(moved, GIVEN) else found


def _shifted(found: Ranking, moved: Ranking, rows: int) -> Judgement:
    way = f"{abs(rows)} row{'s' if abs(rows) > 1 else ''} {'later' if rows > 0 else 'earlier'}"
    return Judgement(
        Status.FAIL,
        f"inputs order rows by chance by their own targets (by {max(found.value, 0):.2f} of 1), "
        f"but by {moved.value:.2f} by the targets {way} in the data",
        value=found.value,
        threshold=moved.value,
        where=Place.labels(),
        faults={"misaligned_labels": 0.95},
        fix="cut inputs and targets at the same rows: pair X[i] with y[i]",
    )


def _independent(subject: Subject, pairs: Pairs, found: Ranking, weak: float, doubt: float) -> Iterator[Judgement]:
    """Where no move helps: whether the model itself finds anything in the pairs."""
    if found.most > weak:
        yield skipped(f"fast models find no order in the pairs, but they are too few to exclude one of {weak:g}")
        return
    recipe = subject.recipe
    again = train(recipe, recipe.training.seed)
    held = recipe.validation.rows(new_rows(recipe.train.x, recipe.validation.x))
    network = None if again.crash or len(held) < FEWEST_HELD else _order(subject, again.model, held, pairs.classes)
    if network is None or not network.is_chance(doubt):
        yield passed("fast models find no order in the pairs, but the network does, or can't be asked")
        return
    learnt = _order(subject, subject.trained.model, recipe.train, pairs.classes)
    memorised = learnt is not None and learnt.value > BY_HEART
    yield Judgement(
        Status.FAIL,
        f"neither fast models (by {max(found.value, 0):.2f} of 1) nor the network (by {max(network.value, 0):.2f}) "
        "order rows that they have not learnt from by their targets better than chance"
        + (", though the network knows by heart those that it has" if memorised else ""),
        value=found.value,
        threshold=weak,
        where=Place.labels(),
        faults={"random_labels": 0.92 if memorised else 0.55},
        fix="check how labels were joined to inputs: shuffle, sort and filter both together; "
        "where they are right, these inputs do not tell them",
    )


def _order(subject: Subject, model: torch.nn.Module, rows: Tensors, classes: bool) -> Ranking | None:
    outputs = predict(subject.recipe, model, rows.x).double().cpu().numpy()
    y = rows.y.double().cpu().numpy()
    if not np.isfinite(outputs).all():
        return None
    if not classes:
        outputs, y = outputs.reshape(len(y), -1), y.reshape(len(y), -1)
        return best(by_column(outputs, y)) if outputs.shape == y.shape else None
    outputs = outputs.reshape(len(y), -1) if outputs.ndim == 1 else outputs
    if outputs.ndim != 2 or y.ndim != 1:
        return None
    if outputs.shape[1] == 1:
        outputs = np.column_stack([-outputs, outputs])
    return best(by_class(outputs, y.astype(int)))
