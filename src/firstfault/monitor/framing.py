"""Where HTTP/1.1 messages begin and end in a stream of bytes, none of which is changed or held back but for heads.

A stream that can't be framed for certain (an upgrade, a request of both a length and chunks, no HTTP at all) becomes
opaque: its bytes are passed on, and nothing more is read out of them. What it means, its receiver alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

LONGEST_HEAD = 64 * 1024
"""Bytes: servers refuse longer heads (8 to 64 KiB), and a stream with one is passed on unread."""
LONGEST_LINE = 4_096
"""Bytes of a chunk's size, its extensions, or a trailer."""
MOST_DIGITS = 18
"""Of a length: it is below 2^63 then, as every server needs it."""
CHUNKED, UNSAID, UNCLEAR = -1, -2, -3
"""What a head may say of its body's size, other than a number of bytes."""
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |$)")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.[01]")
_OPENING = re.compile(rb"HTTP/|[!#$%&'*+.^_`|~0-9A-Za-z-]*(?: |$)")
"""How a first line that is not whole yet may begin."""
_HEAD_END = re.compile(rb"\n\r?\n")


class Head(msgspec.Struct, frozen=True):
    """The first line and the headers of a message; names in lower case."""

    raw: bytes
    headers: dict[bytes, list[bytes]]
    """The values of each, in order."""
    asked: tuple[str, str] | None
    """Method and target of a request."""
    status: int | None
    """Of an answer."""
    size: int
    """Bytes of the body that follows; `CHUNKED`, `UNSAID` or `UNCLEAR`."""

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, in order."""
        return self.headers.get(name, [])

    def first(self, name: bytes) -> bytes:
        """The first value of a header; nothing where there is none."""
        return self.headers[name][0] if name in self.headers else b""


class Body(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a message behind its head, and what they are without the framing of chunks."""

    raw: bytes
    content: bytes


class End(msgspec.Struct, frozen=True):
    """A message is over."""


