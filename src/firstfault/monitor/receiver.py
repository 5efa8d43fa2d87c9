"""A small server for what others send about requests: spans at `/v1/traces` (OTLP), CloudEvents at any other path."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping

import msgspec

from firstfault.errors import PrerequisiteError
from firstfault.monitor.cloud_events import Pairs, event_of
from firstfault.monitor.framing import Body, End, Framing, Head, Opaque
from firstfault.monitor.otlp import captured_of, spans_of
from firstfault.monitor.recorder import Recorder

MOST_BYTES = 64 << 20
"""Of one request, packed or not."""
_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
}
EMPTY = b"{}"


class Receiver:
    """What is received goes to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.pairs = Pairs(recorder.settings)

    def receive(self, method: str, path: str, headers: Mapping[bytes, bytes], body: bytes) -> tuple[int, bytes]:
        """Take one request; status and body of the answer."""
        if method != "POST":
            return 405, b'{"message":"spans and events are posted"}'
        try:
            body = unpacked(body, headers.get(b"content-encoding", b""))
            if path.rstrip("/").endswith("/v1/traces"):
                return self._spans(headers, body)
            if path.rstrip("/").endswith(("/v1/metrics", "/v1/logs")):
                return 404, b'{"message":"of OpenTelemetry, spans alone are taken, at /v1/traces"}'
            now = time.time()
            for captured in self.pairs.add(event_of(headers, body, now), now):
                self.recorder.take(captured)
            return 202, EMPTY
        except (ValueError, PrerequisiteError) as error:
            return 400, msgspec.json.encode({"message": str(error)})

    def _spans(self, headers: Mapping[bytes, bytes], body: bytes) -> tuple[int, bytes]:
        kind = headers.get(b"content-type", b"")
        for captured in captured_of(spans_of(body, kind), self.recorder.settings):
            self.recorder.take(captured)
        return 200, EMPTY if kind.startswith(b"application/json") else b""

    def end(self) -> None:
        """Record what still waits for its other half."""
        for captured in self.pairs.rest():
            self.recorder.take(captured)


def unpacked(body: bytes, coding: bytes) -> bytes:
    """A body as it was before it was packed.

    Raises:
        ValueError: when it can't be unpacked, or is too large.
    """
    if coding not in (b"", b"identity", b"gzip"):
        raise ValueError(f"a body must come as it is or as gzip, but got {coding.decode('latin-1')!r}")
    if coding != b"gzip":
        return body
    try:
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        data = unpacking.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"the body is no gzip: {error}") from error
    if unpacking.unconsumed_tail:
        raise ValueError(f"a body must have at most {MOST_BYTES} bytes")
    return data


class Receiving(asyncio.Protocol):
    """One connection of a sender."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver, self.framing = receiver, Framing()
        self.head: Head | None = None
        self.body: list[bytes] = []
        self.size = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender has come."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Gather a request, and answer it."""
        assert self.transport is not None
        for event in self.framing.feed(data):
            if isinstance(event, Opaque) and event.raw.strip():
                self._answer(400, EMPTY, last=True)
                return
            if isinstance(event, Head):
                self._begin(event)
            elif isinstance(event, Body):
                self.size += len(event.content)
                if self.size > MOST_BYTES:
                    self._answer(413, EMPTY, last=True)
                    return
                self.body.append(event.content)
            elif isinstance(event, End):
                self._over()

    def _begin(self, head: Head) -> None:
        assert self.transport is not None
        self.head, self.body, self.size = head, [], 0
        if head.values(b"expect"):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.framing.expect_body(head):
            self._over()

    def _over(self) -> None:
        if self.head is None or self.head.asked is None:
            self._answer(400, EMPTY, last=True)
            return
        method, target = self.head.asked
        headers = {name: values[-1] for name, values in self.head.headers.items()}
        status, body = self.receiver.receive(method, target.partition("?")[0], headers, b"".join(self.body))
        self._answer(status, body, last=b"close" in self.head.values(b"connection"))

    def _answer(self, status: int, body: bytes, *, last: bool) -> None:
        assert self.transport is not None
        kind = b"application/json" if body else b"application/x-protobuf"
        self.transport.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-length: {len(body)}\r\n".encode()
            + (b"connection: close\r\n" if last else b"")
            + b"content-type: "
            + kind
            + b"\r\n\r\n"
            + body
        )
        if last:
            self.transport.close()


async def listen(recorder: Recorder, host: str, port: int, ready: Callable[[int], None], stop: asyncio.Event) -> None:
    """Receive until `stop` is set.

    Raises:
        OSError: when the port can't be had.
    """
    receiver = Receiver(recorder)
    recorder.start()
    server = await asyncio.get_running_loop().create_server(lambda: Receiving(receiver), host, port)
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
    receiver.end()
