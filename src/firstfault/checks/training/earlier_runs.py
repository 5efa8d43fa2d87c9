"""A training compared with the last one of the same name, whose summary lies in the folder of its run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training.gradient_rules import middle
from firstfault.finding import Layer, Status
from firstfault.output.whole_files import write_json
from firstfault.subject.subject import Subject

SUMMARY = "training_summary.json"
MOST_RUNS = 50  # summaries read, the newest first: bounds the time in a folder of many runs


@check(layer=Layer.TRAINING, needs={"record"}, detects={"nonreproducible": 0.1})
def similar_across_runs(subject: Subject, *, worse: float = 1.5, times: float = 10.0) -> Iterator[Judgement]:
    """Look whether loss, gradients and updates resemble those of the last run of the same name.

    Measures: the final training loss over that of the last run; runs of other length or parameters are not compared.
    Warns when: the loss is larger, by more than `worse` times, or the median gradient or update is `times` larger or
        smaller: something changed between the runs.
    Source: Amazon SageMaker Debugger, SimilarAcrossRuns. The bounds are a choice of ours;
        tests/checks/training/test_rules.py holds the cases that they separate.
    """
    own = _summary(subject)
    before = _last_of(subject.target.name, subject.folder)
    write_json(subject.folder / SUMMARY, own, indent=None)
    if None in own.values():
        yield skipped("loss, gradients or updates of this run are not finite")
        return
    if before is None or before["parameters"] != own["parameters"] or before["steps"] != own["steps"]:
        yield skipped("there is no earlier run of the same name, length and parameters beside this one")
        return
    changed = [name for name in ("gradient", "update") if not 1 / times < _ratio(own[name], before[name]) < times]
    value = _ratio(own["loss"], before["loss"])
    text = f"the loss ends at {own['loss']:.3g}, in the last run at {before['loss']:.3g}"
    if not changed and (value <= worse or own["loss"] <= before["loss"]):
        yield passed(f"{text}; gradients and updates are alike", value=value)
        return
    also = f"; {' and '.join(changed)} changed by more than {times:g} times" if changed else ""
    yield Judgement(
        Status.WARN, text + also, value=value, threshold=worse, faults={}, fix="look what changed between the two runs"
    )


def _summary(subject: Subject) -> dict[str, Any]:
    record = subject.record
    numbers = {
        "loss": record.loss_ends()[1],
        "gradient": middle(record.grad_norm),
        "update": middle(record.update_ratio),
    }
    return {
        "name": subject.target.name,
        "steps": record.steps,
        "parameters": sum(entry.size for entry in record.parameters.values()),
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
    }


def _last_of(name: str, folder: Path) -> Mapping[str, Any] | None:
    """The newest summary of that name in the folders beside this one."""
    files = [path for path in folder.resolve().parent.glob(f"*/{SUMMARY}") if path.parent != folder.resolve()]
    for path in sorted(files, key=_written_at, reverse=True)[:MOST_RUNS]:
        try:
            found = json.loads(path.read_text())
            if found["name"] == name and all(found[key] is not None for key in ("loss", "gradient", "update")):
                return found  # type: ignore[no-any-return]
        except (ValueError, KeyError, TypeError, OSError):
            continue
    return None


def _written_at(path: Path) -> float:
    """When a file was last written; 0 where another run has just removed it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _ratio(one: float, other: float) -> float:
    return abs(one) / max(abs(other), 1e-12)
