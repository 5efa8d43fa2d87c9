"""Where the numbers of a watched training go while it runs; none of them can stop it.

A sink is anything with `write(step, values)` and `close()`. It may have more: `begin(name, folder)` is called before
the first step, `fail(reason)` before `close` where the loop raised; with `wants_samples = True` it is given a few
hundred values
of every gradient, weight and activation now and then. All are called in a thread of the sink's own, behind a bounded
queue: when the queue is full, or the sink raises or hangs, steps are dropped, and how many is said at the end.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from firstfault.errors import told
from firstfault.finding import plain
from firstfault.probe.record import Record
from firstfault.probe.samples import Samples, Spacing

logger = logging.getLogger(__name__)
WAITING = 1_000
"""Sampled steps that may wait for a slow sink: bounds the memory."""
SECONDS_IDLE = 8.0
"""At the end of the training a sink is waited for this long without a write of it that ends,"""
SECONDS_TO_END = 30.0
"""and all together this long, in which one whose writes have ended may close: some pack what they hold, or send it."""
Values = Mapping[str, Any]


class Sink(Protocol):
    """Takes the values of sampled steps by name: numbers, attention patterns as lists, samples as arrays `(n,)`."""

    def write(self, step: int, values: Values) -> None:
        """Take the values of a step."""

    def close(self) -> None:
        """Take no more."""


class Lost(Exception):
    """Raised by a sink that gathers steps before it sends them: how many that it took before are gone."""

    def __init__(self, reason: str, steps: int) -> None:
        super().__init__(reason)
        self.steps = steps


class Sinks:
    """Several sinks at once; `samples` is what the probe fills for those that want samples."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._pumps = [_Pump(sink, name) for sink, name in zip(sinks, _names(sinks), strict=True)]
        self._last = 0
        self._pictures = Spacing()
        self.samples = Samples() if any(pump.wants_samples for pump in self._pumps) else None

    def begin(self, name: str, folder: Path) -> None:
        """Start the sinks of a training with this name and folder."""
        for pump in self._pumps:
            pump.begin(name, folder)

    def send(self, record: Record, step: int) -> None:
        """Hand what a record has new since the last call to every sink."""
        if not self._pumps:
            return
        values = latest(record, self._last, pictures=self._pictures.reached(step))
        samples = self._samples_of(step)
        self._last = step
        for pump in self._pumps:
            pump.put(step, MappingProxyType({**values, **samples} if pump.wants_samples else values))

    def note(self, step: int, values: Values) -> None:
        """Hand single values to every sink."""
        for pump in self._pumps:
            pump.put(step, MappingProxyType(dict(values)))

    def _samples_of(self, step: int) -> dict[str, Any]:
        if self.samples is None or self.samples.failed:
            return {}
        try:
            return self.samples.pull(step)
        except Exception as error:
            self.samples.failed = told(error)
            return {}

    def close(self, crash: BaseException | None = None) -> dict[str, str]:
        """Close every sink, in bounded time; what each of them dropped, by its name."""
        for pump in self._pumps:
            pump.end(told(crash) if crash is not None else "")
        until = time.monotonic() + SECONDS_TO_END
        said = {pump.name: said for pump in self._pumps if (said := pump.wait(until))}
        for name, text in said.items():
            logger.warning("the sink %s %s", name, text)
        return said | ({"histograms": self.samples.failed} if self.samples is not None and self.samples.failed else {})


def latest(record: Record, after: int = 0, *, pictures: bool = True) -> dict[str, Any]:
    """The last value of every series of a record by name, where it is of a step later than `after`.

    With `pictures`, the last attention patterns too.
    """
    series = {name: getattr(record, name) for name in ("loss", "lr", "grad_norm", "update_ratio")}
    for name, entry in record.parameters.items():
        series |= {f"gradient/{name}": entry.gradient, f"weight/{name}": entry.weight, f"update/{name}": entry.update}
    for name, seen in record.activations.items():
        series |= {
            f"activation/{name}/{what}": getattr(seen, what) for what in ("mean", "std", "zero", "beyond", "largest")
        }
        if len(seen.dead) and not math.isnan(seen.dead.last[1]):
            series[f"activation/{name}/dead"] = seen.dead
    attention = {name: seen for name, seen in record.attention.items() if seen.entropy.last[0] > after}
    series |= {f"attention/{name}/entropy": seen.entropy for name, seen in attention.items()}
    values: dict[str, Any] = {name: found.last[1] for name, found in series.items() if found.last[0] > after}
    return values | (
        {f"attention/{name}/pattern": seen.pattern for name, seen in attention.items()} if pictures else {}
    )