class Opaque(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a stream that is not looked into."""

    raw: bytes


Event = Head | Body | End | Opaque
_END = End()


class Framing:
    """One direction of a connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._state: State = Framing._head
        self._left = 0
        self._last: Head | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the next bytes are. After a `Head`, one of the `expect` methods says what follows it."""
        if not self._buffer and len(data) < self._left and self._state in _COUNTED:
            self._left -= len(data)  # most of a large body: it is not even copied
            yield Body(data, data)
            return
        self._buffer += data
        while self._buffer:
            events = self._state(self)
            if events is None:
                return
            yield from events

    @property
    def pending(self) -> bytes:
        """Bytes of a head that is not whole yet, or nothing."""
        return self._buffer

    @property
    def until_close(self) -> bool:
        """Whether a message goes on until its connection ends."""
        return self._state is Framing._rest

    def expect_opaque(self) -> None:
        """What follows is no HTTP, or can't be framed."""
        self._state = Framing._opaque

    def expect_nothing(self) -> None:
        """The message has no body: the next head follows."""
        self._state = Framing._head

    def expect_body(self, head: Head, *, until_close: bool = False) -> bool:
        """What follows a head by its headers; whether there is anything.

        Where they say neither chunks nor one length, it is nothing, or all until the connection ends.
        """
        size = head.size
        if size >= 0:
            self._left = size
            self._state = Framing._length if size else Framing._head
            return size > 0
        if size == CHUNKED:
            self._state = Framing._size
        elif until_close:
            self._state = Framing._rest
        else:
            self._state = Framing._head if size == UNSAID else Framing._opaque
        return until_close or size != UNSAID

    def _taken(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _all(self) -> bytes:
        taken, self._buffer = self._buffer, b""
        return taken

    def _opaque(self) -> list[Event]:
        return [Opaque(self._all())]

    def _head(self) -> list[Event] | None:
        if self._buffer[:1] == b"\n" or self._buffer[:2] == b"\r\n":  # some clients end a body with it
            return [Opaque(self._taken(1 if self._buffer[:1] == b"\n" else 2))]
        head = self._last
        if head is None or not self._buffer.startswith(head.raw):  # most heads are those of the message before
            end = _HEAD_END.search(self._buffer)
            if end is None and len(self._buffer) <= LONGEST_HEAD and _may_begin(self._buffer):
                return None
            head = None if end is None or end.end() > LONGEST_HEAD else parsed(self._buffer[: end.end()])
        self._last = head
        if head is None:
            self._state = Framing._opaque
            return self._opaque()
        self._taken(len(head.raw))
        return [head]

    def _length(self) -> list[Event]:
        raw = self._taken(self._left)
        self._left -= len(raw)
        if self._left:
            return [Body(raw, raw)]
        self._state = Framing._head
        return [Body(raw, raw), _END]

    def _rest(self) -> list[Event]:
        raw = self._all()
        return [Body(raw, raw)]

    def _size(self) -> list[Event] | None:
        """The line before a chunk."""
        match = _CHUNK.match(self._buffer)
        if match is None:
            return self._unfinished(b"\n" in self._buffer)
        self._left = int(match[1], 16)
        self._state = Framing._chunk if self._left else Framing._trailer
        return [Body(self._taken(match.end()), b"")]

    def _chunk(self) -> list[Event]:
        raw = self._taken(self._left)
        self._left -= len(raw)
        if not self._left:
            self._state = Framing._chunk_end
        return [Body(raw, raw)]

    def _chunk_end(self) -> list[Event] | None:
        if self._buffer[:2] != b"\r\n":
            return self._unfinished(self._buffer != b"\r")
        self._state = Framing._size
        return [Body(self._taken(2), b"")]

    def _trailer(self) -> list[Event] | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return self._unfinished(False)
        raw = self._taken(end + 2)
        if end:
            return [Body(raw, b"")]
        self._state = Framing._head
        return [Body(raw, b""), _END]

    def _unfinished(self, broken: bool) -> list[Event] | None:
        """Framing that is not whole yet is passed on when it is; broken framing makes the stream opaque."""
        if not broken and len(self._buffer) <= LONGEST_LINE:
            return None
        self._state = Framing._opaque
        return self._opaque()


State = Callable[[Framing], list[Event] | None]
"""What the next bytes are; None where they are not enough to say."""
_COUNTED = frozenset({Framing._length, Framing._chunk})


def _may_begin(data: bytes) -> bool:
    """Whether these bytes can be the beginning of a head: those of another protocol must not wait for its end."""
    line, newline, _ = data.partition(b"\n")
    line = line.removesuffix(b"\r")
    return bool((_REQUEST.fullmatch(line) or _STATUS.match(line)) if newline else _OPENING.match(line))


def parsed(raw: bytes) -> Head | None:
    """A head; None where it is no HTTP/1. Its lines may end with LF alone, and a value may go on in the next one."""
    line, *lines = raw.replace(b"\r\n", b"\n")[:-2].split(b"\n")
    headers: dict[bytes, list[bytes]] = {}
    values: list[bytes] = []
    for each in lines:
        if values and each[:1] in (b" ", b"\t"):
            values[-1] += b" " + each.strip(b" \t")
            continue
        name, colon, value = each.partition(b":")
        if not colon or not name or name != name.strip(b" \t"):
            return None
        values = headers.setdefault(name.lower(), [])
        values.append(value.strip(b" \t"))
    if (status := _STATUS.match(line)) is not None:
        return Head(raw, headers, None, int(status[1]), _size_of(headers, answer=True))
    if (asked := _REQUEST.fullmatch(line)) is not None:
        words = asked[1].decode(), asked[2].decode("latin-1")
        return Head(raw, headers, words, None, _size_of(headers, answer=False))
    return None


def _size_of(headers: dict[bytes, list[bytes]], *, answer: bool) -> int:
    """The size of the body behind a head. Chunks go before a length in an answer; a request with both is refused."""
    lengths = headers.get(b"content-length")
    if codings := headers.get(b"transfer-encoding"):
        chunked = codings[-1].rpartition(b",")[2].strip().lower() == b"chunked"
        return CHUNKED if chunked and (answer or not lengths) else UNCLEAR
    if not lengths:
        return UNSAID
    said = {length.strip() for length in b",".join(lengths).split(b",")}
    length = said.pop()
    return int(length) if not said and length.isdigit() and len(length) <= MOST_DIGITS else UNCLEAR
