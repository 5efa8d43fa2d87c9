"""The servers that firstfault starts on loopback: Prefect, MLflow and a worker, and how they are stopped again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from firstfault.errors import FirstfaultError, PrerequisiteError
from firstfault.extras import expect_installed
from firstfault.processes import HOST, Service, answers, expect_free, free_port, read, running, start, write
from firstfault.state import State

POOL = "firstfault"
START_SECONDS = 120.0
IDLE_SECONDS = 300.0


def healthy(service: Service) -> bool:
    """Whether a service answers; a worker is healthy while it is alive."""
    if not service.alive:
        return False
    if service.url is None:
        return True
    return answers(_health_url(service))


def _health_url(service: Service) -> str:
    return f"{service.url}/api/health" if service.name == "prefect" else f"{service.url}/health"


def up(
    state: State, prefect_port: int = 4200, mlflow_port: int = 5000, say: Callable[[str], None] = lambda text: None
) -> dict[str, Service]:
    """Start a Prefect server, an MLflow server and a worker, register the deployments, and wait for all.

    Raises:
        FirstfaultError: when they already run, a port is in use, or one does not become healthy;
            what was started is stopped again.
    """
    already = running(state)
    if {"prefect", "mlflow", "worker"} <= set(already):
        places = ", ".join(service.url for service in already.values() if service.url)
        raise FirstfaultError(f"firstfault is already up at {places}; `firstfault down` stops it")
    down(state)
    if prefect_port == mlflow_port:
        raise FirstfaultError(f"Prefect and MLflow must have a port each, but both got {prefect_port}")
    for name, port in (("Prefect", prefect_port), ("MLflow", mlflow_port)):
        expect_free(port, name)
    try:
        services = _start_all(state, prefect_port, mlflow_port, say)
    except BaseException:
        down(state)
        raise
    return services


def _start_all(state: State, prefect_port: int, mlflow_port: int, say: Callable[[str], None]) -> dict[str, Service]:
    say("starting the Prefect and MLflow servers")
    prefect = start_prefect(state, prefect_port)
    mlflow = _start_mlflow(state, mlflow_port)
    for service in (prefect, mlflow):
        _wait_for(service, lambda service=service: healthy(service))  # type: ignore[misc]
        say(f"{service.name} answers at {service.url}")
    environment = {"PREFECT_API_URL": f"{prefect.url}/api", "MLFLOW_TRACKING_URI": str(mlflow.url)}
    say("registering the deployments")
    _register(state, environment)
    worker = start(
        state, "worker", [*_prefect(), "worker", "start", "--pool", POOL, "--name", POOL], None, environment
    )
    _wait_for(worker, lambda: _worker_online(str(prefect.url)))
    say("the worker is online")
    return {service.name: service for service in (prefect, mlflow, worker)}


def start_prefect(state: State, port: int) -> Service:
    """Start a Prefect server on loopback; it is healthy some seconds later."""
    expect_installed("prefect", "a Prefect server")
    url = f"http://{HOST}:{port}"
    command = [*_prefect(), "server", "start", "--host", HOST, "--port", str(port)]
    return start(state, "prefect", command, url, {"PREFECT_SERVER_UI_API_URL": f"{url}/api", "PREFECT_API_URL": f"{url}/api"})


def _start_mlflow(state: State, port: int) -> Service:
    expect_installed("mlflow", "an MLflow server")
    state.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{state.home / 'mlflow.db'}",
        "--default-artifact-root", state.mlflow_artifacts.resolve().as_uri(), "--serve-artifacts",
        "--artifacts-destination", str(state.mlflow_artifacts),
    ]
    return start(state, "mlflow", command, f"http://{HOST}:{port}", {})


def down(state: State) -> list[Service]:
    """Stop exactly what `up` (or a debug run) started for this state; what was stopped."""
    import psutil

    stopped = []
    for service in reversed(read(state)):
        if not service.alive:
            continue
        family = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGTERM)
        _, stubborn = psutil.wait_procs(family, timeout=10)
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        stopped.append(service)
    (state.services / "services.json").unlink(missing_ok=True)
    return stopped


def prefect_for_a_run(state: State) -> str:
    """The API URL for a debug run: the user's server, the one that is up, or a new one in the background.

    The new one outlives the run, so that later runs start at once, and stops itself after some idle minutes.

    Raises:
        PrerequisiteError: when `PREFECT_API_URL` is set but does not answer.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        if not answers(f"{url.rstrip('/')}/health"):
            raise PrerequisiteError(f"Prefect must answer at {url}, but it does not; start it, or unset PREFECT_API_URL")
        return url
    state.services.mkdir(parents=True, exist_ok=True)
    (state.services / f"client.{os.getpid()}").touch()
    known = running(state).get("prefect")
    if known is None:
        known = start_prefect(state, free_port())
        _start_keeper(state)
    _wait_for(known, lambda: healthy(known))
    return f"{known.url}/api"


def _start_keeper(state: State) -> None:
    start(state, "keeper", [sys.executable, "-m", "firstfault.services", str(state.home)], None, {})


def keep(state: State, idle_seconds: float = IDLE_SECONDS) -> None:
    """Wait until no debug run has used the background server for `idle_seconds`; then stop it."""
    import psutil

    last = time.monotonic()
    while time.monotonic() - last < idle_seconds:
        time.sleep(5)
        for note in state.services.glob("client.*"):
            if psutil.pid_exists(int(note.suffix[1:])):
                last = time.monotonic()
            else:
                note.unlink(missing_ok=True)
                last = time.monotonic()
        if "prefect" not in running(state):
            return
    if "worker" not in running(state):
        others = [service for service in read(state) if service.name != "keeper"]
        write(state, others)
        down(state)


def _wait_for(service: Service, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready():
            return
        if not service.alive:
            raise FirstfaultError(f"{service.name} ended while starting: {_last_line(service)}; its log is {service.log}")
        time.sleep(0.2)
    raise FirstfaultError(f"{service.name} did not become healthy within {START_SECONDS:.0f} s; its log is {service.log}")


def _last_line(service: Service) -> str:
    lines = Path(service.log).read_text(errors="replace").strip().splitlines()
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return (raised or lines or ["its log is empty"])[-1][:200]


def _register(state: State, environment: Mapping[str, str]) -> None:
    pool = [*_prefect(), "work-pool", "create", POOL, "--type", "process", "--overwrite"]
    with resources.as_file(resources.files("firstfault.flows") / "prefect.yaml") as file:
        deploy = [*_prefect(), "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        for command in (pool, deploy):
            done = subprocess.run(
                command, env={**os.environ, **environment}, cwd=state.home.parent,
                capture_output=True, text=True, timeout=300,
            )
            if done.returncode != 0:
                last = (done.stdout + done.stderr).strip().splitlines()[-1:]
                raise FirstfaultError(f"registering the deployments failed: {''.join(last)}")


def _worker_online(prefect_url: str) -> bool:
    request = urllib.request.Request(
        f"{prefect_url}/api/work_pools/{POOL}/workers/filter", data=b"{}",
        headers={"Content-Type": "application/json"}, method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return any(worker.get("status") == "ONLINE" for worker in json.load(response))
    except (urllib.error.URLError, OSError):
        return False


def _prefect() -> list[str]:
    return [sys.executable, "-m", "prefect"]


if __name__ == "__main__":
    keep(State(Path(sys.argv[1])))
