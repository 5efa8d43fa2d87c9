"""From records to an incident as the checks know it: samples at the cuts, stages, resources, and how it was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from firstfault.monitor.incidents import Incident
from firstfault.monitor.record import STAGES, Record
from firstfault.monitor.snapshot import PART
from firstfault.subject.incident import Evidence, Request, Requests, Telemetry

ANSWERS = ("label", "labels", "prediction", "predictions", "class", "answer", "result", "output", "outputs", "text")
SCORES = ("logits", "probabilities", "probas", "scores", "probability", "proba", "score")
INPUTS = ("dataframe_split", "dataframe_records", "instances", "inputs", "rows", "data", "features")
DRAWN = ("sample", "control")
JUMP_SECONDS = 1.0


def evidence_of(
    incident: Incident,
    records: Iterable[Record],
    control: Iterable[Record],
    telemetry: Telemetry | None = None,
    usual: Iterable[Record] = (),
) -> Evidence:
    """The evidence of an incident: its records beside those of its control, and those that said what is usual."""
    bad, good = _sorted(records), _sorted(control)
    seen = telemetry or Telemetry()
    arms = {"arms": _arms(bad), "control_arms": _arms(good)} if not seen.arms else {}
    return Evidence(
        incident.id,
        incident.monitor,
        incident.message,
        Requests(tuple(map(request_of, bad))),
        Requests(tuple(map(request_of, good))),
        replace(seen, **arms, counted=seen.counted or len(bad), jumps=_jumps(bad), unlabelled=_unlabelled(good, bad)),
        Requests(tuple(map(request_of, _sorted(usual)))),
    )


def _sorted(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.time, record.raw))


def _arms(records: Sequence[Record]) -> dict[str, int]:
    return dict(Counter(str(record.arm) for record in records))


def _jumps(records: Sequence[Record]) -> int:
    """How often a clock went back within one writer, whose records are numbered in their order."""
    by_writer: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        writer, _, position = record.raw.rpartition(":")
        if position.isdigit():
            by_writer.setdefault(writer, []).append((int(position), record.time))
    jumps = 0
    for rows in by_writer.values():
        times = [time for _, time in sorted(rows)]
        jumps += sum(after < before - JUMP_SECONDS for before, after in zip(times, times[1:], strict=False))
    return jumps


def _unlabelled(control: Sequence[Record], records: Sequence[Record]) -> tuple[float, float] | None:
    shares = [
        sum(record.label is None for record in group) / len(group) if group else 1.0 for group in (control, records)
    ]
    return (shares[0], shares[1]) if shares[0] < 1 else None


def request_of(record: Record) -> Request:
    """One record as a request of an incident."""
    asked, answered = _asked(record), _answered(record)
    raw = _samples(asked, answered)
    samples = len(raw) if raw is not None else 1
    tensor, logits = record.values.get("tensor"), record.values.get("logits", _scores(answered))
    return Request(
        id=record.request_id,
        time=record.time,
        raw=raw,
        tensor=_each(tensor, samples),
        logits=_each(logits, samples),
        label=_each(_label(answered), samples, answer=True),
        truth=_each(record.label, samples, answer=True),
        hashes={name: value for name in ("raw", "tensor", "logits", "label") if (value := getattr(record.cuts, name))},
        total=record.stages.total,
        stages={name: value for name in STAGES if (value := getattr(record.stages, name)) is not None},
        size=record.request_bytes,
        outcome=str(record.outcome),
        status=record.status,
        confidence=record.confidence,
        version=record.version,
        arm=str(record.arm),
        replica=record.raw.rpartition(":")[0].rpartition("/")[2],
        error=record.error,
        resources=_resources(record),
        client=_client(record),
        marks=record.marks,
        uniform=not record.reasons or any(reason in DRAWN for reason in record.reasons),
    )


def _resources(record: Record) -> dict[str, float]:
    used = record.resources
    names = ("cpu", "rss", "throttled")
    return {} if used is None else {name: float(v) for name in names if (v := getattr(used, name)) is not None}


def _client(record: Record) -> float:
    """How long an answer that was ready waited for its client, part by part."""
    if record.stream is None:
        return 0.0
    stages = sum(value for name in STAGES if (value := getattr(record.stages, name)) is not None)
    return record.stages.total - record.stream.first if 0 < stages <= 1.1 * record.stream.first else 0.0


def _asked(record: Record) -> Any:
    if "raw" in record.values:
        return record.values["raw"]
    body = _decoded(record.request)
    if isinstance(body, dict):
        return next((body[name] for name in INPUTS if isinstance(body.get(name), list | dict)), body)
    return body


def _answered(record: Record) -> Any:
    return record.values["label"] if "label" in record.values else _decoded(record.response)


def _decoded(text: str) -> Any:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _samples(asked: Any, answered: Any) -> list[Any] | None:
    """The samples of a request: the rows of a table or a list of them, else the request itself."""
    if asked is None or (isinstance(asked, dict) and PART in asked):
        return None
    if isinstance(asked, dict):
        rows = asked.get("rows", asked.get("data"))
        if isinstance(asked.get("columns"), list) and isinstance(rows, list):
            return [dict(zip(map(str, asked["columns"]), row, strict=False)) for row in rows]
        wrapped = [asked[name] for name in INPUTS if isinstance(asked.get(name), list)]
        return _samples(wrapped[0], answered) if len(asked) == 1 and wrapped else [asked]
    if isinstance(asked, list) and asked and all(isinstance(item, dict) for item in asked):
        return asked
    return list(asked) if isinstance(asked, list) and _is_batch(asked, answered) else [asked]


def _is_batch(asked: list[Any], answered: Any) -> bool:
    """Whether a list holds samples, and is none itself: an answer came for each."""
    label = _label(answered)
    return isinstance(label, list) and len(label) == len(asked) and isinstance(asked[:1], list) and bool(asked)


def _label(answered: Any) -> Any:
    if not isinstance(answered, dict):
        return answered
    found = next((answered[name] for name in ANSWERS if name in answered), None)
    if isinstance(found, list) and found and all(isinstance(item, dict) for item in found):
        return [_label(item) for item in found]
    return _label(found) if isinstance(found, dict) else found


def _scores(answered: Any) -> Any:
    if isinstance(answered, dict):
        found = next((answered[name] for name in SCORES if name in answered), None)
        return list(found.values()) if isinstance(found, dict) else found
    if isinstance(answered, list) and answered and all(isinstance(item, dict) for item in answered):
        scores = [_scores(item) for item in answered]
        return None if any(score is None for score in scores) else scores
    return None


def _each(value: Any, samples: int, *, answer: bool = False) -> list[Any] | None:
    """A value of each sample; None where it is not known."""
    if value is None or (isinstance(value, dict) and PART in value):
        return None
    if samples == 1:
        return [value[0]] if answer and isinstance(value, list) and len(value) == 1 else [value]
    return value if isinstance(value, list) and len(value) == samples else None
