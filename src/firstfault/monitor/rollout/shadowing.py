"""A proxy that copies requests to a challenger, whose answers nobody gets: the primary never waits for them.

A copy is made when the champion's answer is out. Copies under way, those that wait, their bytes, the seconds that one
may take, the bytes of its answer and its attempts all have limits; what is beyond them is dropped, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator

import msgspec

from firstfault.monitor.framing import Body, End, Framing, Head, Opaque, status_of
from firstfault.monitor.proxy import Proxied, Upstream, with_trace
from firstfault.monitor.proxy_exchange import ProxyExchange
from firstfault.monitor.record import Arm
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.rollout.agreement import agree
from firstfault.monitor.rollout.gathering import DISAGREED
from firstfault.monitor.rollout.splitting import SALT
from firstfault.monitor.sampling import draw
from firstfault.monitor.settings import MEBIBYTE
from firstfault.monitor.timeline import Beginning, Timeline

READ_AT_ONCE = 1 << 16
GATEWAY_TIMEOUT = 504
NOT_COPIED = ("connection", "content-length", "expect", "transfer-encoding")
"""Headers of the way, not of what is asked."""


class Limits(msgspec.Struct, frozen=True):
    """What copying may cost at most."""

    concurrency: int = 8
    """Copies under way."""
    queue: int = 64
    """Copies that wait."""
    queue_bytes: int = 16 * MEBIBYTE
    """Bytes of their bodies."""
    body_bytes: int = MEBIBYTE
    """Of one request; a larger one is not copied."""
    answer_bytes: int = 8 * MEBIBYTE
    """Of one answer, which is read no further; where the champion's is larger, nothing is copied."""
    seconds: float = 10.0
    """That one may wait, and that it may then take."""
    retries: int = 1
    """Where no byte of an answer came."""


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

    __slots__ = ("began_connected", "copied", "head", "target")

    def __init__(self, recorder: Recorder, head: Head, method: str, target: str, connected: bool, most: int) -> None:
        super().__init__(recorder, head, method, target)
        self.head, self.target, self.began_connected = head, target, connected
        self.body = self.copied = Copied(recorder.settings.body, most)


class Shadowed(Proxied):
    """A client's connection to the champion, whose requests are copied once they are answered."""

    def __init__(self, recorder: Recorder, upstream: Upstream, connections: set[Proxied], mirror: Mirror) -> None:
        super().__init__(recorder, upstream, connections)
        self.mirror = mirror

    def exchange_of(self, head: Head, method: str, target: str) -> ProxyExchange:
        """A request begins."""
        most = self.mirror.limits.body_bytes
        return Original(self.recorder, head, method, target, self.server is not None, most)

    def over(self) -> None:
        """An answer is over: its request may be copied."""
        exchange = self.open[0] if self.open else None
        recorded = exchange is not None and not exchange.taken
        super().over()
        if recorded and isinstance(exchange, Original):
            self.mirror.offer(exchange)


