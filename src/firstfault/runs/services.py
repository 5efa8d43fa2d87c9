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
from functools import partial
from importlib import resources
from pathlib import Path

from firstfault.errors import FirstfaultError
from firstfault.extras import expect_installed
from firstfault.runs.default_target import default_target
from firstfault.runs.login import client_environment, header, login_of
from firstfault.runs.ownership import below, end_family, mark_of, marked
from firstfault.runs.processes import (
    HOST,
    OWNER,
    PRIVATE,
    SERVERS,
    Service,
    answers,
    expect_free,
    private_files,
    private_log,
    read,
    running,
    start,
)
from firstfault.runs.state import State

POOL = "firstfault"
START_SECONDS = 120.0
"""How long a server may take to answer: a first start makes its database, in 15 s where nothing else runs."""


def healthy(service: Service) -> bool:
    """Whether a service answers; a worker is healthy while it is alive."""
    if not service.alive:
        return False
    if service.url is None:
        return True
    return answers(_health_url(service))


def _health_url(service: Service) -> str:
    return f"{service.url}/api/health" if service.name == "prefect" else f"{service.url}/health"


@private_files()
def up(
    state: State, prefect_port: int = 4200, mlflow_port: int = 5000, say: Callable[[str], None] = lambda text: None
) -> dict[str, Service]:
    """Start a Prefect server, an MLflow server and a worker, register the deployments, and wait for all.

    They belong to one process, the owner (`firstfault.runs.supervisor`), and end with it.

    Raises:
        MissingExtra: when Prefect or MLflow is not installed.
        FirstfaultError: when they already run, a port is in use, or one does not become healthy;
            what was started is stopped again.
    """
    already = running(state)
    if set(already) >= SERVERS:
        places = ", ".join(service.url for service in already.values() if service.url)
        raise FirstfaultError(f"firstfault is already up at {places}; `firstfault down` stops it")
    down(state)
    if prefect_port == mlflow_port:
        raise FirstfaultError(f"Prefect and MLflow must have a port each, but both got {prefect_port}")
    for module, name, port in (("prefect", "Prefect", prefect_port), ("mlflow", "MLflow", mlflow_port)):
        expect_installed(module, "firstfault up")
        expect_free(port, name)
    state.make()
    login_of(state)
    try:
        _follow(_start_owner(state, prefect_port, mlflow_port), say)
    except BaseException:
        down(state)
        raise
    return running(state)


def _start_owner(state: State, prefect_port: int, mlflow_port: int) -> subprocess.Popen[bytes]:
    state.services.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "firstfault.runs.supervisor", str(state.home), str(prefect_port), str(mlflow_port)]
    with private_log(state.services / f"{OWNER}.log") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            umask=PRIVATE,
            cwd=state.home.parent,
        )


def _follow(owner: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    """Pass on what the owner tells, one JSON object a line, until all is ready."""
    assert owner.stdout is not None
    with owner.stdout as told:
        for line in told:
            event = json.loads(line)
            if "ready" in event:
                return
            if "failed" in event:
                raise FirstfaultError(event["failed"])
            say(event["say"])
    raise FirstfaultError(f"the owner of the servers ended while starting them, with {owner.wait()}; see its log")


def start_all(state: State, prefect_port: int, mlflow_port: int, say: Callable[[str], None]) -> None:
    """Start the servers as this process's own, wait until they are healthy, register the deployments, start the worker.

    Raises:
        FirstfaultError: when one does not become healthy.
    """
    say("starting the Prefect and MLflow servers")
    prefect = start_prefect(state, prefect_port, owned=True)
    mlflow = _start_mlflow(state, mlflow_port)
    for service in (prefect, mlflow):
        _wait_for(service, partial(healthy, service))
        say(f"{service.name} answers at {service.url}")
    environment = client_environment(state, prefect.url, mlflow.url)
    target = default_target(state)
    say(f"registering the deployments, for {target}")
    _register(state, {**environment, "FIRSTFAULT_TARGET": target})
    command = [*_prefect(), "worker", "start", "--pool", POOL, "--name", POOL]
    worker = start(state, "worker", command, None, environment, owned=True)
    _wait_for(worker, lambda: _worker_online(str(prefect.url), login_of(state)))
    say("the worker is online")


def start_prefect(state: State, port: int, *, owned: bool = False) -> Service:
    """Start a Prefect server on loopback; it is healthy some seconds later."""
    state.make()
    expect_installed("prefect", "a Prefect server")
    url = f"http://{HOST}:{port}"
    environment = {
        "FIRSTFAULT_HOME": str(state.home),
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        **client_environment(state, url, None),
    }
    command = _served("firstfault.flows.server:prefect_server", port)
    return start(state, "prefect", command, url, environment, owned=owned)


def _start_mlflow(state: State, port: int) -> Service:
    expect_installed("mlflow", "an MLflow server")
    state.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    command = _served("firstfault.tracking.guarded:tracking_server", port)
    return start(state, "mlflow", command, f"http://{HOST}:{port}", {"FIRSTFAULT_HOME": str(state.home)}, owned=True)


def _served(factory: str, port: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--factory", factory, "--host", HOST, "--port", str(port)]


def down(state: State) -> list[Service]:
    """Stop exactly what `up` started for this state; what was stopped."""
    noted = [service for service in reversed(read(state)) if service.alive]
    for owner in (service for service in read(state) if service.name == OWNER):
        _end_owner(owner)
    for service in noted:
        if service.alive:  # it has no owner
            end_family(partial(below, service.pid, itself=True))
    (state.services / "services.json").unlink(missing_ok=True)
    return [service for service in noted if service.name != OWNER]


def _end_owner(owner: Service) -> None:
    """End the owner, and what still carries its mark; its warden ends by itself."""
    if owner.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGTERM)
    end_family(partial(marked, mark_of(owner.pid, owner.created)))


def _wait_for(service: Service, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready():
            return
        if not service.alive:
            raise FirstfaultError(
                f"{service.name} ended while starting: {_last_line(service)}; its log is {service.log}"
            )
        time.sleep(0.2)
    raise FirstfaultError(
        f"{service.name} did not become healthy within {START_SECONDS:.0f} s; its log is {service.log}"
    )


def _last_line(service: Service) -> str:
    lines = Path(service.log).read_text(errors="replace").strip().splitlines()
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return (raised or lines or ["its log is empty"])[-1][:200]


def _register(state: State, environment: Mapping[str, str]) -> None:
    files = resources.files("firstfault.flows")
    with resources.as_file(files / "prefect.yaml") as file, resources.as_file(files / "work_pool.json") as template:
        pool = [*_prefect(), "work-pool", "create", POOL, "--type", "process", "--overwrite"]
        pool += ["--base-job-template", str(template)]
        deploy = [*_prefect(), "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        for command in (pool, deploy):
            done = subprocess.run(
                command,
                env={**os.environ, **environment},
                cwd=state.home.parent,
                capture_output=True,
                text=True,
                timeout=300,
            )
            if done.returncode != 0:
                last = (done.stdout + done.stderr).strip().splitlines()[-1:]
                raise FirstfaultError(f"registering the deployments failed: {''.join(last)}")


def _worker_online(prefect_url: str, login: str) -> bool:
    request = urllib.request.Request(
        f"{prefect_url}/api/work_pools/{POOL}/workers/filter",
        data=b"{}",
        headers={"Content-Type": "application/json", "Authorization": header(login)},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return any(worker.get("status") == "ONLINE" for worker in json.load(response))
    except (urllib.error.URLError, OSError):
        return False


def _prefect() -> list[str]:
    return [sys.executable, "-m", "prefect"]
