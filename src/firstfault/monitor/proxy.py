"""A proxy that records: each connection of a client is one to the server behind it, and bytes pass as they come.

No byte of an answer is changed, delayed or joined with another. Of a request, only `traceparent` is set, so that the
server's own spans belong to the trace. A server that can't be reached is answered for with 502.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable

from firstfault.monitor.framing import Body, End, Event, Framing, Head, Opaque
from firstfault.monitor.proxy_exchange import ProxyExchange, with_trace
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.upstream import Upstream

LINGER_SECONDS = 5.0
"""How long a client may keep a connection open whose server has ended it."""
CONNECT_SECONDS = 10.0
BUFFERED = 1 << 20  # bytes that may wait for a slow reader before the other side is read no further
RESET = struct.pack("ii", 1, 0)
"""As SO_LINGER, it lets a socket end with a reset."""
_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\ncontent-length: 35\r\nconnection: close\r\n\r\n"
    b"the model's server can't be reached"
)


class Proxied(asyncio.Protocol):
    """A client's connection, with that to the server."""

    def __init__(self, recorder: Recorder, upstream: Upstream, connections: set[Proxied]) -> None:
        self.recorder, self.upstream, self.connections = recorder, upstream, connections
        self.requests, self.answers = Framing(), Framing()
        self.open: deque[ProxyExchange] = deque()
        self.sending: ProxyExchange | None = None
        self.client: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self.answering: _Answering | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.waiting: list[bytes] = []
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        self.client = transport
        transport.set_write_buffer_limits(BUFFERED)
        self.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Pass a client's bytes on, once the server is there."""
        self.pass_on(self.requests.feed(data))
        self.connect()

    def pass_on(self, events: Iterable[Event]) -> None:
        """Pass on what a client's bytes were read as."""
        passing = []
        for event in events:
            if isinstance(event, Head):
                passing.append(self._begin(event))
            elif isinstance(event, Body):
                if self.sending is not None:
                    self.sending.body.add(event.content)
                passing.append(event.raw)
            elif isinstance(event, Opaque):
                passing.append(event.raw)
        if passing:
            self._pass(passing[0] if len(passing) == 1 else b"".join(passing))

    def connect(self) -> None:
        """Have a connection to the server made, where there is none."""
        if self.server is None and self.connecting is None:
            self.connecting = asyncio.get_running_loop().create_task(self._connect())

    def _begin(self, head: Head) -> bytes:
        """A request begins: note it, and give its head with the trace that it belongs to."""
        asked = head.asked
        if asked is None or (self.open and self.open[-1].method == "CONNECT"):
            self.requests.expect_opaque()
            return head.raw
        self.sending = self.exchange_of(head, *asked)
        self.open.append(self.sending)
        self.requests.expect_body(head)
        if asked[0] == "CONNECT":
            self.requests.expect_opaque()
        return with_trace(head, self.sending.capture.trace.header().encode())

    def exchange_of(self, head: Head, method: str, target: str) -> ProxyExchange:
        """What will be recorded of a request that begins."""
        return ProxyExchange(self.recorder, head, method, target)

    def _pass(self, raw: bytes) -> None:
        if self.server is None:
            self.waiting.append(raw)
        else:
            self.server.write(raw)

    async def _connect(self) -> None:
        assert self.client is not None
        self.client.pause_reading()
        upstream, loop = self.upstream, asyncio.get_running_loop()
        answering = self.answering = _Answering(self)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                server, _ = await loop.create_connection(
                    lambda: answering, upstream.host, upstream.port, ssl=upstream.context
                )
        except (OSError, UnicodeError) as error:  # the latter of a name that can't be one
            self._unreached(error)
            return
        self.server = server
        server.set_write_buffer_limits(BUFFERED)
        if self.client.is_closing():
            server.close()
            return
        server.writelines(self.waiting)
        self.waiting.clear()
        if self.ended and server.can_write_eof():
            server.write_eof()
        self.client.resume_reading()

    def _unreached(self, error: Exception) -> None:
        assert self.client is not None
        self._end_open(f"{type(error).__name__}: {error}")
        self.client.write(_BAD_GATEWAY)
        self.client.close()

    def eof_received(self) -> bool:
        """A client will say no more; it may still wait for its answer."""
        self.ended = True
        if self.requests.pending:
            self._pass(self.requests.pending)
        if self.server is not None and self.server.can_write_eof():
            self.server.write_eof()
        elif self.connecting is None:
            return False
        return True

    def pause_writing(self) -> None:
        """A client reads slowly: so is the server read."""
        if self.server is not None:
            self.server.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self.server is not None:
            self.server.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """A client is gone: what it asked for has no end."""
        self.connections.discard(self)
        if self.server is not None:
            self.server.close()
        self._end_open()

    def _end_open(self, error: str = "") -> None:
        """Hand over what will have no end: by an error, or else since its client is gone."""
        for exchange in self.open:
            exchange.gone = not error
            exchange.hand_over(error)
        self.open.clear()

    def answered(self, data: bytes) -> None:
        """Pass the server's bytes on, then look at them."""
        assert self.client is not None
        self.client.write(data)
        for event in self.answers.feed(data):
            if isinstance(event, Head):
                self._answer(event)
            elif isinstance(event, Body) and self.open:
                self.open[0].answer.add(event.content)
            elif isinstance(event, End):
                self.over()

    def _answer(self, head: Head) -> None:
        """An answer begins."""
        status = head.status
        if status is None or not self.open:
            self.answers.expect_opaque()
            return
        exchange = self.open[0]
        if 100 <= status < 200 and status != 101:
            self.answers.expect_nothing()
            return
        exchange.status = status
        exchange.response_type = head.first(b"content-type")
        if status == 101 or (exchange.method == "CONNECT" and status < 300):
            self.answers.expect_opaque()
            self.requests.expect_opaque()
            self.over()
        elif exchange.method == "HEAD" or status in (204, 304):
            self.answers.expect_nothing()
            self.over()
        elif not self.answers.expect_body(head, until_close=True):
            self.over()

    def over(self) -> None:
        """An answer is over."""
        if self.open:
            self.open.popleft().hand_over()

    def left(self, error: Exception | None = None) -> None:
        """The server has ended the connection: the client is told so, and the last answer may be over by that.

        After an error it is not, and the client's connection is reset, as the server's was: an answer without a length
        would seem whole to it.
        """
        if self.open and self.answers.until_close and error is None:
            self.over()
        self._end_open("the server ended the connection before it had answered")
        if (client := self.client) is None or client.is_closing():
            return
        with contextlib.suppress(OSError, RuntimeError):
            if error is not None:
                client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.abort()
            elif client.can_write_eof():
                client.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, client.close)


