"""Where messages begin and end, however their bytes are cut."""

import pytest

from firstfault.monitor.framing import Body, Framing, Head, Opaque
from firstfault.monitor.proxy_exchange import with_trace

CHUNKED = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n"
SIZED = b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
PLAIN = b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"
BARE = b"\nPOST /d HTTP/1.1\nContent-Length:\n 3, 3\n\nold"
ZIPPED = b"\r\nPOST /e HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nzz\r\n0\r\n\r\n"


def fed(pieces):
    """What a framing says of requests: all bytes, the contents of their bodies, and their targets."""
    framing, raw, contents, targets = Framing(), b"", [], []
    for piece in pieces:
        for event in framing.feed(piece):
            raw += getattr(event, "raw", b"")
            if isinstance(event, Head):
                targets.append(event.asked[1])
                contents.append(b"")
                framing.expect_body(event)
            elif isinstance(event, Body):
                contents[-1] += event.content
            elif isinstance(event, Opaque) and event.raw.strip():
                targets.append(None)
    return raw + framing.pending, contents, targets


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_are_found_however_they_are_cut(size):
    """Requests that follow each other on a connection are told apart, and no byte is lost."""
    stream = CHUNKED + SIZED + PLAIN + BARE + ZIPPED + CHUNKED
    raw, contents, targets = fed(stream[at : at + size] for at in range(0, len(stream), size))
    assert raw == stream
    assert contents == [b"hello!", b"hello", b"", b"old", b"zz", b"hello!"]
    assert targets == ["/a", "/b", "/c", "/d", "/e", "/a"]


@pytest.mark.parametrize(
    "stream",
    [
        b"NONSENSE\r\n\r\nmore",
        b"\x16\x03\x01\x02\x00\x01\x00" + b"\x00" * 70_000,
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\nabc",
        b"GET /" + b"x" * 70_000,
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n 6\r\n\r\nhello!",
    ],
    ids=range(11),
)
def test_what_can_not_be_framed_becomes_opaque(stream):
    """Its bytes pass as they are, and no second request is read out of them."""
    raw, _, targets = fed(stream[at : at + 1000] for at in range(0, len(stream), 1000))
    assert raw == stream
    assert None in targets and len([target for target in targets if target]) <= 1


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello there\r\n", b"set x 0 0 1\r\na\r\n", b"*1\r\n"]
)
def test_another_protocols_first_bytes_do_not_wait_for_a_head(data):
    """TLS and protocols by lines pass at once: their servers have to answer before more comes."""
    framing = Framing()
    assert [event.raw for event in framing.feed(data)] == [data] and not framing.pending


@pytest.mark.parametrize("line", ["\r\n", "\n"])
def test_a_request_carries_one_trace(line):
    """The caller's `traceparent` gives way to ours; every other byte stays, folded lines and bare LFs too."""
    asked = ["GET / HTTP/1.1", "TRACEPARENT: old", " er", "X-Odd:  spaced ", "\tfolded"]
    (head, *_) = Framing().feed("\n".join([*asked, "", ""]).replace("\n", line).encode())
    sent = ["GET / HTTP/1.1", "X-Odd:  spaced ", "\tfolded", "traceparent: new", "", ""]
    assert with_trace(head, b"new") == "\n".join(sent).replace("\n", line).encode()
    assert head.values(b"x-odd") == [b"spaced folded"]
