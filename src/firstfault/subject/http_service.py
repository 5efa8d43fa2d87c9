"""A model served over HTTP on loopback: started, asked, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from firstfault.errors import Missing
from firstfault.extras import installed
from firstfault.output.whole_files import write_text
from firstfault.runs.login import USER, header
from firstfault.runs.ownership import ends_with_us
from firstfault.runs.processes import HOST, PRIVATE, answers, free_port, private_log
from firstfault.subject.memo import memo
from firstfault.subject.serving import golden_of, packaged
from firstfault.subject.subject import Subject

START_SECONDS, ANSWER_SECONDS = 300.0, 120.0
"""Bounds of a hang by the wall clock: what a busy machine needs is far below, and what lasts longer is not tested."""
UNANSWERED = 599
"""A code that no server gives, for a request that got no answer."""
CALLS = 30
"""Good requests, of which three warm up: the p95 of the others is about their second slowest."""


@dataclass(frozen=True)
class Answers:
    """Latencies (p50, p95, p99 in ms) of good requests, and the status code of each malformed one."""

    latency_ms: tuple[float, float, float]
    malformed: dict[str, int]


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and the login to send there; a deployment of the user's own gets none."""

    url: str
    login: str | None = None


@dataclass(frozen=True)
class ScoringServer:
    """MLflow's scoring server as a process of its own, which imports what it needs until it is given a package."""

    process: subprocess.Popen[bytes]
    port: int
    login: str
    log: Path

    def serve(self, package: Path) -> None:
        """Name the package that it shall serve."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError), self.process.stdin as stream:  # one that has ended is told by its log
            stream.write(f"{package}\n".encode())

    def end(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)


@memo(of="trained")
def scoring_server_of(subject: Subject) -> ScoringServer:
    """The server that is begun beside the checks which come before it is asked."""
    return _start(subject.folder / "serve.log")


def _start(log: Path) -> ScoringServer:
    from firstfault.tracking.packages import scoring_server

    port, login = free_port(), f"{USER}:{secrets.token_urlsafe(24)}"
    command, environment = scoring_server(HOST, port, login)
    with private_log(log) as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.PIPE,
            start_new_session=True,
            umask=PRIVATE,
            env=environment,
            preexec_fn=ends_with_us(),
        )
    return ScoringServer(process, port, login, log)


def is_served_by_mlflow(subject: Subject) -> bool:
    """Whether nothing of the user's serves, and MLflow can, so that its server does in their place."""
    deployment = subject.target.deployment
    if deployment is None or not installed("mlflow"):
        return False
    own = (deployment.url, deployment.model, deployment.load, deployment.preprocess)
    return all(part is None for part in own)


@contextlib.contextmanager
def beginning_to_serve(subject: Subject) -> Iterator[None]:
    """Let MLflow's server import what it needs while the block works; one that is left over is ended with the block."""
    if is_served_by_mlflow(subject) and subject.made(Subject.trained) is not None:
        subject.get(scoring_server_of)
    try:
        yield
    finally:
        if (server := subject.made(scoring_server_of)) is not None:
            server.end()


@contextlib.contextmanager
def serving(subject: Subject) -> Iterator[Endpoint]:
    """The deployment's URL, or MLflow's scoring server, as `mlflow models serve` starts it, which lives for the block.

    Raises:
        Missing: when the process does not become healthy.
    """
    if subject.deployment.url is not None:
        yield Endpoint(subject.deployment.url)
        return
    begun = subject.made(scoring_server_of)
    server = begun if begun is not None and begun.process.poll() is None else _start(subject.folder / "serve.log")
    try:
        server.serve(packaged(subject))
        _wait(server.process, f"http://{HOST}:{server.port}/health", server.log)
        yield Endpoint(f"http://{HOST}:{server.port}/invocations", server.login)
    finally:
        server.end()
        # it may quote what it was asked
        write_text(server.log, "\n".join(map(subject.masked, server.log.read_text(errors="replace").splitlines())))


