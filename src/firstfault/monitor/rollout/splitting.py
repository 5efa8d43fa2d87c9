"""A proxy that gives each request to one of two arms, by a hash of its id or of a header, always the same one.

Each request has a connection of its own to its server, whichever arm it is: were they kept open, the arm with fewer
requests would find its connections closed more often, and be called slow or bad for that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from firstfault.monitor.framing import Event, Framing, Head
from firstfault.monitor.proxy import Proxied
from firstfault.monitor.proxy_exchange import ProxyExchange
from firstfault.monitor.record import Arm
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.rollout.gathering import UNIT
from firstfault.monitor.sampling import draw
from firstfault.monitor.upstream import Upstream

SALT = b"arm"
"""Another than that of the sample, which would else be of one arm alone."""


@dataclass
class Route:
    """Which requests go to the challenger.

    Attributes:
        challenger: its server.
        share: of the requests; 0 sends all to the champion.
        header: by whose value the arm is drawn; by the request's id where it is empty, or the request lacks it.
        key: of the store's hashes.
    """

    challenger: Upstream
    share: float
    header: bytes
    key: bytes

    def unit(self, head: Head) -> bytes:
        """What a request's arm is drawn by; nothing where it is its id."""
        found = head.values(self.header) if self.header else []
        return found[0] if found else b""

    def arm(self, unit: bytes, request_id: str) -> Arm:
        """The arm of a request."""
        name = unit.decode("latin-1") or request_id
        return Arm.CANARY if draw(name, SALT) < self.share else Arm.CHAMPION


class Split(Proxied):
    """A client's connection, whose requests go to either server, one after the other."""

    def __init__(self, recorder: Recorder, upstream: Upstream, connections: set[Proxied], route: Route) -> None:
        super().__init__(recorder, upstream, connections)
        self.champion, self.route = upstream, route
        self.events: Iterator[Event] = iter(())
        self.held: Head | None = None

    def data_received(self, data: bytes) -> None:
        """Pass a client's bytes on; a request that came before the last one's answer is over waits for that."""
        self.events = self.requests.feed(data)
        self._go_on()

    def _go_on(self, head: Head | None = None) -> None:
        """Pass on what was read, request by request: what is behind a head goes to its server."""
        while True:
            if head is not None:
                self.pass_on([head])
                self.connect()
            head = None
            self.pass_on(self._until_head())
            if self.held is None:
                return
            if self.open:
                assert self.client is not None
                self.client.pause_reading()
                return
            head, self.held = self.held, None

    def _until_head(self) -> Iterator[Event]:
        for event in self.events:
            if isinstance(event, Head):
                self.held = event
                return
            yield event

    def exchange_of(self, head: Head, method: str, target: str) -> ProxyExchange:
        """A request begins, at its arm's server."""
        exchange = super().exchange_of(head, method, target)
        capture, unit = exchange.capture, self.route.unit(head)
        arm = self.route.arm(unit, capture.request_id)
        capture.named = (*capture.named[:2], arm)
        if unit:
            capture.values[UNIT] = hashlib.blake2b(unit, digest_size=8, key=self.route.key).hexdigest()
        self._turn(self.route.challenger if arm is Arm.CANARY else self.champion)
        return exchange

    def _turn(self, upstream: Upstream) -> None:
        """Have a new connection made, and heed the last one no more."""
        last, self.server, self.connecting, self.answering = self.server, None, None, None
        self.upstream, self.answers = upstream, Framing()
        if last is not None:
            last.close()

    def over(self) -> None:
        """An answer is over: the request that waited for it begins, once all of the answer is read."""
        super().over()
        if self.held is not None and not self.open:
            asyncio.get_running_loop().call_soon(self._begin_held)

    def _begin_held(self) -> None:
        if self.held is None or self.open or self.client is None or self.client.is_closing():
            return
        held, self.held = self.held, None
        self.client.resume_reading()
        self._go_on(held)
