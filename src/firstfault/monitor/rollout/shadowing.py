"""A proxy in front of a champion, which hands copies of its requests over to a mirror: it never waits for that.

A copy is handed over when the champion's answer is out, through a queue in memory, to a process of its own. What has no
room there is dropped, and counted.
"""

from __future__ import annotations

import time
from collections import Counter

import msgspec

from firstfault.monitor.framing import Head
from firstfault.monitor.proxy import Proxied
from firstfault.monitor.proxy_exchange import ProxyExchange
from firstfault.monitor.record import Captured
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.ring import Ring
from firstfault.monitor.rollout.splitting import SALT
from firstfault.monitor.sampling import draw
from firstfault.monitor.settings import MEBIBYTE
from firstfault.monitor.timeline import Beginning
from firstfault.monitor.upstream import Upstream

_encode = msgspec.msgpack.Encoder().encode


class Limits(msgspec.Struct, frozen=True):
    """What copying may cost at most."""

    concurrency: int = 8
    """Copies under way."""
    queue_bytes: int = 16 * MEBIBYTE
    """Of the copies that wait."""
    body_bytes: int = MEBIBYTE
    """Of one request; a larger one is not copied."""
    answer_bytes: int = 8 * MEBIBYTE
    """Of one answer, which is read no further; where the champion's is larger, nothing is copied."""
    seconds: float = 10.0
    """That one may wait, and that it may then take."""
    retries: int = 1
    """Where no byte of an answer came."""


class Copy(msgspec.Struct, array_like=True):
    """A request that is to be asked again, on its way to the mirror; it is never written to disk."""

    offered: float
    """When, by the clock that all processes share and nobody sets."""
    head: bytes
    body: bytes
    sampled: bool
    """Of its trace."""
    champion: Captured
    """What the champion's answer was."""


class Copied(Beginning):
    """A request's body, kept as far as it is recorded, and as far as it may be copied."""

    __slots__ = ("whole",)

    def __init__(self, limit: int, most: int) -> None:
        Beginning.__init__(self, limit)
        self.whole = Beginning(most)

    def add(self, chunk: bytes) -> None:
        """Note a part that has passed."""
        Beginning.add(self, chunk)
        self.whole.add(chunk)


class Original(ProxyExchange):
    """The champion's request, with what its copy needs."""

    __slots__ = ("copied", "head")

    def __init__(self, recorder: Recorder, head: Head, method: str, target: str, most: int) -> None:
        super().__init__(recorder, head, method, target)
        self.head = head
        self.body = self.copied = Copied(recorder.settings.body, most)


class Shadowed(Proxied):
    """A client's connection to the champion, whose requests are copied once they are answered."""

    def __init__(self, recorder: Recorder, upstream: Upstream, connections: set[Proxied], copies: Copies) -> None:
        super().__init__(recorder, upstream, connections)
        self.copies = copies

    def exchange_of(self, head: Head, method: str, target: str) -> ProxyExchange:
        """A request begins."""
        return Original(self.recorder, head, method, target, self.copies.limits.body_bytes)

    def over(self) -> None:
        """An answer is over: its request may be copied."""
        exchange = self.open[0] if self.open else None
        recorded = exchange is not None and not exchange.taken
        super().over()
        if recorded and isinstance(exchange, Original):
            self.copies.offer(exchange)


class Copies:
    """The proxy's end of the queue to the mirror."""

    def __init__(self, ring: Ring, limits: Limits, share: float = 1.0) -> None:
        self.ring, self.limits, self.share = ring, limits, share
        self.counts = Counter[str]()

    def offer(self, original: Original) -> None:
        """Hand a request over, if its id is drawn and there is room."""
        capture = original.capture
        if original.status == 101 or draw(capture.request_id, SALT) >= self.share:
            return
        limits, body = self.limits, original.copied
        if body.size > limits.body_bytes or original.answer.size > limits.answer_bytes:
            self.counts["too large"] += 1
            return
        copy = Copy(time.monotonic(), original.head.raw, body.whole.kept(), capture.trace.sampled, original.captured())
        if not self.ring.put(_encode(copy)):
            self.counts["queue full"] += 1
