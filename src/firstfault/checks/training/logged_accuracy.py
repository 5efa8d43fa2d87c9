"""A loss that falls beside an accuracy, as a Trainer logs it, that is that of no model at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.losses import OF_NUMBERS

ACCURACY = re.compile(r"(.*[^a-z])?acc(uracy)?([^a-z].*)?", re.IGNORECASE)
HELD_OUT = re.compile(r"(eval|val|valid|validation|test)[^a-z].*", re.IGNORECASE)
PERCENT = 100.0  # in which an accuracy above 1 is
AS_NUMBERS, BY_HEART = {"wrong_loss": 0.92}, {"overfitting": 0.4, "metric_mismatch": 0.4, "random_labels": 0.4}
"""Classes that are learnt as numbers, next to which no accuracy of classes is better; and what else it may be, of which
none stands by this alone.
"""


@check(layer=Layer.TRAINING, needs={"record"}, detects=AS_NUMBERS | BY_HEART)
def logged_accuracy(
    subject: Subject, *, learnt: float = 0.25, errors: float = 3.0, most: int = 20, even: float = 0.6, fewest: int = 200
) -> Iterator[Judgement]:
    """Find trainings whose loss falls, and whose own accuracy stays that of the most frequent label.

    Measures: the last accuracy that a Trainer of transformers or Lightning logged, on held-out data where there is one,
        beside the share of the most frequent of the last targets; and the loss of the last tenth of the steps over
        that of a constant answer.
    Fails when: the accuracy is no more than `errors` standard errors above that share, and the loss is below `learnt`
        of a constant answer's: classes are learnt by a loss of numbers; else what is learnt says nothing of other rows,
        or the accuracy is counted wrong.
    Not a fault when: the most frequent label has a share above `even`, there are more than `most` labels or fewer than
        3, or fewer than `fewest` targets were seen.
    Source: Karpathy 2019, "input-independent baseline". An answer that explains `1 - learnt` of the variance of whole
        numbers rounds to the right one more often than the most frequent of them occurs.
    """
    found = _accuracy(subject.record.logged)
    seen = [
        (name, each)
        for name, each in subject.record.constants.items()
        if 3 <= each.get("values", 0) <= most and each["commonest"] <= even and each["targets"] >= fewest
    ]
    if found is None or not seen or len(subject.record.losses) > 1:
        yield skipped("no Trainer logged an accuracy of a few classes, learnt by one loss of torch")
        return
    (metric, accuracy), (name, each) = found, seen[0]
    bound = each["commonest"] + errors * math.sqrt(each["commonest"] * (1 - each["commonest"]) / each["targets"])
    end = subject.record.loss_ends()[1]
    told = f"{metric} is {accuracy:.3g}, and the most frequent label has a share of {each['commonest']:.3g}"
    if accuracy > bound or not end <= learnt * each["constant"]:
        yield passed(told, value=accuracy)
        return
    numbers = name in OF_NUMBERS
    yield Judgement(
        Status.FAIL,
        f"{told}, though {name} fell to {end:.3g} of {each['constant']:.3g}"
        + (f": the {each['values']:.0f} classes are learnt as numbers" if numbers else ""),
        value=accuracy,
        threshold=bound,
        where=Place.part("the loss") if numbers else None,
        faults=AS_NUMBERS if numbers else BY_HEART,
        fix="give the model an output for each class, and learn by cross-entropy: num_labels, and whole labels; "
        "or round its answers where the accuracy is counted"
        if numbers
        else "look at how held-out rows are prepared and scored, and at whether labels belong to their rows",
    )


def _accuracy(logged: dict[str, float]) -> tuple[str, float] | None:
    """The largest accuracy among the metrics, of those on held-out data where there are some."""
    known = {name: value for name, value in logged.items() if ACCURACY.fullmatch(name) and math.isfinite(value)}
    chosen = {name: value for name, value in known.items() if HELD_OUT.fullmatch(name)} or known
    name = max(chosen, key=lambda each: chosen[each], default=None)
    if name is None:
        return None
    return name, chosen[name] / (PERCENT if chosen[name] > 1 else 1.0)
