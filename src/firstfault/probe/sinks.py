"""Where the numbers of a watched training go while it runs; none of them can stop it.

A sink is anything with `write(step, values)` and `close()`. Each has a thread and a bounded queue of its own: when the queue is
full, or the sink raises, values are dropped, and how many is said at the end.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from firstfault.probe.record import Record

logger = logging.getLogger(__name__)
WAITING = 1_000
SECONDS_TO_END = 5.0
Values = Mapping[str, Any]


class Sink(Protocol):
    """Takes the values of one step: numbers by name, and nested lists for pictures of attention."""

    def write(self, step: int, values: Values) -> None:
        """Take the values of a step."""

    def close(self) -> None:
        """Take no more."""


class Sinks:
    """Several sinks at once."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._pumps = [_Pump(sink) for sink in sinks]

    def send(self, record: Record, step: int) -> None:
        """Hand the latest values of a record to every sink."""
        if self._pumps:
            values = latest(record)
            for pump in self._pumps:
                pump.put(step, values)

    def close(self) -> dict[str, str]:
        """Close every sink; what each of them dropped, by its name."""
        return {pump.name: said for pump in self._pumps if (said := pump.close())}


def latest(record: Record) -> dict[str, Any]:
    """The last value of every series of a record, by name, and the last attention patterns."""
    series = {name: getattr(record, name) for name in ("loss", "lr", "grad_norm", "update_ratio")}
    for name, entry in record.parameters.items():
        series |= {f"gradient/{name}": entry.gradient, f"weight/{name}": entry.weight, f"update/{name}": entry.update}
    for name, seen in record.activations.items():
        series |= {f"activation/{name}/{what}": getattr(seen, what) for what in ("mean", "std", "zero", "beyond", "largest")}
    series |= {f"attention/{name}/entropy": seen.entropy for name, seen in record.attention.items()}
    values: dict[str, Any] = {name: found.values[-1] for name, found in series.items() if len(found)}
    return values | {f"attention/{name}/pattern": seen.pattern for name, seen in record.attention.items()}


class _Pump:
    """A sink with a thread of its own."""

    def __init__(self, sink: Sink) -> None:
        self.name = type(sink).__name__
        self._sink = sink
        self._queue: queue.Queue[tuple[int, Values] | None] = queue.Queue(WAITING)
        self._sent = self._dropped = 0
        self._error = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"firstfault {self.name}")
        self._thread.start()

    def put(self, step: int, values: Values) -> None:
        self._sent += 1
        try:
            self._queue.put_nowait((step, values))
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error:
                self._dropped += 1
                continue
            try:
                self._sink.write(*item)
            except Exception as error:
                self._error, self._dropped = f"{type(error).__name__}: {error}", self._dropped + 1
                logger.warning("the sink %s failed, and gets no more: %s", self.name, self._error)
        try:
            self._sink.close()
        except Exception as error:
            self._error = self._error or f"{type(error).__name__}: {error}"

    def close(self) -> str:
        try:
            self._queue.put(None, timeout=SECONDS_TO_END)
        except queue.Full:
            self._dropped += self._queue.qsize()
        self._thread.join(SECONDS_TO_END)
        waiting = self._queue.qsize() if self._thread.is_alive() else 0
        lost = self._dropped + waiting
        reason = self._error or ("it was too slow" if lost else "")
        return f"dropped {lost} of {self._sent} steps: {reason}" if lost or self._error else ""


class JsonLines:
    """One JSON object per sampled step, in a file."""

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 (closed by close)

    def write(self, step: int, values: Values) -> None:
        """Take the values of a step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
