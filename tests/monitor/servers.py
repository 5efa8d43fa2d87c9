"""Real servers on loopback, and requests to them byte by byte."""

import asyncio
import contextlib
import hashlib
import json
import queue
import socket
import struct
import threading
import wsgiref.simple_server

import uvicorn
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

SIZE = 100 << 20
bodies = APIRouter()
"""Paths of an application that answer without end, and tell what they were sent."""


@bodies.get("/endless")
async def endless():
    """An answer without end."""

    async def parts():
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    return StreamingResponse(parts())


@bodies.post("/digest")
async def digest(request: Request):
    """The hash and the size of what was sent."""
    found, size = hashlib.sha256(), 0
    async for part in request.stream():
        found.update(part)
        size += len(part)
    return {"sha256": found.hexdigest(), "size": size}


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


@contextlib.contextmanager
def listening(work):
    """What listens until it is told to stop, as `work(ready, stop)`, in a thread; gives its port."""
    found = queue.SimpleQueue()

    async def run():
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        await work(lambda port: found.put((port, loop, stop)), stop)

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    port, loop, stop = found.get(timeout=20)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
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


def answered_large(port):
    """The answer of /digest to `SIZE` bytes, and the hash that it has to tell."""
    part = b"\x00" * (1 << 20)
    head = asked("/digest", "POST").replace(b"\r\n\r\n", f"\r\ncontent-length: {SIZE}\r\n\r\n".encode())
    sent = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head)
        for _ in range(SIZE // len(part)):
            connection.sendall(part)
            sent.update(part)
        return b"".join(iter(lambda: connection.recv(1 << 20), b"")), sent.hexdigest().encode()


def hang_up(port):
    """Ask for what has no end, and reset the connection when the answer has begun."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(asked("/endless"))
        connection.recv(1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def without_date(answer):
    """An answer without the one header that differs from second to second."""
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:"))
