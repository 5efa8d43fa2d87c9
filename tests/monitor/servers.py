"""Real servers on loopback, and requests to them byte by byte."""

import contextlib
import json
import socket
import threading
import wsgiref.simple_server

import uvicorn


@contextlib.contextmanager
def uvicorn_of(app):
    """An ASGI application behind uvicorn, in a thread; gives its port."""
    config = uvicorn.Config(app, port=0, log_level="critical", date_header=False, lifespan="off")
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """A handler that writes no lines."""

    def log_message(self, *_):
        """Nothing."""

    def get_stderr(self):
        """Nowhere."""
        return open("/dev/null", "w")  # noqa: PTH123


@contextlib.contextmanager
def wsgiref_of(app):
    """A WSGI application behind Python's own server, in a thread; gives its port."""
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(path, method="GET", body=b"", **headers):
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: model", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def asked_json(path, value, **headers):
    """The bytes of a request with JSON."""
    return asked(path, "POST", json.dumps(value).encode(), content_type="application/json", **headers)


def answered(port, data, *, half_close=False):
    """All bytes of the answer to the bytes of a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            return b"".join(iter(lambda: connection.recv(1 << 20), b""))
        return b""


def without_date(answer):
    """An answer without the one header that differs from second to second."""
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:"))
