"""The ASGI middleware on a real server: no byte of an answer changes, and each request leaves its record."""

import asyncio

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from servers import SIZE, answered, answered_large, asked, asked_json, bodies, hang_up, uvicorn_of

from firstfault.logs import trace_context
from firstfault.monitor import MonitoredASGI, cut, monitored, request_id, stage
from firstfault.monitor.recorder import Recorder

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def application():
    """A model behind FastAPI, and what else servers answer."""
    app = FastAPI()
    model = monitored()(lambda row: {"label": int(row["age"] > 40), "probabilities": [0.25, 0.75]})

    @app.post("/predict")
    async def predict(request: Request):
        row = await request.json()
        with stage("preprocess"):
            cut("tensor", [row["age"] / 100])
        return model(row)

    @app.post("/threaded")
    def threaded(row: dict):
        cut("logits", [0.0, row["age"]])
        return {"id": request_id(), "trace": trace_context.current.get().trace_id}

    @app.get("/raises")
    async def raises():
        raise RuntimeError("no model")

    @app.get("/refuses")
    async def refuses():
        return JSONResponse({"detail": "bad"}, 422, {"x-more": "1"})

    @app.api_route("/text", methods=["GET", "HEAD"])
    async def text():
        return PlainTextResponse("ä" * 1000)

    @app.get("/stream")
    async def stream():
        async def parts():
            for number in range(5):
                yield f"data: {number}\n\n"
                await asyncio.sleep(0.001)

        return StreamingResponse(parts(), media_type="text/event-stream")

    @app.get("/breaks")
    async def breaks():
        async def parts():
            yield "begun"
            raise RuntimeError("in the middle")

        return StreamingResponse(parts())

    app.include_router(bodies)
    return app


@pytest.fixture(scope="module")
def plain():
    """The application as it is."""
    with uvicorn_of(application()) as port:
        yield port


@pytest.fixture(scope="module")
def monitored_app():
    """The application with the middleware, whose recorder each test sets."""
    app = MonitoredASGI(application(), skip=("/skipped",))
    with uvicorn_of(app) as port:
        app.port = port
        yield app


REQUESTS = {
    "json": asked_json("/predict", {"age": 50, "note": "é"}),
    "threaded": asked_json("/threaded", {"age": 2}, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", x_request_id="r1"),
    "no_json": asked("/predict", "POST", b"{no json", content_type="application/json"),
    "raises": asked("/raises"),
    "refuses": asked("/refuses"),
    "absent": asked("/nowhere"),
    "text": asked("/text"),
    "head": asked("/text", "HEAD"),
    "stream": asked("/stream"),
    "breaks": asked("/breaks"),
    "http_1_0": b"GET /text HTTP/1.0\r\n\r\n",
    "no_http": b"NONSENSE\r\n\r\n",
    "cut_off": asked("/digest", "POST", b"x" * 10)[:-3],
}


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in ("threaded", "cut_off")])
def test_no_byte_of_an_answer_changes(plain, served, name):
    """Errors, streams, HEAD and broken requests are answered as without the middleware."""
    assert answered(served, REQUESTS[name]) == answered(plain, REQUESTS[name])


@pytest.mark.parametrize("name", ["text", "stream", "cut_off"])
def test_a_half_closed_socket_harms_nothing(plain, served, name):
    """uvicorn ends a connection whose client says that it ends: no other byte is sent, and the next one is served."""
    whole = answered(plain, REQUESTS[name]) if name != "cut_off" else b""
    assert whole.startswith(answered(served, REQUESTS[name], half_close=True))
    assert answered(served, REQUESTS["text"]) == answered(plain, REQUESTS["text"])


