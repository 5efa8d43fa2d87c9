"""The processes that firstfault starts on loopback: noted in the state, told from later ones, asked for an answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from firstfault.errors import FirstfaultError
from firstfault.output.whole_files import write_json
from firstfault.runs.ownership import ends_with_us
from firstfault.runs.state import State

HOST = "127.0.0.1"
OWNER = "owner"
"""The service that owns the others."""
SERVERS = {"prefect", "mlflow", "worker"}
"""What `firstfault up` starts."""
NOT_INHERITED = (
    "PREFECT_API_URL",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
)
"""Where the user's own Prefect server is, and how he gets in there: none of our servers' business."""
PRIVATE = 0o077
"""The umask of what is started: its logs, databases and results are for this user alone."""


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


def answers(url: str, timeout: float = 3.0, *, refusals: bool = False) -> bool:
    """Whether a GET of `url` gives a 2xx within `timeout` seconds; with `refusals`, any answer counts."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return refusals or bool(200 <= response.status < 300)
    except urllib.error.HTTPError:
        return refusals
    except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException):
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
            raise FirstfaultError(
                f"port {port} must be free for {name}, but something already listens there; choose another"
            ) from None


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def start(
    state: State, name: str, command: list[str], url: str | None, environment: Mapping[str, str], *, owned: bool = False
) -> Service:
    """Start a process with its output in a log of the state, and note it there.

    It has a session of its own, or it is `owned` by this process, and asked to end when this one ends.
    """
    state.make()
    state.services.mkdir(parents=True, exist_ok=True)
    log = state.services / f"{name}.log"
    inherited = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    with private_log(log) as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=not owned,
            umask=PRIVATE,
            env={**inherited, **environment},
            cwd=state.home.parent,
            preexec_fn=ends_with_us(signal.SIGTERM) if owned else None,
        )
    service = _service(name, process.pid, url, log)
    write(state, [*(other for other in read(state) if other.name != name), service])
    return service


def this_process(name: str, state: State) -> Service:
    """This process as a service of the state."""
    return _service(name, os.getpid(), None, state.services / f"{name}.log")


def _service(name: str, pid: int, url: str | None, log: Path) -> Service:
    import psutil

    return Service(name, pid, psutil.Process(pid).create_time(), url, str(log))


def private_log(path: Path) -> IO[bytes]:
    """A file to append to, that only its owner can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Make what this process and its children write in the block readable for this user alone.

    For firstfault's own commands: the umask is the whole process's, so a library must not set it around a user's code.
    """
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


def read(state: State) -> list[Service]:
    """The services that the state notes, alive or not; none where the note can't be read."""
    try:
        entries = json.loads((state.services / "services.json").read_text())
        return [
            Service(
                str(entry["name"]), abs(int(entry["pid"])), float(entry["created"]), entry["url"], str(entry["log"])
            )
            for entry in entries
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def write(state: State, services: list[Service]) -> None:
    """Note services in the state, at once or not at all."""
    write_json(state.services / "services.json", [asdict(service) for service in services])
