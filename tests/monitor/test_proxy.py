"""The proxy between real sockets: what passes, what is recorded, and what happens when either side goes."""

import asyncio
import contextlib
import json
import re
import resource
import socket
import struct
import threading
from functools import partial

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from servers import SIZE, answered, answered_large, asked, asked_json, bodies, hang_up, listening, uvicorn_of

from firstfault.errors import FirstfaultError
from firstfault.monitor.proxy import serve
from firstfault.monitor.serving import open_all_files
from firstfault.monitor.upstream import Upstream, upstream_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def application():
    """A model server that speaks some dialects."""
    app = FastAPI()

    @app.post("/invocations")
    async def invocations(request: Request):
        await request.json()
        return {"predictions": [[0.9, 0.1], [0.4, 0.6]]}

    @app.post("/v2/models/iris/infer")
    async def infer(request: Request):
        return {"model_name": "iris", "model_version": "3", "outputs": [
            {"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": [0.2, 0.8]}]}  # fmt: skip

    @app.post("/v1/chat/completions")
    async def chat(request: Request):
        asked = await request.json()
        if not asked.get("stream"):
            tokens = [{"token": "Hi", "logprob": -0.1}, {"token": "!", "logprob": -0.3}]
            message = {"role": "assistant", "content": "Hi!"}
            return {"model": "tiny", "choices": [{"message": message, "logprobs": {"content": tokens}}]}

        async def parts():
            for text in ("Hel", "lo", "\u2028you"):
                chunk = {"model": "tiny", "choices": [{"index": 0, "delta": {"content": text}}]}
                yield f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\n"
                await asyncio.sleep(0.002)
            yield "data: [DONE]\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    @app.api_route("/text", methods=["GET", "HEAD"])
    async def text():
        return PlainTextResponse("t" * 5000)

    @app.get("/trace")
    async def trace(request: Request):
        return request.headers.get("traceparent")

    @app.get("/raises")
    async def raises():
        raise RuntimeError

    app.include_router(bodies)
    return app


@pytest.fixture(scope="module")
def behind():
    """The server itself."""
    with uvicorn_of(application()) as port:
        yield port


def proxy_of(recorder, port):
    """A proxy in front of a port of loopback, in a thread; gives its own port."""
    return listening(partial(serve, recorder, Upstream("http", "127.0.0.1", port), "127.0.0.1", 0))


@pytest.fixture
def proxied(recorder, behind):
    """The proxy in front of that server."""
    with proxy_of(recorder, behind) as port:
        yield port


def one(recorder):
    """The record of the one request, once its answer is out."""
    while not recorder.counts["taken"]:
        pass
    (record,) = recorder.written()
    return record