class _Answering(asyncio.Protocol):
    """A connection to the server; what one says that the client has been turned away from goes nowhere."""

    def __init__(self, proxied: Proxied) -> None:
        self.proxied = proxied
        self.told = False

    @property
    def heard(self) -> bool:
        """Whether it is the one whose answers the client gets."""
        return self.proxied.answering is self

    def data_received(self, data: bytes) -> None:
        if self.heard:
            self.proxied.answered(data)

    def eof_received(self) -> bool:
        self._leave()
        return self.heard and self.proxied.server is not None and self.proxied.server.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave(error)

    def _leave(self, error: Exception | None = None) -> None:
        if not self.told and self.heard:
            self.told = True
            self.proxied.left(error)

    def pause_writing(self) -> None:
        if self.proxied.client is not None:
            self.proxied.client.pause_reading()

    def resume_writing(self) -> None:
        if self.proxied.client is not None:
            self.proxied.client.resume_reading()


async def serve(
    recorder: Recorder,
    upstream: Upstream,
    host: str,
    port: int,
    ready: Callable[[int], None],
    stop: asyncio.Event,
    proxied: Callable[[Recorder, Upstream, set[Proxied]], Proxied] = Proxied,
) -> None:
    """Serve until `stop` is set, then let the requests that are under way end; `proxied` makes each connection.

    Raises:
        OSError: when the port can't be had.
    """
    connections: set[Proxied] = set()
    recorder.start()
    server = await asyncio.get_running_loop().create_server(
        lambda: proxied(recorder, upstream, connections), host, port
    )
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while any(each.open for each in connections):
                    await asyncio.sleep(0.05)
        for client in [each.client for each in connections if each.client is not None]:
            client.close()
        await asyncio.sleep(0)
