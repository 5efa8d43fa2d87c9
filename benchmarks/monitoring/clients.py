"""Servers as processes, and clients that time them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from firstfault.runs.processes import answers, free_port

HERE = Path(__file__).parents[1]
CONNECTIONS = 16
ROW = {f"feature_{number}": round(0.123456 * number, 6) for number in range(30)}
BODY = json.dumps(ROW).encode()


@contextlib.contextmanager
def process(*arguments: str, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers at `ready` within the block."""
    started = subprocess.Popen([sys.executable, *arguments], cwd=HERE, stdout=subprocess.DEVNULL)
    try:
        while not answers(ready, refusals=True):
            if started.poll() is not None:
                raise SystemExit(f"{arguments} ended with {started.returncode}")
            time.sleep(0.1)
        yield started
    finally:
        started.terminate()
        started.wait()


@contextlib.contextmanager
def served(name: str = "server", store: str = "") -> Iterator[int]:
    """A server of monitoring/ behind uvicorn, with the middleware where there is a store."""
    port = free_port()
    os.environ["BENCHMARK_STORE"] = store
    arguments = ("-m", "uvicorn", f"monitoring.{name}:app", "--port", str(port), "--log-level", "warning")
    with process(*arguments, ready=f"http://127.0.0.1:{port}/cpu"):
        yield port


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(length)


def request_to(path: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    method = "POST" if body else "GET"
    kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{kind}\r\n".encode() + body


async def latencies(
    port: int, each: int, connections: int = CONNECTIONS, path: str = "/predict", pace: float = 0.0
) -> list[float]:
    """Milliseconds of requests over some connections at once, each of which asks every `pace` seconds."""
    request, found = request_to(path, BODY), []

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.perf_counter() + pace * number / connections
        for turn in range(each):
            if pace and (wait := began + turn * pace - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            asked = time.perf_counter()
            await _ask(reader, writer, request)
            found.append((time.perf_counter() - asked) * 1000)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    return found


async def cpu_of(port: int) -> float:
    """The CPU seconds of a server so far."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seconds = float(await _ask(reader, writer, request_to("/cpu")))
    writer.close()
    return seconds


def streamed(port: int) -> bytes:
    """All bytes of a streamed answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request_to("/stream").replace(b"host: x", b"host: x\r\nconnection: close"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"date:"))
