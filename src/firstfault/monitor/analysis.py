"""From what a serving process handed over to a record that may be written: read, sampled, hashed, masked."""

from __future__ import annotations

from typing import Any

import msgspec

from firstfault.monitor.confidence import confidence_of_scores
from firstfault.monitor.dialects import NOTHING, Reading, read
from firstfault.monitor.masking import Mask, Quoted
from firstfault.monitor.record import (
    ARMS,
    CUTS,
    STAGES,
    Arm,
    Captured,
    Cuts,
    Outcome,
    Record,
    Resources,
    Stages,
    outcome_of,
    seconds_of,
)
from firstfault.monitor.sampling import Kept, Sampler
from firstfault.monitor.settings import Settings
from firstfault.monitor.snapshot import hash_of, readable

LONGEST_BODY = 65_536
"""Letters of a body that is kept: of a longer one nothing is, since a part of it is no JSON."""
LONGEST_NAME = 200
"""Letters of a model's name and version."""
MOST_QUEUED = 3_600.0
"""A front server's clock that is off by more says nothing of a queue."""


class Seen(msgspec.Struct):
    """What is known of every request, kept or not."""

    captured: Captured
    reading: Reading
    outcome: Outcome
    confidence: float | None
    kept: Kept | None


class Analyst:
    """The analysis of one writer."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        self.settings, self.key = settings, key
        self.mask = Mask(key)
        self.sampler = Sampler(settings)

    def see(self, captured: Captured) -> Seen:
        """Read a request, and decide whether it is kept."""
        reading = Reading("python") if captured.way == "function" else read(captured)
        if reading.model and captured.model in ("", "model"):
            captured.model = self.mask.text(reading.model[:LONGEST_NAME])  # anybody may call it so in a request
        captured.version = captured.version or reading.version[:LONGEST_NAME]
        confidence = _confidence(captured, reading)
        outcome = outcome_of(captured)
        fields = captured.values.get("raw") if reading.inputs is NOTHING else _first_row(reading.inputs)
        return Seen(captured, reading, outcome, confidence, self.sampler.decide(captured, outcome, confidence, fields))

    def record(self, seen: Seen, raw: str, resources: Resources | None) -> Record:
        """The masked record of a request that is kept, under the reference `raw`."""
        captured, reading, kept = seen.captured, seen.reading, seen.kept
        assert kept is not None
        quoted = self._quoted(captured, reading)
        return Record(
            request_id=self.mask.identity(captured.request_id),
            trace_id=captured.trace_id,
            span_id=captured.span_id,
            time=captured.time,
            way=captured.way,
            model=captured.model,
            version=captured.version,
            arm=Arm(captured.arm) if captured.arm in ARMS else Arm.CHAMPION,
            status=captured.status,
            outcome=seen.outcome,
            stages=_stages(captured),
            cuts=self._cuts(captured, reading),
            raw=raw,
            path=self._text(f"{captured.method} {captured.path}".strip(), quoted) + self._query(captured, quoted),
            dialect=reading.dialect,
            request=self._body(reading.asked, quoted),
            response=self._body(reading.answered, quoted),
            request_bytes=captured.request_bytes,
            response_bytes=captured.response_bytes,
            values=self._values(captured, quoted),
            headers={name: quoted.without(value) for name, value in self.mask.headers(captured).items()},
            error=self._text(captured.error, quoted),
            confidence=seen.confidence,
            resources=resources,
            stream=captured.stream,
            marks=tuple(self._text(mark, quoted) for mark in captured.marks),
            reasons=kept.reasons,
            weight=kept.weight,
            control=kept.control,
            label=captured.label,
        )

    def _quoted(self, captured: Captured, reading: Reading) -> Quoted:
        """The personal values that the request is known to hold, wherever they may be quoted."""
        found: dict[str, str] = {}
        for value in captured.values.values():
            found.update(self.mask.quoted(value))
        if reading.asked is not NOTHING:
            found.update(self.mask.quoted(reading.asked))
        elif captured.request:
            found.update(self.mask.quoted_in(captured.request.decode("utf-8", "replace")))
        if reading.answered is not NOTHING:
            found.update(self.mask.quoted(reading.answered))
        return Quoted(found)

    def _text(self, text: str, quoted: Quoted) -> str:
        return self.mask.text(quoted.without(text)) if text else ""

    def _query(self, captured: Captured, quoted: Quoted) -> str:
        return quoted.without(self.mask.query(captured.query))

    def _body(self, body: Any, quoted: Quoted) -> str:
        """A body as text; nothing of one that can't be read, in which nobody knows what is personal."""
        if body is NOTHING:
            return ""
        masked = quoted.deeply(self.mask.tree(body))
        text = masked if isinstance(masked, str) else msgspec.json.encode(masked).decode()
        return text if len(text) <= LONGEST_BODY else ""

    def _values(self, captured: Captured, quoted: Quoted) -> dict[str, Any]:
        return {name: quoted.deeply(self.mask.tree(readable(value))) for name, value in captured.values.items()}

    def _cuts(self, captured: Captured, reading: Reading) -> Cuts:
        values = {name: value for name, value in captured.values.items() if name in CUTS}
        if captured.way != "function":
            values = {**_shown(captured, reading), **values}
        return Cuts(**{name: hash_of(value, self.key) for name, value in values.items()})


def _shown(captured: Captured, reading: Reading) -> dict[str, Any]:
    """The values at the cuts that the bodies of a request and of its answer show."""
    shown = {
        "raw": captured.request or NOTHING,
        "tensor": reading.inputs,
        "label": reading.outputs if captured.status < 400 else NOTHING,
    }
    return {name: value for name, value in shown.items() if value is not NOTHING}


def _first_row(inputs: Any) -> Any:
    """The fields in which a request may be novel: of its first row, where it has several."""
    return inputs[0] if isinstance(inputs, list) and inputs else inputs


def _confidence(captured: Captured, reading: Reading) -> float | None:
    """How sure the answer is: as the user says, as its scores say, or as its body shows."""
    if captured.confidence is not None:
        return captured.confidence
    if "logits" in captured.values:
        return confidence_of_scores(readable(captured.values["logits"]))
    return reading.confidence


def _stages(captured: Captured) -> Stages:
    measured = {name: value for name, value in captured.stages.items() if name in STAGES}
    if "queue" not in measured and (queued := _queued(captured)) is not None:
        measured["queue"] = queued
    return Stages(captured.total, **measured)


def _queued(captured: Captured) -> float | None:
    """How long a front server says that the request had waited: `X-Request-Start: t=1700000000.123`, s, ms or µs."""
    for name, value in captured.headers:
        if name == b"x-request-start":
            try:
                waited = captured.time - seconds_of(float(value.lstrip(b"t=")))
            except ValueError:
                return None
            return waited if 0 <= waited < MOST_QUEUED else None
    return None
