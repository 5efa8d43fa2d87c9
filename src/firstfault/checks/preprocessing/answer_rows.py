"""Labels of other rows of a graph than the rows of the answer that they are compared with."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject


@check(layer=Layer.PREPROCESSING, gradients=True, detects={"misaligned_labels": 0.95})
def labels_of_other_rows(subject: Subject) -> Iterator[Judgement]:
    """Find loops that compare some rows of an answer with labels of other rows, as of a graph whose nodes are split.

    Measures: which rows of a model's answer `(N, …)` a loss of torch is given, by their values; and whether a tensor
        `(N,)` among the variables of the loop holds the labels at these rows, or at those of an index or mask.
    Fails when: it holds them at an index or mask of other rows alone.
    Not a fault when: the inputs are reordered by that index as well; all labels are the same; or the loss is given the
        whole answer.
    Source: a defect of graph scripts, `out[:n]` beside `y[train]`: that labels of 16 rows and more fit an index of the
        loop by chance is next to impossible.
    """
    record = subject.made(Subject.record)
    if record is None:
        yield skipped("no loop was watched")
        return
    seen = record.other_rows
    if seen is None:
        yield passed("no loss was seen that is given labels of other rows")
        return
    yield Judgement(
        Status.FAIL,
        f"of the {seen.rows} rows of the answer that the loss is given, {seen.other} are compared with labels of other "
        "rows",
        value=seen.other,
        threshold=0,
        where=seen.line or Place.labels(),
        fix="take outputs and labels at the same index: loss(out[index], y[index])",
    )
