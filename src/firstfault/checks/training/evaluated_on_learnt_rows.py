"""A watched training that is evaluated on what it learnt from."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject


@check(layer=Layer.TRAINING, needs={"record"}, detects={"validation_contamination": 0.9})
def evaluated_on_learnt_rows(subject: Subject, *, fewest: int = 32) -> Iterator[Judgement]:
    """Find watched trainings whose validation batches are batches that were learnt from.

    Measures: of the last 100 batches that are evaluated in eval mode, without gradients, how many have most of their
        rows, by a hash, among those of the 400 first batches that were learnt from before.
    Fails when: all batches of at least `fewest` rows are such ones that the script calls validation or test: in the
        names of the lines that evaluate them, or of the loop around.
    Warns when: the script calls them nothing, and no other batch is evaluated.
    Not a fault when: the script calls them training data; every batch that is learnt from is the same, as a whole graph
        with masks is; or rows come again by themselves, as words and states do.
    Source: Kapoor & Narayanan 2023, no clean separation of training and test data. The bounds are a choice of ours;
        tests/probe/test_loop_rules.py holds the cases that they separate.
    """
    seen = {name: each for name, each in subject.record.evaluated.items() if each["rows"]}
    if not seen:
        yield skipped("no batch was evaluated in eval mode after it could have been learnt from")
        return
    named, unnamed = (seen.get(name, {"batches": 0, "rows": 0, "learnt": 0}) for name in ("held-out", ""))
    others = sum(each["batches"] - each["learnt"] for each in seen.values())
    if named["rows"] >= fewest and named["learnt"] == named["batches"]:
        yield _told(named["learnt"], "that are validated on")
    elif unnamed["rows"] >= fewest and unnamed["learnt"] == unnamed["batches"] and not others and not named["rows"]:
        yield _told(unnamed["learnt"], "that are evaluated", sure=False)
    else:
        yield passed("what is evaluated was not learnt from, or is called training data")


def _told(batches: int, which: str, *, sure: bool = True) -> Judgement:
    return Judgement(
        Status.FAIL if sure else Status.WARN,
        f"all batches {which} ({batches}) are rows that the training had learnt from before",
        value=batches,
        threshold=0,
        where=Place.part("validation loop"),
        faults={"validation_contamination": 0.9 if sure else 0.3},
        fix="evaluate on rows that are held out of the training",
    )