def _names(sinks: Sequence[Sink]) -> list[str]:
    """The class of each sink, with a number from the second of a class on."""
    kinds = [type(sink).__name__ for sink in sinks]
    counts = [kinds[: place + 1].count(kind) for place, kind in enumerate(kinds)]
    return [kind if count == 1 else f"{kind} {count}" for kind, count in zip(kinds, counts, strict=True)]


class _Pump:
    """A sink with a queue and a thread of its own."""

    def __init__(self, sink: Sink, name: str) -> None:
        self.name = name
        self.wants_samples = bool(getattr(sink, "wants_samples", False))
        self._sink = sink
        self._queue: queue.Queue[tuple[int, Values] | None] = queue.Queue(WAITING)
        self._sent = self._written = 0
        self._error = self._failed = ""
        self._thread: threading.Thread | None = None

    def begin(self, name: str, folder: Path) -> None:
        self._process = os.getpid()
        self._progress = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(name, folder), daemon=True, name=f"firstfault {self.name}"
        )
        self._thread.start()

    def put(self, step: int, values: Values) -> None:
        # a fork has no such thread, and maybe a lock that nobody opens
        if self._thread is None or os.getpid() != self._process:
            return
        self._sent += 1
        try:
            self._queue.put_nowait((step, values))
        except queue.Full:
            return

    def _run(self, name: str, folder: Path) -> None:
        if hasattr(self._sink, "begin"):
            self._guarded(self._sink.begin, name, folder)
        while (item := self._queue.get()) is not None:
            if not self._error and self._guarded(self._sink.write, *item):
                self._written += 1
        if self._failed and hasattr(self._sink, "fail"):
            self._guarded(self._sink.fail, self._failed)
        self._progress = math.inf
        self._guarded(self._sink.close)

    def _guarded(self, call: Any, *args: Any) -> bool:
        try:
            call(*args)
        except BaseException as error:
            self._written -= error.steps if isinstance(error, Lost) else 0
            if not self._error:
                self._error = str(error) if isinstance(error, Lost) else told(error)
                logger.warning("the sink %s failed, and gets no more: %s", self.name, self._error)
            return False
        finally:
            self._progress = time.monotonic()
        return True

    def end(self, failed: str) -> None:
        """Let the thread come to its end after what waits."""
        if self._thread is None or os.getpid() != self._process:
            return
        self._failed, self._progress = failed, time.monotonic()
        while True:
            try:
                self._queue.put_nowait(None)
                return
            except queue.Full:
                self._make_room()

    def _make_room(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return

    def wait(self, until: float) -> str:
        """Wait for the thread, at most until then and while it gets on; says what was dropped."""
        if self._thread is None or os.getpid() != self._process:
            return ""
        while self._thread.is_alive() and (left := min(until, self._progress + SECONDS_IDLE) - time.monotonic()) > 0:
            self._thread.join(left)
        hangs = self._thread.is_alive()
        lost = max(0, self._sent - self._written)
        if not lost:
            return (
                "did not close in time: its last steps may be missing"
                if hangs
                else self._error and f"failed at its end: {self._error}"
            )
        slow = "it hangs, or is too slow" if hangs else "it was too slow"
        return f"dropped {lost} of {self._sent} steps: {self._error or slow}"


class JsonLines:
    """One JSON object per sampled step, in a file; NaN and infinities are the strings "nan", "inf" and "-inf".

    Args:
        path: of the file; steps.jsonl in the training's folder when left out.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = Path(path) if path is not None else None
        self._file: Any = None

    def begin(self, name: str, folder: Path) -> None:
        """Open the file."""
        path = self._path or folder / "steps.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def write(self, step: int, values: Values) -> None:
        """Take the values of a step."""
        self._file.write(json.dumps(plain({"step": step, **values}), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
