"""How runs end that are struck down.

Measured are seconds from the blow to the end, the exit code, the sentence, and what is left of processes and ports.

`debug`, `run` and `sweep` of a training whose loader ignores signals (benchmarks/slow) get SIGINT and SIGTERM, lose
their Prefect or their MLflow server by kill -9, and are given a store that can't be written. Last line: `RESULT
{json}`, with "met": within 5 s after a signal and 60 s after a server's death, with the exit code that is due, and
nothing left. `python benchmarks/endings.py debug:SIGINT run:mlflow` measures these alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from firstfault.runs.processes import answers, free_port

SLOW = Path(__file__).parent / "slow"
COMMAND = [sys.executable, "-m", "firstfault.cli.app"]
CALLS = {
    "debug": ["debug", "target.py", "--depth", "quick", "--only", "training"],
    "run": ["run", "--sink", "mlflow", "train.py"],
    "sweep": ["sweep", "target.py", "--factors", "longer", "--seeds", "2", "--workers", "2"],
}
BLOWS = ("SIGINT", "SIGTERM", "prefect", "mlflow", "unwritable")
CODES = {"SIGINT": 130, "SIGTERM": 143}
SIGNAL_SECONDS, SERVER_SECONDS, LONGEST = 5.0, 60.0, 300.0
OURS = ("firstfault: ", "! ", "the sink ")


def main() -> None:
    """Measure every pair, print a table, and end with the RESULT line."""
    # what is started heeds it, even if this runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = [tuple(word.split(":")) for word in sys.argv[1:]]
    pairs = asked or [(call, blow) for call in CALLS for blow in BLOWS if (call, blow) != ("run", "prefect")]
    rows = []
    for call, blow in pairs:
        rows.append(row := measure(call, blow))
        left = f"left {row['processes']} processes, {row['ports']} ports"
        print(
            f"{call:<6} {blow:<11} {row['seconds']:6.1f} s  code {row['code']:>4}  {left}  {row['sentence']}",
            flush=True,
        )
    print("RESULT", json.dumps({"met": all(row["met"] for row in rows), "rows": rows}))


def measure(call: str, blow: str) -> dict:
    """One run, and how it ended."""
    folder = Path(tempfile.mkdtemp(prefix="endings"))
    servers: dict[str, subprocess.Popen] = {}
    try:
        shutil.copytree(SLOW, folder / "project")
        (folder / "project" / ".firstfault").mkdir()
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PREFECT_", "MLFLOW_", "FIRSTFAULT_"))
        }
        if blow == "unwritable":
            environment["MLFLOW_TRACKING_URI"] = "sqlite:////proc/x.db"
        elif blow in ("prefect", "mlflow"):
            servers[blow], url = serve(blow, folder)
            environment["PREFECT_API_URL" if blow == "prefect" else "MLFLOW_TRACKING_URI"] = url
        return strike(call, blow, folder / "project", environment, servers.get(blow))
    finally:
        for server in servers.values():
            kill(server)
        shutil.rmtree(folder, ignore_errors=True)


def strike(call: str, blow: str, project: Path, environment: dict[str, str], server: subprocess.Popen | None) -> dict:
    """Begin the run, give the blow once it trains, and wait for its end."""
    process = subprocess.Popen(
        [*COMMAND, *CALLS[call]],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    started = time.monotonic()
    while (
        blow != "unwritable"
        and not (project / "training").exists()
        and process.poll() is None
        and time.monotonic() - started < LONGEST
    ):
        time.sleep(0.05)
    family = (
        [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        if process.poll() is None
        else []
    )
    ports = [port for each in family for port in listening(each)]
    struck = time.monotonic() if blow != "unwritable" else started
    if server is not None:
        kill(server)
    elif blow in CODES:
        process.send_signal(getattr(signal, blow))
    if blow not in CODES:
        (project / "go").touch()
    said, _ = process.communicate(timeout=LONGEST)
    seconds = time.monotonic() - struck
    left = [each.pid for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    held = [port for port in ports if answers(f"http://127.0.0.1:{port}/", 1.0)]
    lines = [
        line
        for line in said.splitlines()
        if line.startswith(OURS) and any(sign in line for sign in ("firstfault: ", "longer", "sink"))
    ]
    limit = SIGNAL_SECONDS if blow in CODES else SERVER_SECONDS
    due = {CODES[blow]} if blow in CODES else {2} if blow == "unwritable" and call != "run" else {0, 1}
    return {
        "call": call,
        "blow": blow,
        "seconds": round(seconds, 1),
        "code": process.returncode,
        "processes": len(left),
        "ports": len(held),
        "sentence": lines[-1] if lines else "",
        "met": seconds < limit and process.returncode in due and not left and not held and bool(lines),
    }


def listening(process: psutil.Process) -> list[int]:
    """The ports on which a process listens."""
    try:
        return [entry.laddr.port for entry in process.net_connections() if entry.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


def serve(kind: str, folder: Path) -> tuple[subprocess.Popen, str]:
    """A Prefect or MLflow server on loopback that answers, and what names it."""
    port, home = free_port(), folder / kind
    home.mkdir()
    commands = {
        "prefect": ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        "mlflow": [
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{home}/m.db",
            "--serve-artifacts",
            "--artifacts-destination",
            str(home / "artifacts"),
        ],
    }
    quiet = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *commands[kind]],
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        cwd=home,
    )
    url = f"http://127.0.0.1:{port}" + ("/api" if kind == "prefect" else "")
    deadline = time.monotonic() + LONGEST
    while not answers(f"{url}/health") and time.monotonic() < deadline:
        time.sleep(0.3)
    return process, url


def kill(server: subprocess.Popen) -> None:
    """kill -9 of a server and its workers."""
    if server.poll() is None:
        for each in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
            each.kill()
        server.wait()


if __name__ == "__main__":
    main()
