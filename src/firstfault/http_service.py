"""A model served over HTTP on loopback: started, asked, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from firstfault.errors import Missing
from firstfault.processes import HOST, answers, free_port
from firstfault.serving import golden_of, packaged
from firstfault.subject import Subject

START_SECONDS = 90.0
PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
UNANSWERED = 599
CALLS = 30


@dataclass(frozen=True)
class Answers:
    """Latencies (p50, p95, p99 in ms) of good requests, and the status code of each malformed one."""

    latency_ms: tuple[float, float, float]
    malformed: dict[str, int]


@contextlib.contextmanager
def serving(subject: Subject) -> Iterator[str]:
    """The URL of the deployment, or of MLflow's scoring server, as `mlflow models serve` starts it, which lives for the block.

    Raises:
        Missing: when the process does not become healthy.
    """
    if subject.deployment.url is not None:
        yield subject.deployment.url
        return
    from firstfault.tracking.packages import scoring_server

    port, log = free_port(), subject.folder / "serve.log"
    command, environment = scoring_server(packaged(subject), HOST, port)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env=environment, preexec_fn=_ends_with_us(),
        )
    try:
        _wait(process, f"http://{HOST}:{port}/health", log)
        yield f"http://{HOST}:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        log.write_text("\n".join(map(subject.masked, log.read_text(errors="replace").splitlines())))   # it may quote what it was asked


def _ends_with_us() -> Callable[[], object] | None:
    """What lets a child be killed when this process is, however that happens; Linux alone knows how."""
    if sys.platform != "linux":
        return None
    import ctypes

    return functools.partial(ctypes.CDLL(None).prctl, PARENT_DEATH_SIGNAL, signal.SIGKILL)


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
        return {"dataframe_split": {"columns": columns, "data": [[*values[:numeric], value, *values[numeric + 1:]]]}}

    return {"dataframe_split": {"columns": columns, "data": [values]}}, {
        "wrong type": changed("not a number"),
        "missing column": {"dataframe_split": {"columns": columns[1:], "data": [values[1:]]}},
        "NaN": changed(float("nan")),
        "empty": {"dataframe_split": {"columns": columns, "data": []}},
        "huge": changed(1e300),
    }


def _array_requests(row: np.ndarray[Any, Any]) -> dict[str, Any]:
    if row.dtype.kind not in "fiub":                        # texts
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


def measure(url: str, good: Any, malformed: dict[str, Any]) -> Answers:
    """Ask `CALLS` good requests one after another, then each malformed one."""
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        code = _post(url, good)
        seconds.append(time.perf_counter() - started)
        if code != 200:
            raise Missing(f"nothing answers at {url}" if code == UNANSWERED else f"the served process refuses a good request with {code}")
    p50, p95, p99 = (1000 * float(np.quantile(seconds[3:], share)) for share in (0.5, 0.95, 0.99))
    return Answers((p50, p95, p99), {name: _post(url, body) for name, body in malformed.items()})


def _post(url: str, body: Any) -> int:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except (urllib.error.URLError, OSError):
        return UNANSWERED