def _wait(process: Any, url: str, log: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if answers(url, timeout=1.0):
            return
        time.sleep(0.1)
    lines = log.read_text(errors="replace").strip().splitlines()
    raise Missing(f"the served process did not become healthy: {lines[-1][:200] if lines else 'its log is empty'}")


def requests_for(subject: Subject) -> tuple[Any, dict[str, Any]]:
    """A good request, and malformed ones by name, as JSON values."""
    raw = golden_of(subject).raw
    if subject.deployment.request is not None:
        good = subject.deployment.request
        return good, {"wrong type": {"inputs": "text"}, "empty": {}, "no JSON object": []}
    if isinstance(raw, pd.DataFrame):
        return _frame_requests(raw.head(1))
    row = np.asarray(raw)[:1]
    return {"inputs": row.tolist()}, _array_requests(row)


def _frame_requests(row: pd.DataFrame) -> tuple[Any, dict[str, Any]]:
    plain: dict[str, Any] = json.loads(row.astype(object).to_json(orient="split", index=False))
    columns, [values] = plain["columns"], plain["data"]
    numeric = next((index for index, name in enumerate(columns) if pd.api.types.is_numeric_dtype(row[name])), 0)

    def changed(value: Any) -> dict[str, Any]:
        return {"dataframe_split": {"columns": columns, "data": [[*values[:numeric], value, *values[numeric + 1 :]]]}}

    return {"dataframe_split": {"columns": columns, "data": [values]}}, {
        "wrong type": changed("not a number"),
        "missing column": {"dataframe_split": {"columns": columns[1:], "data": [values[1:]]}},
        "NaN": changed(float("nan")),
        "empty": {"dataframe_split": {"columns": columns, "data": []}},
        "huge": changed(1e300),
    }


def _array_requests(row: np.ndarray[Any, Any]) -> dict[str, Any]:
    if row.dtype.kind not in "fiub":  # texts
        return {"empty": {"inputs": []}, "no JSON object": []}
    flat = row.astype(float).reshape(-1)
    whole = row.dtype.kind in "iu"

    def first(value: Any) -> dict[str, Any]:
        return {"inputs": np.concatenate([[value], flat[1:]]).reshape(row.shape).tolist()}

    narrow = row[..., :-1] if row.ndim > 1 and row.shape[-1] > 1 else np.zeros((1, *row.shape[1:], 2))
    return {
        "wrong type": {"inputs": "text"},
        "missing column": {"inputs": narrow.tolist()},
        "NaN": first(float("nan")),
        "empty": {"inputs": []},
        **({} if whole else {"huge": first(float("inf"))}),
    }


def measure(endpoint: Endpoint, good: Any, malformed: dict[str, Any]) -> Answers:
    """Ask `CALLS` good requests one after another, then each malformed one.

    Raises:
        Missing: when a good request is refused, or any is not answered in time.
    """
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        code = _post(endpoint, good)
        seconds.append(time.perf_counter() - started)
        if code != 200:
            refused = f"the served process refuses a good request with {code}"
            raise Missing(f"nothing answers at {endpoint.url}" if code == UNANSWERED else refused)
    p50, p95, p99 = (1000 * float(np.quantile(seconds[3:], share)) for share in (0.5, 0.95, 0.99))
    return Answers((p50, p95, p99), {name: _post(endpoint, body) for name, body in malformed.items()})


def _post(endpoint: Endpoint, body: Any) -> int:
    login = {"Authorization": header(endpoint.login)} if endpoint.login else {}
    headers = {"Content-Type": "application/json", **login}
    request = urllib.request.Request(endpoint.url, data=json.dumps(body).encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError as error:  # urllib's own are such
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
            raise Missing(f"{endpoint.url} does not answer within {ANSWER_SECONDS:.0f} s") from error
        return UNANSWERED
