"""The process that asks a challenger what the champion was asked, within limits, and records its answers as a shadow's.

`python -m firstfault.monitor.rollout.mirror QUEUE`, with its `MirrorTask` on the input. It says what became of the
copies, a line of JSON now and then, and ends when the queue is closed, or with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections import Counter

import msgspec

from firstfault.logs.trace_context import TraceContext
from firstfault.monitor.framing import Body, End, Framing, Head, Opaque, parsed
from firstfault.monitor.proxy_exchange import ProxyExchange
from firstfault.monitor.record import Arm
from firstfault.monitor.recorder import Recorder, recorder_of
from firstfault.monitor.ring import Ring
from firstfault.monitor.rollout.agreement import agree
from firstfault.monitor.rollout.child import heed_sigterm
from firstfault.monitor.rollout.gathering import DISAGREED
from firstfault.monitor.rollout.shadowing import Copy, Limits
from firstfault.monitor.settings import Settings
from firstfault.monitor.upstream import Upstream

logger = logging.getLogger(__name__)
NICE = 5
"""Serving comes first where a processor is short."""
READ_AT_ONCE = 1 << 16
"""Bytes of an answer, between two looks at how long it has become."""
PAUSE_SECONDS, SAID_EVERY, CLOSING_SECONDS = 0.02, 1.0, 10.0
"""Between two looks at an empty queue, between two words about the copies, and for what is left to be written."""
GATEWAY_TIMEOUT = 504
"""As a gateway says that a server took too long."""
NOT_COPIED = frozenset({b"connection", b"content-length", b"expect", b"traceparent", b"transfer-encoding"})
"""Headers of the way, not of what is asked, and the trace, which the copy has anew."""
_decode = msgspec.msgpack.Decoder(Copy).decode


class MirrorTask(msgspec.Struct, frozen=True):
    """What a mirror is to do."""

    settings: Settings
    upstream: Upstream
    limits: Limits


class Mirror:
    """What copies requests to a challenger."""

    def __init__(self, recorder: Recorder, upstream: Upstream, limits: Limits) -> None:
        self.recorder, self.upstream, self.limits = recorder, upstream, limits
        self.counts = Counter[str]()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, ring: Ring) -> None:
        """Copy what comes through the queue until it is closed; what waits then is dropped."""
        said = time.monotonic()
        while not ring.closing:
            taken = self._take(ring)
            if time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                self.say()
            if not taken:
                await asyncio.sleep(PAUSE_SECONDS)
            elif len(self._running) >= self.limits.concurrency:
                await asyncio.wait(self._running, timeout=PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)
        self.counts["not begun"] += len(ring.take(sys.maxsize)[0])
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _take(self, ring: Ring) -> bool:
        """Begin with the oldest copy, if one may be under way; whether there was something to do."""
        if len(self._running) >= self.limits.concurrency:
            return True
        found, position = ring.take(1)
        ring.release(position)
        for _, payload in found:
            copy = _decode(payload)
            if time.monotonic() - copy.offered > self.limits.seconds:
                self.counts["too late"] += 1
                continue
            task = asyncio.get_running_loop().create_task(self._copy(copy))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return bool(found)

    def say(self) -> None:
        """Say what became of the copies."""
        sys.stdout.buffer.write(msgspec.json.encode(self.counts) + b"\n")
        sys.stdout.buffer.flush()

    async def _copy(self, copy: Copy) -> None:
        """Copy a request. One that can't be copied is counted, and ends nothing."""
        try:
            await self.copy(copy)
        except Exception:
            logger.exception("a request could not be copied")
            self.counts["failed"] += 1
        else:
            self.counts["copied"] += 1

    async def copy(self, copy: Copy) -> None:
        """Ask, and record the answer, or why there is none."""
        head = parsed(copy.head)
        assert head is not None and head.asked is not None  # the proxy has read it so
        exchange, champion = ProxyExchange(self.recorder, head, *head.asked), copy.champion
        capture = exchange.capture
        capture.trace = TraceContext(champion.trace_id, champion.span_id, copy.sampled)
        capture.request_id, capture.named = champion.request_id, (champion.model, champion.version, Arm.SHADOW)
        exchange.body.add(copy.body)
        error = await self._answer(copy, head, exchange)
        if error or not agree(champion, exchange.captured()):
            capture.marks.append(DISAGREED)
        exchange.hand_over(error)

    async def _answer(self, copy: Copy, head: Head, exchange: ProxyExchange) -> str:
        """Ask; why there is no answer."""
        request = _request(head, exchange.capture.trace, copy.body)
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self._ask_again(request, exchange)
        except TimeoutError:
            exchange.status = exchange.status if exchange.status >= 500 else GATEWAY_TIMEOUT
            return f"no whole answer came within {self.limits.seconds:g} s"
        except (OSError, Unreadable) as reason:
            return f"{type(reason).__name__}: {reason}"
        return ""

    async def _ask_again(self, request: bytes, exchange: ProxyExchange) -> None:
        for left in range(self.limits.retries, -1, -1):
            try:
                await self._ask(request, exchange)
            except OSError:
                if exchange.status or not left:
                    raise
                self.counts["asked again"] += 1
            else:
                return

    async def _ask(self, request: bytes, exchange: ProxyExchange) -> None:
        upstream = self.upstream
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port, ssl=upstream.context)
        try:
            writer.write(request)
            await writer.drain()
            await self._read(reader, exchange)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, exchange: ProxyExchange) -> None:
        framing = Framing()
        while data := await reader.read(READ_AT_ONCE):
            for event in framing.feed(data):
                if isinstance(event, End) or (isinstance(event, Head) and not _goes_on(event, exchange, framing)):
                    return
                if isinstance(event, Opaque):
                    raise Unreadable("the answer is no HTTP/1.1")
                if isinstance(event, Body):
                    exchange.answer.add(event.content)
            if exchange.answer.size > self.limits.answer_bytes:
                raise Unreadable(f"the answer was longer than {self.limits.answer_bytes} bytes")
        if not (exchange.status and framing.until_close):
            raise ConnectionResetError("the server ended the connection before it had answered")


class Unreadable(Exception):
    """An answer that can't be read, or not to its end."""


def _goes_on(head: Head, exchange: ProxyExchange, framing: Framing) -> bool:
    """Take an answer's head; whether anything follows it."""
    status = head.status
    if status is None:
        raise Unreadable("the answer is no HTTP/1.1")
    if 100 <= status < 200:
        framing.expect_nothing()
        return True
    exchange.status, exchange.response_type = status, head.first(b"content-type")
    if exchange.method == "HEAD" or status in (204, 304):
        return False
    return framing.expect_body(head, until_close=True)


def _request(head: Head, trace: TraceContext, body: bytes) -> bytes:
    """The bytes of the copy: the same request in the same trace, by the length of its body."""
    kept = ((name, value) for name, values in head.headers.items() if name not in NOT_COPIED for value in values)
    own = [(b"traceparent", trace.header().encode()), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    lines = [b"%b: %b\r\n" % header for header in [*kept, *own]]
    return b"%b\r\n%b\r\n%b" % (head.raw.splitlines()[0], b"".join(lines), body)


def main(queue: int) -> None:
    """Be the process."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.nice(NICE)
    heed_sigterm()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=MirrorTask)
    recorder = recorder_of(task.settings)
    recorder.start()
    mirror = Mirror(recorder, task.upstream, task.limits)
    try:
        asyncio.run(mirror.run(Ring(queue)))
    finally:
        recorder.close(CLOSING_SECONDS)
        mirror.say()


if __name__ == "__main__":
    main(int(sys.argv[1]))
