"""How soon: half a deviation on one of thirty features, and errors that go from ten to fifteen in a hundred."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from firstfault.monitor.incidents import Incident
from monitoring.served.bases import Base
from monitoring.served.plan import Change
from monitoring.served.populations import Drawn, Rng
from monitoring.served.stream import Maker, Shape

AT_ONCE = 50
"""Requests that detection is given at a time."""
ERRORS = 0.15
SHIFT = 0.5


def shifted(base: Base, rng: Rng) -> Change:
    """A sensor that the model looks at reads half a deviation too much, or too little."""
    name = f"sensor_{int(rng.integers(30)):02}"
    step = float(rng.choice([-SHIFT, SHIFT]) * base.train[name].std())
    return Change(raw=lambda raw, rng: [{**row, name: round(row[name] + step, 4)} for row in raw])


def more_errors(base: Base, rng: Rng) -> Change:
    """Nearly a tenth of the answers were wrong; now truths turn so that 15 in 100 are."""

    def truth(drawn: Drawn, rng: Rng) -> Any:
        usual = 0.0975  # of this base; tests hold the healthy error near it
        turned = rng.random(len(drawn.truth)) < (ERRORS - usual) / (1 - 2 * usual)
        return np.where(turned, 1 - drawn.truth, drawn.truth)

    return Change(truth=truth)


def delay(base: Base, seed: int, plan: Callable[[Base, Rng], Change], store: Path, labelled: float) -> dict[str, Any]:
    """Requests after the onset until an incident opened, and by which monitor; None where none did."""
    from firstfault.monitor.detect.detector import Detector

    rng = np.random.default_rng(seed)
    shape = Shape(before=4_000, after=3_000, labelled=labelled)
    stream = Maker(base, rng, shape).make(plan(base, rng), store)
    assert stream is not None
    detector = Detector()
    opened: Incident | None = None
    false = 0
    for start in range(0, len(stream.records), AT_ONCE):
        for incident in detector.feed(stream.records[start : start + AT_ONCE]):
            if incident.closed is not None:
                continue
            if incident.opened < stream.onset:
                false += 1
            elif opened is None:
                opened = incident
    return {
        "delay": stream.after(opened.opened) if opened is not None else None,
        "monitor": opened.monitor if opened is not None else "",
        "false": false,
        "harm": stream.harm,
    }
