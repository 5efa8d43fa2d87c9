"""Checks of the way from an incident's logits to its labels, and of input that nobody refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from firstfault.check import check
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.metrics import Array
from firstfault.subject.ignored import ignored_columns
from firstfault.subject.incident import Requests, incident
from firstfault.subject.replays import Replays, Side, differ, flips, known_in_both, replays
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind

FEWEST = 10
"""Rows of the control: a type that every fourth has is lacking among ten once in 18 times."""


@check(
    layer=Layer.DEPLOYMENT,
    needs={incident, replays},
    detects={"label_map_mismatch": 0.8, "cache_corruption": 0.8, "train_serve_skew": 0.45},
    kind=SubjectKind.INCIDENT,
)
def served_labels(subject: Subject, *, share: float = 0.03) -> Iterator[Judgement]:
    """Find labels that are not what their logits say by the training's classes.

    Measures: the share of samples whose served label is not the class of the highest served score, or of the offline
        one where no scores were recorded, less that of the control; and whether one permutation gives the labels again.
        Of numbers, the share of answers without logits that are not the offline model's, where others have logits.
    Fails when: it is above `share`.
    Not a fault when: the control has as many, as where a threshold of its own chooses the label.
    Source: Sculley et al. 2015, Hidden Technical Debt in Machine Learning Systems.
    """
    both = replays(subject)
    if both.truth.task != "classification":
        yield _numbers(both, share)
        return
    said, expected, by_logits = _labels(both.incident)
    before = _wrong_share(*_labels(both.control)[:2])
    known = known_in_both(said, expected) if said.shape == expected.shape else np.zeros(len(said), bool)
    if known.sum() < FEWEST:
        unknown = _unknown(both)
        yield _foreign(unknown) if unknown else skipped("no labels were recorded, or none that can be compared")
        return
    wrong = _wrong_share(said, expected)
    if before > 0.5 or wrong - before <= share:
        yield passed(f"{1 - wrong:.1%} of the labels are what the scores say", value=wrong)
        return
    swapped = _permutation(said[known].argmax(1), expected[known].argmax(1), both)
    of = "the served scores" if by_logits else "the offline model"
    told = f"{wrong:.0%} of the labels are not what {of} say ({before:.0%} before)"
    if (unasked := _without_model(both, said, expected)) > 0.8:
        message = f"{told}; {unasked:.0%} of these were given without asking the model"
        faults = {"cache_corruption": 0.8}
    elif swapped:
        message, faults = f"{told}: {swapped}", {"label_map_mismatch": 0.8}
    elif by_logits:
        message, faults = f"{told}, and no one map gives them", {"label_map_mismatch": 0.6}
    else:
        message, faults = f"{told}; neither tensors nor scores were recorded", {"train_serve_skew": 0.45}
    yield Judgement(Status.FAIL, message, wrong, share, faults=faults)


def _numbers(both: Replays, share: float) -> Judgement:
    """Numbers that were given without asking the model, beside those of the offline one."""
    if both.truth.task != "regression":
        return skipped("only classes and numbers are compared")
    wrong, before = _wrong_unasked(both.incident), _wrong_unasked(both.control)
    if wrong is None:
        return skipped("every number came from the model, or none is known to")
    if wrong - (before or 0.0) <= share:
        return passed(
            f"{1 - wrong:.1%} of the numbers that came without the model are the offline model's", value=wrong
        )
    told = f"{wrong:.0%} of the numbers that were given without asking the model are not the offline model's"
    return Judgement(Status.FAIL, told, wrong, share, faults={"cache_corruption": 0.8})


def _wrong_unasked(side: Side) -> float | None:
    """Of the numbers that came without logits, how many are others than offline; None where too few are known."""
    asked = np.array([value is not None for value in side.values("logits")])
    try:
        known = known_in_both(side.said, side.replayed) & ~asked
    except Missing:
        return None
    if known.sum() < FEWEST or not asked.any():
        return None
    return float(differ(side.said, side.replayed)[known].mean())


def _labels(side: Side) -> tuple[Array, Array, bool]:
    """The labels as they were served, and as the scores say that were served with them, else offline."""
    try:
        replayed = side.replayed
    except Missing:
        replayed = np.full_like(side.said, np.nan)
    if not np.isfinite(side.outputs).any():
        return side.said, replayed, False
    seen = np.isfinite(side.served).all(1, keepdims=True)
    same = side.served.shape == replayed.shape
    return side.said, np.where(seen, side.served, replayed) if same else side.served, True


def _without_model(both: Replays, said: Array, expected: Array) -> float:
    """Of the wrong labels, the share that came without a tensor and without scores, as out of a cache.

    0 where most answers come so, or none of the right ones with them.
    """
    side = both.incident
    asked = np.asarray(np.isfinite(side.outputs).all(1))
    wrong = flips(said, expected)
    if not wrong.any() or not asked.any() or not (~asked).any():
        return 0.0
    return float((~asked[wrong]).mean())


def _wrong_share(said: Array, expected: Array) -> float:
    if said.shape != expected.shape:
        return 0.0
    known = known_in_both(said, expected)
    return float((said[known].argmax(1) != expected[known].argmax(1)).mean()) if known.any() else 0.0


def _permutation(said: Array, expected: Array, both: Replays) -> str:
    """The map of labels that gives the served ones again, as words; empty where there is none."""
    names = both.truth.classes
    pairs = Counter(zip(expected.tolist(), said.tolist(), strict=True))
    maps = {}
    for place in set(expected.tolist()):
        total = sum(n for (one, _), n in pairs.items() if one == place)
        other, times = max(((two, n) for (one, two), n in pairs.items() if one == place), key=lambda pair: pair[1])
        if times < 0.8 * total:
            return ""
        maps[place] = other
    moved = {one: two for one, two in maps.items() if one != two}
    if not moved or len(set(maps.values())) < len(maps):
        return ""
    return "they are swapped: " + ", ".join(f"{names[one]!r} is served as {names[two]!r}" for one, two in moved.items())


def _unknown(both: Replays) -> str:
    """Served labels that are no classes of the training, where the control's are."""
    served, before = both.incident.values("label"), both.control.values("label")
    names = {str(name) for name in both.truth.classes}
    foreign = [str(value) for value in served if value is not None and str(value) not in names]
    usual = [value for value in before if value is not None and str(value) not in names]
    return foreign[0] if len(foreign) > 0.5 * max(len(served), 1) and not usual and before else ""


