"""The guard before our servers, asked directly: what it lets pass to the app behind it, and what it answers itself."""

import asyncio
import base64

import pytest

from firstfault.runs.access import AccessGuard

LOGIN = "firstfault:secret"
HEADER = b"Basic " + base64.b64encode(LOGIN.encode())


def answer(*headers, kind="http", path="/api", login=LOGIN, port=4200):
    """What is sent for a request: "passed" where the app behind the guard was asked."""
    sent = []

    async def app(scope, receive, send):
        sent.append("passed")

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "path": path,
        "server": ("127.0.0.1", port),
        "headers": [(name, value) for name, value in headers],
    }
    asyncio.run(AccessGuard(app, login)(scope, None, send))
    return sent


OWN = (b"host", b"127.0.0.1:4200")
ALLOWED = (b"authorization", HEADER)


@pytest.mark.parametrize(
    "headers",
    [
        [OWN],
        [(b"host", b"localhost:4200")],
        [OWN, (b"origin", b"http://127.0.0.1:4200")],
        [OWN, (b"origin", b"http://localhost:4200")],
    ],
)
def test_its_own_address_passes(headers):
    """By number and by name, from its own pages and from clients that are no browser; over WebSockets too."""
    for kind in ("http", "websocket"):
        assert answer(*headers, ALLOWED, kind=kind) == ["passed"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"127.0.0.1")],
        [(b"host", b"127.0.0.1:4201")],
        [(b"host", b"evil.example:4200")],
        [(b"host", b"127.0.0.1:4200.evil.example")],
        [OWN, (b"host", b"evil.example")],
        [OWN, (b"origin", b"null")],
        [OWN, (b"origin", b"")],
        [OWN, (b"origin", b"https://127.0.0.1:4200")],
        [OWN, (b"origin", b"http://127.0.0.1:4200.evil.example")],
        [OWN, (b"origin", b"http://127.0.0.1:4200"), (b"origin", b"http://evil.example")],
    ],
)
def test_foreign_hosts_and_origins_are_refused(headers):
    """Whatever looks like its address but isn't, none at all, and two at once; with the login too, and for probes."""
    for path in ("/api", "/health"):
        start, body = answer(*headers, ALLOWED, path=path)
        assert start["status"] == 403 and body["body"].startswith((b"the Host header", b"only this server's own pages"))
    [closed] = answer(*headers, ALLOWED, kind="websocket")
    assert closed["type"] == "websocket.close"


@pytest.mark.parametrize(
    "value", [None, b"", b"Basic", HEADER + b"=", HEADER[:-1], HEADER.lower(), b"Bearer " + HEADER[6:], b"Basic \xff"]
)
def test_a_missing_or_wrong_login_is_asked_for(value):
    """With the question that makes a browser ask its user."""
    start, _ = answer(OWN, *([(b"authorization", value)] if value is not None else []))
    assert start["status"] == 401 and dict(start["headers"])[b"www-authenticate"].startswith(b"Basic realm=")


def test_a_probe_needs_no_login_and_an_app_with_its_own_is_not_asked_twice():
    """Health is told at its exact path only; Prefect asks for the login itself."""
    assert answer(OWN, path="/health") == ["passed"] and answer(OWN, login=None) == ["passed"]
    assert answer(OWN, path="/health/../api")[0]["status"] == answer(OWN, path="/api/health")[0]["status"] == 401


def test_start_and_end_of_the_server_pass():
    """The app behind is told of them."""
    assert answer(kind="lifespan") == ["passed"]


def test_the_usual_port_may_be_left_out():
    """A browser sends no port where it is 80."""
    assert answer((b"host", b"127.0.0.1"), ALLOWED, port=80) == ["passed"]