class Mirror:
    """What copies requests to a challenger."""

    def __init__(self, recorder: Recorder, upstream: Upstream, limits: Limits, share: float = 1.0) -> None:
        self.recorder, self.upstream, self.limits, self.share = recorder, upstream, limits, share
        self.counts = Counter[str]()
        self._waiting: deque[tuple[float, Original]] = deque()
        self._bytes = 0
        self._running: set[asyncio.Task[None]] = set()

    def offer(self, original: Original) -> None:
        """Have a request copied, if its id is drawn and there is room. It waits for nothing."""
        if original.status == 101 or draw(original.capture.request_id, SALT) >= self.share:
            return
        if (cause := self._no_room(original)) is not None:
            self.counts[cause] += 1
            return
        self._bytes += original.body.size
        self._waiting.append((time.monotonic(), original))
        if len(self._running) < self.limits.concurrency:
            task = asyncio.get_running_loop().create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _no_room(self, original: Original) -> str | None:
        limits = self.limits
        if original.body.size > limits.body_bytes or original.answer.size > limits.answer_bytes:
            return "too large"
        full = len(self._waiting) >= limits.queue or self._bytes + original.body.size > limits.queue_bytes
        return "queue full" if full else None

    async def _run(self) -> None:
        """Copy what waits, one after the other."""
        while self._waiting:
            since, original = self._waiting.popleft()
            try:
                if time.monotonic() - since > self.limits.seconds:
                    self.counts["too late"] += 1
                else:
                    await self._copy(original)
                    self.counts["copied"] += 1
            finally:
                self._bytes -= original.body.size

    async def _copy(self, original: Original) -> None:
        copy = ProxyExchange(self.recorder, original.head, original.method, original.target)
        copy.capture.trace, copy.capture.request_id = original.capture.trace, original.capture.request_id
        copy.capture.named = (*original.capture.named[:2], Arm.SHADOW)
        copy.body = original.body
        error = ""
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self._ask_again(original, copy)
        except TimeoutError:
            copy.status = copy.status if copy.status >= 500 else GATEWAY_TIMEOUT
            error = f"no whole answer came within {self.limits.seconds:g} s"
        except (OSError, _Unreadable) as reason:
            error = f"{type(reason).__name__}: {reason}"
        if error or not agree(original.captured(), copy.captured()):
            copy.capture.marks.append(DISAGREED)
        copy.hand_over(error)

    async def _ask_again(self, original: Original, copy: ProxyExchange) -> None:
        for left in range(self.limits.retries, -1, -1):
            try:
                await self._ask(original, copy)
            except OSError:
                if copy.status or not left:
                    raise
                self.counts["again"] += 1
            else:
                return

    async def _ask(self, original: Original, copy: ProxyExchange) -> None:
        upstream = self.upstream
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port, ssl=upstream.context)
        if original.began_connected:  # the champion's time held no connecting either
            copy.capture.began = time.perf_counter()
            copy.answer = Timeline(copy.capture.began, self.recorder.settings.body)
        try:
            writer.write(_request(original))
            await writer.drain()
            await self._read(reader, copy)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, copy: ProxyExchange) -> None:
        framing = Framing()
        while data := await reader.read(READ_AT_ONCE):
            for event in framing.feed(data):
                if isinstance(event, End) or (isinstance(event, Head) and not _goes_on(event, copy, framing)):
                    return
                if isinstance(event, Opaque):
                    raise _Unreadable("the answer is no HTTP/1.1")
                if isinstance(event, Body):
                    copy.answer.add(event.content)
            if copy.answer.size > self.limits.answer_bytes:
                raise _Unreadable(f"the answer was longer than {self.limits.answer_bytes} bytes")
        if not (copy.status and framing.until_close):
            raise ConnectionResetError("the server ended the connection before it had answered")

    async def close(self) -> None:
        """Drop what waits, and end what is under way."""
        self.counts["too late"] += len(self._waiting)
        self._waiting.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Unreadable(Exception):
    """An answer that can't be read, or not to its end."""


def _goes_on(head: Head, copy: ProxyExchange, framing: Framing) -> bool:
    """Take an answer's head; whether anything follows it."""
    status = status_of(head)
    if status is None:
        raise _Unreadable("the answer is no HTTP/1.1")
    if 100 <= status < 200:
        framing.expect_nothing()
        return True
    copy.status, copy.response_type = status, next(iter(head.values(b"content-type")), b"")
    if copy.method == "HEAD" or status in (204, 304):
        return False
    return framing.expect_body(head, otherwise="rest")


def _request(original: Original) -> bytes:
    """The bytes of the copy: the same request, by the length of its body."""
    body = original.copied.whole.kept()
    lines = with_trace(original.head, original.capture.trace.header().encode())[:-4].split(b"\r\n")
    return b"\r\n".join(
        [lines[0], *_headers(lines[1:]), b"content-length: %d" % len(body), b"connection: close", b"", body]
    )


def _headers(lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        if line.partition(b":")[0].decode("latin-1").lower() not in NOT_COPIED:
            yield line