def _foreign(label: str) -> Judgement:
    return Judgement(
        Status.FAIL, f"{label!r} is served, which is no class of the training", faults={"label_map_mismatch": 0.8}
    )


@check(
    layer=Layer.DEPLOYMENT,
    needs={incident},
    detects={"unvalidated_input": 0.8, "user_code_raises": 0.9},
    kind=SubjectKind.INCIDENT,
)
def served_errors(subject: Subject, *, share: float = 0.02) -> Iterator[Judgement]:
    """Find requests that ended in an error of the server, and whether their input is what should have been refused.

    Measures: the share of requests that ended with a status of 500 and more, less that of the control; of these, how
        many lack a field, hold a value of another type, nothing, or no finite number, which answered ones do not.
    Fails when: it is above `share`.
    Not a fault when: input that can't be read is refused with a status below 500.
    Source: Breck et al. 2017, The ML Test Score.
    """
    seen = incident(subject)
    now, before = _errors(seen.requests), _errors(seen.control)
    if now - before <= share:
        yield from _quiet(subject, seen.requests, seen.control, share)
        return
    failed = seen.requests.only(lambda request: request.outcome == "error")
    types = _types(seen.control)
    odd = [_oddity(value, types) for value in failed.values("raw")]
    bad = [reason for reason in odd if reason]
    last = Counter(line for request in failed.all if (line := _last_line(request.error)))
    told = f"{now:.1%} of the requests ended in an error of the server ({before:.1%} before)"
    raised = f"; most say {last.most_common(1)[0][0]}" if last else ""
    if len(bad) > 0.5 * max(len(odd), 1):
        why = Counter(bad).most_common(1)[0][0]
        yield Judgement(
            Status.FAIL,
            f"{told}; {len(bad)} of {len(odd)} hold what should have been refused: {why}{raised}",
            now,
            share,
            faults={"unvalidated_input": 0.8},
        )
        return
    yield Judgement(Status.FAIL, told + raised, now, share, faults={"user_code_raises": 0.9})


def _quiet(subject: Subject, requests: Requests, control: Requests, share: float) -> Iterator[Judgement]:
    """Bad input that was answered as if it were good, in fields that the model looks at."""
    types = _types(control)
    types = {name: kinds for name, kinds in types.items() if name not in _ignored(subject)}
    answered, before = requests.answered.values("raw"), control.answered.values("raw")
    bad = [reason for value in answered if (reason := _oddity(value, types))]
    usual = sum(bool(_oddity(value, types)) for value in before)
    more = len(bad) / max(len(answered), 1) - usual / max(len(before), 1)
    # a column that is other in most requests changed upstream, which is the data's
    if share < more < 0.5:
        told = f"{len(bad)} of {len(answered)} answered requests hold what should have been refused"
        why = Counter(bad).most_common(1)[0][0]
        yield Judgement(Status.FAIL, f"{told}: {why}", more, share, faults={"unvalidated_input": 0.8})
        return
    yield passed(f"{_errors(requests):.1%} of the requests ended in an error of the server")


def _ignored(subject: Subject) -> frozenset[str]:
    """The fields that change no answer of the offline model, whatever is in them."""
    try:
        return ignored_columns(subject)
    except Missing:
        return frozenset()


def _errors(requests: Requests) -> float:
    return sum(request.outcome == "error" for request in requests.all) / max(len(requests), 1)


def _last_line(error: str) -> str:
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:120] if lines else ""


def _oddity(value: object, types: dict[str, set[str]]) -> str:
    """What is wrong with a raw sample, by the fields and types of the control's; empty where nothing is."""
    if not types:
        return ""
    row = _fields(value)
    for name, kinds in types.items():
        if name not in row:
            return f"no {name}" if name else "no fields"
        if (kind := _type(row[name])) not in kinds:
            return f"{name or 'the request'} is {'empty' if kind == 'nothing' else f'a {kind}'}"
    return ""


def _fields(value: object) -> dict[str, object]:
    """A raw sample as named fields; one that is no mapping is a field without a name."""
    return {str(name): item for name, item in value.items()} if isinstance(value, dict) else {"": value}


def _types(control: Requests) -> dict[str, set[str]]:
    """The types of every field that all of the control's samples have."""
    rows = [_fields(value) for value in control.answered.values("raw")[:500] if value is not None]
    if len(rows) < FEWEST:
        return {}
    names = set(rows[0]).intersection(*map(set, rows))
    return {name: {_type(row[name]) for row in rows} for name in sorted(names)}


def _type(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, int | float):
        return "number" if np.isfinite(value) else "number without end"
    if isinstance(value, list | tuple):
        return _shape(value)
    return "text" if isinstance(value, str) else type(value).__name__


def _shape(value: object) -> str:
    """The shape of nested lists of numbers; uneven ones have none."""
    try:
        array = np.asarray(value, dtype=float)
    except (ValueError, TypeError):
        return "list of other things"
    return f"list of the shape {' × '.join(map(str, array.shape))}"
