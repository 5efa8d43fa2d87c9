"""What an incident's report is suspected of, undone fault by fault: the list of who undoes what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from firstfault.ablation.replay.answers import undo_answers
from firstfault.ablation.replay.columns import undo_columns
from firstfault.ablation.replay.folds import unproven
from firstfault.ablation.replay.prompts import undo_prompts
from firstfault.ablation.replay.rows import undo_rows
from firstfault.ablation.replay.seconds import undo_seconds
from firstfault.ablation.replay.window import undo_training
from firstfault.finding import Layer, LayerReport
from firstfault.standing import suspected
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome

Undo = Callable[[Subject, LayerReport, Sequence[str]], list[Outcome]]


def _seen_wrong(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """What is not of the requests, but of how they were seen, or of the server's own code, is proven by its record."""
    return [unproven(fault, "no replay undoes it; it stands on what was recorded", undecided=False) for fault in faults]


COLUMNS = (
    "schema_change",
    "type_change",
    "unit_change",
    "upstream_default",
    "sentinel_value",
    "missing_values",
    "stale_feature",
    "unseen_category",
    "out_of_range",
    "covariate_drift",
)
ANSWERS = (
    "train_serve_skew",
    "missing_normalisation",
    "tokenizer_mismatch",
    "schema_mismatch",
    "batch_dependence",
    "weights_not_loaded",
    "train_mode_serving",
    "precision_loss",
    "wrong_version_routed",
    "cache_corruption",
    "label_map_mismatch",
)
SECONDS = (
    "latency_regression",
    "cpu_throttled",
    "queue_saturation",
    "cold_start",
    "payload_growth",
    "thread_oversubscription",
    "blocking_telemetry",
    "memory_growth",
)
UNDOES: Mapping[str, Undo] = {
    **dict.fromkeys(COLUMNS, undo_columns),
    **dict.fromkeys(("gibberish_input", "duplicate_rows"), undo_rows),
    **dict.fromkeys(ANSWERS, undo_answers),
    **dict.fromkeys(SECONDS, undo_seconds),
    **dict.fromkeys(("harmful_output", "over_refusal"), undo_prompts),
    **dict.fromkeys(("concept_drift", "label_drift", "model_decay"), undo_training),
}


def _loop(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """Answers that are fed back as inputs are undone as columns, labels that follow them as the training."""
    by_data = report.layer is Layer.DATA
    return undo_columns(subject, report, faults) if by_data else undo_training(subject, report, faults)


def undo(subject: Subject, report: LayerReport) -> list[Outcome]:
    """Test everything that a report of an incident is suspected of."""
    faults = list(suspected(report))
    by: dict[Undo, list[str]] = {}
    for fault in faults:
        by.setdefault(_loop if fault == "feedback_loop" else UNDOES.get(fault, _seen_wrong), []).append(fault)
    found = [
        outcome for function, names in by.items() for outcome in functools.partial(function, subject)(report, names)
    ]
    known = {outcome.fault: replace(outcome, replayed=outcome.confirmed is not None) for outcome in found}
    return [known[fault] for fault in faults]
