"""What was done while the training ran: its safety over the epochs, and the action that ended it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place
from firstfault.subject.subject import Subject

PARTS = frozenset({"activations", "functions", "histograms"})
"""What the watch itself passes over, where it would have to change the training to see it."""


@check(layer=Layer.TRAINING, needs={"record"}, detects={"misaligned": 0.9})
def safety_in_training(subject: Subject) -> Iterator[Judgement]:
    """Tell how safety and capability went over the epochs, and whether training broke what the model had kept.

    Measures: the last safety_score, 0–1, of the evaluations that `Safety(every=…)` asks for.
    Fails when: an evaluation finds a violation after one that found none. The training ended there, and the last good
        checkpoint is offered; the model that is judged further stays the one at the end.
    Source: Ouyang et al. 2022 and Askell et al. 2021 (alignment tax). No bound is needed: the safety evaluation says
        what a violation is.
    """
    rows = subject.record.safety
    if not rows:
        yield skipped("safety was not evaluated on the way: Safety(every=1) does so every epoch")
        return
    last = rows[-1]
    if last["critical"]:
        good = [row["epoch"] for row in rows if not row["violations"] and row["last_good"]]
        yield Judgement(
            Status.FAIL,
            f"epoch {last['epoch']} violates what epoch {good[-1]} met: {last['violations'][0]}; "
            f"the training was stopped, and the checkpoint of epoch {good[-1]} is {_place(last['last_good'], subject)}",
            value=last["safety_score"],
            where=Place(Kind.EPOCH, (str(last["epoch"]),)),
            faults=last["faults"] or None,
            fix="go back to the last good checkpoint; lower the learning rate, or mix in data that keeps the behaviour",
        )
        return
    if last["epoch"] == 0:
        yield skipped(
            "safety was evaluated before the training only: no epoch in which it is due ended; "
            "an epoch is a pass over a torch DataLoader, and other loops call end_epoch() of the watch"
        )
        return
    able = (
        f", capability_score from {rows[0]['capability_score']:.3f} to {last['capability_score']:.3f}"
        if math.isfinite(last["capability_score"])
        else ""
    )
    tax = f", alignment_tax {last['alignment_tax']:.3f}" if math.isfinite(last["alignment_tax"]) else ""
    yield passed(
        f"over {len(rows)} evaluations safety_score went from {rows[0]['safety_score']:.3f} "
        f"to {last['safety_score']:.3f}{able}{tax}",
        value=last["safety_score"],
    )


def _place(path: str, subject: Subject) -> str:
    """A path relative to the run's folder, where it lies in it."""
    place = Path(path)
    return str(place.relative_to(subject.folder)) if place.is_relative_to(subject.folder) else path


@check(layer=Layer.TRAINING, needs={"record"}, detects={"stalled": 0.1})
def stopped_by_action(subject: Subject) -> Iterator[Judgement]:
    """Tell what the actions on findings did while the training ran, and which finding ended it.

    Measures: the number of actions.
    Warns when: one of them ended the training.
    Source: Amazon SageMaker Debugger, built-in actions of rules.
    """
    record = subject.record
    if not record.acts and not record.stopped:
        yield skipped("no action was asked for, or none had anything to act on")
        return
    done = "; ".join(
        f"{act['action']} at step {act['step']} on {act['check']}" + (f" ({act['result']})" if act["result"] else "")
        for act in record.acts[:6]
    )
    if not record.stopped:
        yield passed(f"{len(record.acts)} actions while it ran: {done}", value=len(record.acts))
        return
    yield Judgement(
        Status.WARN,
        f"the training was ended in the loop, at {record.stopped}" + (f". Before: {done}" if done else ""),
        value=len(record.acts),
        faults={},
        where=Place(Kind.STEP, step=record.stopped_at),
        fix="repair what the finding says, and train again",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"stalled": 0.1})
def watched_in_full(subject: Subject) -> Iterator[Judgement]:
    """Tell what the watch had to pass over, and what a sink, an event or a checkpoint lost on its way.

    Measures: the number of parts that were passed over or lost.
    Warns when: there is one. It is no fault of the training: it says what the verdict does not rest on.
    Not a fault when: activations, functions or histograms alone were passed over, as seeing them would have changed the
        training; then it is skipped, with the reason.
    Source: a choice of ours; tests/watcher/test_watched_in_full.py holds the cases that it separates.
    """
    lost = subject.record.passed_over
    if not lost:
        yield passed("nothing was passed over, and nothing was lost on the way to a sink", value=0)
        return
    said = "; ".join(f"{name}: {reason}" for name, reason in lost.items())
    if lost.keys() <= PARTS:
        yield skipped(f"passed over: {said}")
        return
    yield Judgement(
        Status.WARN,
        f"lost on the way, or passed over: {said}",
        value=len(lost),
        faults={},
        fix="see to the sink or store that is named",
    )
