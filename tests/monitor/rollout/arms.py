"""Records of two arms, as a monitor writes them, and servers that play champion and challenger."""

import contextlib
import socket
import threading

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from servers import uvicorn_of

from firstfault.monitor.record import Arm, Cuts, Outcome, Record, Stages
from firstfault.monitor.segments import Segment, hour_of


def record(number, arm, *, bad=False, seconds=0.01, time=1_700_000_000.0, **more):
    """One record: the one of that number in its order."""
    outcome = Outcome.ERROR if bad is True else Outcome(bad or "ok")
    told = {
        "request_id": f"r{number}",
        "trace_id": "0" * 32,
        "span_id": f"{number:016x}",
        "time": time + number,
        "way": "proxy",
        "model": "churn",
        "version": "7",
        "status": {"ok": 200, "error": 500, "refused": 422}.get(outcome, 499),
        "stages": Stages(seconds),
        "cuts": Cuts(raw=f"{number:016x}", label="0" * 16 if outcome is Outcome.OK else None),
        "raw": f"{hour_of(time)}/{arm}:{number}",
        "reasons": ("sample",),
        "weight": 1.0,
    }
    return Record(**{**told, **more}, arm=arm, outcome=outcome)


def split(n, rates, share=0.5, seed=0, **more):
    """Records of `n` requests, each given to one arm at random."""
    rng = np.random.default_rng(seed)
    theirs, chance = rng.random(n) < share, rng.random(n)
    seconds = (0.01 * rng.lognormal(0, 0.5, n)).tolist()
    arms = [Arm.CANARY if mine else Arm.CHAMPION for mine in theirs]
    return [
        record(number, arm, bad=bool(chance[number] < rates[arm is Arm.CANARY]), seconds=seconds[number], **more)
        for number, arm in enumerate(arms)
    ]


def write(settings, records, writer="w"):
    """Let a store have these records, in a segment that nobody writes any more."""
    segment = Segment(settings.folder, hour_of(records[0].time), writer)
    segment.write(list(records))
    segment.close()
    return segment.path


def predicting(fails=lambda x: False, label=lambda x: x % 2):
    """A server's application: `/predict` takes {"x": a number}, and fails for some."""
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        x = (await request.json())["x"]
        if fails(x):
            return JSONResponse({"error": "it fails"}, 500)
        return {"label": label(x), "traceparent": request.headers.get("traceparent", "")}

    return app


@contextlib.contextmanager
def both(champion, challenger):
    """Two such servers; gives their ports."""
    with uvicorn_of(champion) as ours, uvicorn_of(challenger) as theirs:
        yield ours, theirs


@contextlib.contextmanager
def hanging():
    """A server that takes connections without a word; gives its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def endless(size):
    """A server that answers anything with so many bytes; gives its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(size >> 20):
                connection.sendall(bytes(1 << 20))

    def run():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def dead():
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
