"""The WSGI middleware on a real server: no byte of an answer changes, and each request leaves its record."""

import io
import wsgiref.util

import flask
import pytest
from servers import answered, asked, asked_json, without_date, wsgiref_of

from firstfault.monitor import MonitoredWSGI, cut, request_id, stage

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def bare(environ, start_response):
    """An application without a framework, with what WSGI allows."""
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise RuntimeError("no model")
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/written":
        write(b"one,")
        return [b"two"]
    if path == "/file":
        return environ["wsgi.file_wrapper"](io.BytesIO(b"f" * 20_000), 8192)
    if path == "/parts":
        return (part for part in (b"a", b"", b"b" * 5000))
    if path == "/breaks":
        return breaking()
    if path == "/lines":
        return [b"|".join(environ["wsgi.input"].readline() for _ in range(2))]
    return [b"alone"]


def breaking():
    """An answer that ends in an error."""
    yield b"begun"
    raise RuntimeError("in the middle")


def framework():
    """A model behind Flask."""
    app = flask.Flask("model")

    @app.post("/predict")
    def predict():
        with stage("model"):
            cut("logits", [2.0, 0.0])
        return {"label": flask.request.get_json()["age"] > 40, "id": request_id()}

    @app.get("/stream")
    def stream():
        return flask.Response((f"data: {number}\n\n" for number in range(3)), mimetype="text/event-stream")

    return app


def routed(environ, start_response):
    """Both behind one server."""
    app = FLASK if environ["PATH_INFO"] in ("/predict", "/stream", "/nowhere") else bare
    return app(environ, start_response)


FLASK = framework()


@pytest.fixture(scope="module")
def plain():
    """The applications as they are."""
    with wsgiref_of(routed) as port:
        yield port


@pytest.fixture(scope="module")
def monitored_app():
    """The same with the middleware."""
    app = MonitoredWSGI(routed)
    with wsgiref_of(app) as port:
        app.port = port
        yield app


REQUESTS = {
    "alone": asked("/alone"),
    "head": asked("/alone", "HEAD"),
    "written": asked("/written"),
    "file": asked("/file"),
    "parts": asked("/parts"),
    "breaks": asked("/breaks"),
    "raises": asked("/raises"),
    "lines": asked("/lines", "POST", b"one\ntwo\n"),
    "stream": asked("/stream"),
    "absent": asked("/nowhere"),
    "no_json": asked("/predict", "POST", b"{no", content_type="application/json", x_request_id="r1"),
    "json": asked_json("/predict", {"age": 50}, x_request_id="r1", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"),
}


@pytest.mark.parametrize("half_close", [False, True], ids=["open", "half_closed"])
@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "json"])
def test_no_byte_of_an_answer_changes(plain, served, name, half_close):
    """Lists, generators, files, `write()`, errors, HEAD and half-closed sockets are answered as without it."""
    ours, theirs = (without_date(answered(port, REQUESTS[name], half_close=half_close)) for port in (served, plain))
    assert ours == theirs and ours


def test_a_request_leaves_one_record(served, recorder):
    """Body, answer, ids, trace, cuts and stages are those of the request."""
    answer = answered(served, REQUESTS["json"])
    (record,) = recorder.written()
    assert b'"id":"r1"' in answer
    assert (record.way, record.path, record.status, record.request) == ("wsgi", "POST /predict", 200, '{"age":50}')
    assert (record.request_id, record.trace_id) == ("r1", TRACE)
    assert record.confidence == pytest.approx(0.881, abs=0.001) and record.stages.model < record.stages.total


@pytest.mark.parametrize(
    ("name", "status", "outcome", "size", "error"),
    [
        ("file", 200, "ok", 0, ""),
        ("parts", 200, "ok", 5001, ""),
        ("written", 200, "ok", 7, ""),
        ("breaks", 200, "error", 5, "in the middle"),
        ("raises", 500, "error", 0, "no model"),
        ("absent", 404, "refused", 207, ""),
        ("lines", 200, "ok", 9, ""),
    ],
)
def test_every_kind_of_answer_is_recorded_once(served, recorder, name, status, outcome, size, error):
    """Status, outcome and size are known, whichever way an application answers."""
    answered(served, REQUESTS[name])
    (record,) = recorder.written()
    assert (record.status, record.outcome, record.response_bytes) == (status, outcome, size)
    assert error in record.error


def test_an_answer_that_is_not_taken_to_its_end_had_no_client(recorder, options):
    """A server that closes an answer early says so to the application too."""
    closed = []

    class Parts:
        def __iter__(self):
            return iter([b"one", b"two"])

        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", [])
        return Parts()

    environ = {}
    wsgiref.util.setup_testing_defaults(environ)
    parts = MonitoredWSGI(app, **options)(environ, lambda *_: None)
    assert next(iter(parts)) == b"one"
    parts.close()
    (record,) = recorder.written()
    assert closed == [True] and record.outcome == "disconnected"


def test_an_answer_that_is_closed_before_it_began_had_no_client(recorder, options):
    """Its status is that of a client that is gone, as behind the other ways in."""

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"never"

    environ = {}
    wsgiref.util.setup_testing_defaults(environ)
    MonitoredWSGI(app, **options)(environ, lambda *_: None).close()
    (record,) = recorder.written()
    assert (record.status, record.outcome) == (499, "disconnected")
