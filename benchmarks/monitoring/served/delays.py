"""How soon: half a deviation on one of thirty features that the model uses, and errors that go from 10 to 15 %."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from firstfault.monitor.incidents import Incident
from monitoring.served.bases import Base
from monitoring.served.plan import Change
from monitoring.served.populations import Drawn, Rng
from monitoring.served.stream import Maker, Shape

AT_ONCE = 50
"""Requests that detection is given at a time."""
ERRORS = 0.15
SHIFT = 0.5
TURNED = 0.01
"""Of the answers, so many must turn: what is looked for is harm, and a column that the model hardly looks at has none.

Of ten shifts in any of the thirty, the three that were not seen within 3,000 requests had turned less.
"""


def shifted(base: Base, rng: Rng) -> Change:
    """A sensor that the model uses reads half a deviation too much, or too little."""
    name = str(rng.choice(_used(base)))
    step = float(rng.choice([-SHIFT, SHIFT]) * base.train[name].std())
    return Change(raw=lambda raw, rng: [{**row, name: round(row[name] + step, 4)} for row in raw])


def _used(base: Base) -> list[str]:
    """The columns of which half a deviation turns enough of the answers."""
    rows, answers = base.train, _answers(base, base.train)
    turned = {
        name: answers != _answers(base, rows.assign(**{name: rows[name] + SHIFT * rows[name].std()}))
        for name in base.numbers()
    }
    return [name for name, which in turned.items() if which.float().mean() >= TURNED]


def _answers(base: Base, rows: Any) -> torch.Tensor:
    with torch.no_grad():
        answers: torch.Tensor = base.model(base.prepare(rows)).argmax(1)
    return answers


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