def test_a_request_leaves_one_record(served, recorder):
    """A decorated function within it adds its cuts and stages to the record of the request."""
    answer = answered(served, REQUESTS["json"])
    (record,) = recorder.written()
    assert answer.endswith(b'{"label":1,"probabilities":[0.25,0.75]}')
    assert (record.way, record.path, record.status, record.outcome) == ("asgi", "POST /predict", 200, "ok")
    assert (record.request, record.response) == ('{"age":50,"note":"é"}', '{"label":1,"probabilities":[0.25,0.75]}')
    assert record.values["raw"] == {"age": 50, "note": "é"} and record.values["tensor"] == [0.5]
    assert record.confidence == 0.75 and record.stages.preprocess < record.stages.total
    assert None not in (record.cuts.raw, record.cuts.tensor, record.cuts.label)
    assert record.request_bytes == len('{"age": 50, "note": "\\u00e9"}')
    assert record.resources.rss > 1 << 20


def test_trace_and_request_ids_of_the_caller_are_kept(served, recorder):
    """`traceparent` and `X-Request-ID` come in, and code in a thread of the server sees both."""
    answer = answered(served, REQUESTS["threaded"])
    (record,) = recorder.written()
    assert f'{{"id":"r1","trace":"{TRACE}"}}'.encode() in answer
    assert (record.request_id, record.trace_id) == ("r1", TRACE) and record.span_id != "00f067aa0ba902b7"
    assert record.confidence == pytest.approx(0.881, abs=0.001)


@pytest.mark.parametrize(
    ("name", "status", "outcome", "error"),
    [
        ("raises", 500, "error", "RuntimeError: no model"),
        ("breaks", 200, "error", "RuntimeError: in the middle"),
        ("refuses", 422, "refused", ""),
        ("absent", 404, "refused", ""),
        ("no_json", 500, "error", "JSONDecodeError"),
    ],
)
def test_failures_are_told_apart(served, recorder, name, status, outcome, error):
    """What raised has its traceback; what was refused has none."""
    answered(served, REQUESTS[name])
    (record,) = recorder.written()
    assert (record.status, record.outcome) == (status, outcome)
    assert error in record.error and bool(record.error) == bool(error)
    assert record.reasons[0] == outcome


def test_a_stream_has_its_times(served, recorder):
    """Seconds to the first part, how many there were, and what lay between them."""
    answered(served, REQUESTS["stream"])
    (record,) = recorder.written()
    assert record.stream.parts == 5
    assert 0 < record.stream.first < record.stages.total
    assert 0 < record.stream.gap_mean <= record.stream.gap_max


def test_a_client_that_hangs_up_is_recorded_as_such(served, recorder):
    """Its answer has no end, and that is nobody's error."""
    hang_up(served)
    while not recorder.counts["taken"]:
        answered(served, asked("/skipped"))
    found = [record for record in recorder.written() if record.path.endswith("/endless")]
    assert [record.outcome for record in found] == ["disconnected"]


def test_a_body_of_100_mb_passes_and_is_not_kept(served, recorder):
    """It arrives whole; the record knows its size and its first bytes' hash, and holds nothing of it."""
    answer, digest = answered_large(served)
    assert digest in answer and str(SIZE).encode() in answer
    (record,) = recorder.written()
    assert (record.request_bytes, record.request) == (SIZE, "") and record.cuts.raw


def test_probes_are_not_recorded(served, recorder):
    """Paths that settings name pass as they are, with those below them, and no others."""
    recorder._skipped, recorder._below = frozenset({"/text"}), ("/text/",)
    for path in ("/text", "/text/more", "/textual"):
        answered(served, asked(path))
    assert [record.path for record in recorder.written()] == ["GET /textual"]


def test_a_server_that_ends_waits_for_its_writer(options, settings):
    """The writer starts with the server's lifespan, and has written all before the server is told that it may end."""
    app = MonitoredASGI(application(), **options)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def run():
        async def receive():
            if len(events) == 1:
                await app({**HTTP, "path": "/text"}, _body, _nothing)
            return events.pop(0)

        async def send(message):
            sent.append(message["type"])

        await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)

    assert isinstance(app.recorder, Recorder)
    asyncio.run(run())
    from firstfault.monitor.store import Store

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert [record.path for record in Store(settings).records()] == ["GET /text"]


HTTP = {"type": "http", "method": "GET", "query_string": b"", "headers": [], "http_version": "1.1"}


async def _body():
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nothing(message):
    """Takes what is sent."""