REQUESTS = {
    "invocations": asked_json("/invocations", {"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}),
    "chat": asked_json("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    "stream": asked_json("/v1/chat/completions", {"model": "m", "messages": [], "stream": True}),
    "text": asked("/text"),
    "head": asked("/text", "HEAD"),
    "raises": asked("/raises"),
    "absent": asked("/nowhere"),
    "no_json": asked("/invocations", "POST", b"{no", content_type="application/json"),
    "no_http": b"NONSENSE\r\n\r\n",
    "http_1_0": b"GET /text HTTP/1.0\r\n\r\n",
    "chunked": asked("/digest", "POST", transfer_encoding="chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    "two": b"GET /text HTTP/1.1\r\nhost: x\r\n\r\n" + asked("/nowhere"),
    "expecting": asked("/digest", "POST", b"hello", expect="100-continue"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_no_byte_of_an_answer_changes(behind, proxied, name):
    """Streams, errors, HEAD, pipelined requests and what is no HTTP are answered as by the server alone."""
    assert answered(proxied, REQUESTS[name]) == answered(behind, REQUESTS[name])


def test_a_trace_passes_through(proxied, recorder):
    """The server gets a span of the caller's trace, which is that of the record."""
    answer = answered(proxied, asked("/trace", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", x_request_id="r1"))
    record = one(recorder)
    assert (record.trace_id, record.request_id, record.way) == (TRACE, "r1", "proxy")
    assert f"00-{TRACE}-{record.span_id}-01".encode() in answer


def test_a_table_is_read(proxied, recorder):
    """MLflow's scoring: rows with their columns' names, predictions, and the lowest confidence of a batch."""
    answered(proxied, REQUESTS["invocations"])
    record = one(recorder)
    assert (record.dialect, record.confidence, record.path) == ("mlflow", 0.6, "POST /invocations")
    assert json.loads(record.request) == {"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}
    assert record.cuts.raw and record.cuts.tensor and record.cuts.label


def test_tensors_are_read(proxied, recorder):
    """KServe's V2 in its shape; a version that the proxy was told wins over the answer's."""
    tensors = [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]
    answered(proxied, asked_json("/v2/models/iris/infer", {"inputs": tensors}))
    record = one(recorder)
    assert (record.dialect, record.version, record.confidence) == ("kserve_v2", "7", 0.8)


@pytest.mark.parametrize(("name", "text"), [("chat", "Hi!"), ("stream", "Hello\u2028you")])
def test_a_language_models_answer_is_read(proxied, recorder, name, text):
    """OpenAI's chat, streamed or not; a stream has its first token's time and those between tokens."""
    answered(proxied, REQUESTS[name])
    record = one(recorder)
    assert record.dialect == "openai" and text in record.response
    if name == "stream":
        assert record.stream.parts >= 3 and record.stream.first > 0 and record.stream.gap_mean > 0
    else:
        assert record.confidence == pytest.approx(0.8187, abs=1e-3)


def test_a_client_that_hangs_up_is_recorded_as_such(proxied, recorder):
    """Its answer has no end; the server's connection is ended too."""
    hang_up(proxied)
    record = one(recorder)
    assert (record.outcome, record.status) == ("disconnected", 200)


def test_a_slow_client_holds_nobody_up_and_fills_no_memory(proxied, recorder):
    """A client that does not read is waited for, while others are answered."""
    with socket.create_connection(("127.0.0.1", proxied)) as slow:
        slow.sendall(asked("/endless"))
        slow.recv(10)
        assert answered(proxied, REQUESTS["text"]).endswith(b"t" * 5000)


def test_a_server_that_is_not_there_is_answered_for(recorder):
    """The client gets a 502, and the record says why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with proxy_of(recorder, port) as proxied:
        answer = answered(proxied, REQUESTS["text"])
    record = one(recorder)
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway") and answer.endswith(b"can't be reached")
    assert (record.status, record.outcome) == (502, "error") and "refused" in record.error.lower()


def test_a_body_of_100_mb_passes(proxied, recorder):
    """It arrives whole, and the record holds nothing of it but its size."""
    answer, digest = answered_large(proxied)
    assert digest in answer
    record = one(recorder)
    assert (record.request_bytes, record.request) == (SIZE, "")


def server_of(answer):
    """A server that does with each connection, one after another, as it is told."""
    server = socket.create_server(("127.0.0.1", 0))

    def run():
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = server.accept()
                with connection:
                    answer(connection)

    threading.Thread(target=run, daemon=True).start()
    return server


def echo(connection):
    """Read to the end of the client's words, then answer and end: it heeds half-closed sockets."""
    said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + str(len(said)).encode())


def break_off(connection):
    """Begin an answer whose end is that of the connection, and reset it once the client has got that."""
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.recv(1)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "/bare_lf": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, 2),
    "/folded": (OK + b"X-Long: a\r\n  b\r\nContent-Length: 2\r\n\r\nhi", 200, 2),
    "/chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n2;q=\"a b\"\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", 200, 2),
    "/zipped": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, 2),
    "/both": (OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, 2),
    "/coded": (OK + b"Transfer-Encoding: gzip\r\n\r\nhi", 200, 2),
    "/lengths": (OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\nhi", 200, 2),
    "/wordless": (b"HTTP/1.0 200\r\n\r\nhi", 200, 2),
    "/interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                 + OK + b"Content-Length: 2\r\n\r\nhi", 200, 2),
    "/empty": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, 0),
    "/same": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n", 304, 0),
    "/socket": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi", 101, 0),
}  # fmt: skip
"""What a server may answer, its status, and how many bytes its body has."""


def answer_by_path(connection):
    """Answer as the path says."""
    asked = connection.recv(1 << 16).split()
    connection.sendall(ANSWERS[asked[1].decode()][0])


def test_odd_answers_pass_and_are_recorded_as_what_they_are(recorder):
    """Bare LFs, folded lines, extensions, trailers, interim answers, upgrades: no byte changes, none is an error."""
    with server_of(answer_by_path) as server, proxy_of(recorder, server.getsockname()[1]) as proxied:
        for path, (answer, _, _) in ANSWERS.items():
            assert answered(proxied, b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode()) == answer
    records = {record.path.removeprefix("GET "): record for record in recorder.written()}
    assert {path: (record.status, record.response_bytes) for path, record in records.items()} == {
        path: (status, size) for path, (_, status, size) in ANSWERS.items()
    }
    assert {record.outcome for record in records.values()} == {"ok"}


ASKED = {
    "GET /bare_lf": b"GET /bare_lf HTTP/1.1\nhost: x\n\n",
    "GET /folded": b"GET /folded HTTP/1.1\r\nhost: x\r\nx-long: a\r\n\tb\r\n\r\n",
    "POST /chunks": b"POST /chunks HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;q=1\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
    "POST /zipped": b"POST /zipped HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "GET /old": b"GET /old HTTP/1.0\r\n\r\n",
    "GET /late": b"\r\nGET /late HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /whole": b"GET http://model.example/whole HTTP/1.1\r\nhost: model.example\r\n\r\n",
    "PURGE /odd": b"PURGE /odd HTTP/1.1\r\nhost: x\r\ncontent-length: 2, 2\r\n\r\nhi",
}


def say_back(connection):
    """Answer with all that was said, once it is all."""
    said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + said)


def test_odd_requests_pass_and_are_recorded_as_what_they_are(recorder):
    """However a request is framed, its server gets the same bytes and a trace, and the record has its path."""
    with server_of(say_back) as server, proxy_of(recorder, server.getsockname()[1]) as proxied:
        for request in ASKED.values():
            said = answered(proxied, request, half_close=True).partition(b"\r\n\r\n")[2]
            assert re.sub(rb"traceparent: \S+\r?\n", b"", said) == request
    records = list(recorder.written())
    assert {record.path for record in records} == set(ASKED)
    assert {(record.status, record.outcome) for record in records} == {(200, "ok")}


def test_an_answer_that_is_broken_off_does_not_seem_whole(recorder):
    """A client whose server's connection was reset is reset too, and the record says that there was no answer."""
    with server_of(break_off) as server, proxy_of(recorder, server.getsockname()[1]) as proxied:
        with socket.create_connection(("127.0.0.1", proxied), timeout=20) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n")
            assert client.recv(1 << 16).endswith(b"half of")
            client.sendall(b"-")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert one(recorder).outcome == "error"


def test_a_half_closed_socket_is_half_closed_for_the_server(recorder):
    """A client's last word reaches the server, and the answer that comes after it reaches the client."""
    with server_of(echo) as server, proxy_of(recorder, server.getsockname()[1]) as proxied:
        request = asked("/", "POST", b"x" * 10)
        answer = answered(proxied, request, half_close=True)
    size = int(answer.rpartition(b"\r\n")[2])
    assert size == len(request) + len(f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n")
    assert one(recorder).outcome == "ok"


def test_a_proxy_has_all_the_files_that_it_may_have():
    """It needs two for each client, so that the usual limit would be met by half as many as the server can serve."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        open_all_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:y", "http://x/path", "http://x?query"])
def test_a_bad_url_gets_a_sentence(url):
    """What was expected and what came."""
    with pytest.raises(FirstfaultError, match="must be the URL of a server"):
        upstream_of(url)


def test_a_url_may_be_short():
    """Host and port are enough."""
    assert upstream_of("localhost:8000") == Upstream("http", "localhost", 8000)
    assert upstream_of("https://model.example/") == Upstream("https", "model.example", 443)
