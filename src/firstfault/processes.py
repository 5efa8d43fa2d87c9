"""The processes that firstfault starts on loopback: noted in the state, told from later ones, and asked whether they answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from firstfault.errors import FirstfaultError
from firstfault.state import State
from firstfault.whole_files import write_json

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Service:
    """A process that firstfault started. `created` tells it from a later process with the same pid."""

    name: str
    pid: int
    created: float
    url: str | None
    log: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def running(state: State) -> dict[str, Service]:
    """The services of this state that are alive, by name."""
    return {service.name: service for service in read(state) if service.alive}


def answers(url: str, timeout: float = 3.0) -> bool:
    """Whether a GET of `url` gives a 2xx within `timeout` seconds."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def accepts(url: str, timeout: float = 5.0) -> bool:
    """Whether anything accepts a connection at the host and port of `url`."""
    place = urllib.parse.urlsplit(url)
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        with socket.create_connection((place.hostname or "", port), timeout=timeout):
            return True
    except OSError:
        return False


def expect_free(port: int, name: str) -> None:
    """Raise FirstfaultError when something already listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            raise FirstfaultError(f"port {port} must be free for {name}, but something already listens there; choose another") from None


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def start(state: State, name: str, command: list[str], url: str | None, environment: Mapping[str, str]) -> Service:
    """Start a process of its own session, with its output in a log of the state, and note it there."""
    import psutil

    state.services.mkdir(parents=True, exist_ok=True)
    log = state.services / f"{name}.log"
    inherited = {key: value for key, value in os.environ.items() if key not in ("PREFECT_API_URL",)}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**inherited, **environment}, cwd=state.home.parent,
        )
    service = Service(name, process.pid, psutil.Process(process.pid).create_time(), url, str(log))
    write(state, [*(other for other in read(state) if other.name != name), service])
    return service


def read(state: State) -> list[Service]:
    """The services that the state notes, alive or not; none where the note can't be read."""
    try:
        entries = json.loads((state.services / "services.json").read_text())
        return [Service(str(entry["name"]), abs(int(entry["pid"])), float(entry["created"]), entry["url"], str(entry["log"])) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def write(state: State, services: list[Service]) -> None:
    """Note services in the state, at once or not at all."""
    write_json(state.services / "services.json", [asdict(service) for service in services])
