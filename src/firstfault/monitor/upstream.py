"""The server behind a proxy, as a URL names it."""

from __future__ import annotations

import functools
import ssl
import urllib.parse
from typing import NamedTuple

from firstfault.errors import FirstfaultError

PORTS = {"http": 80, "https": 443}


@functools.cache
def _trusting() -> ssl.SSLContext:
    """Read once: the system's certificates take some ten milliseconds."""
    return ssl.create_default_context()


class Upstream(NamedTuple):
    """The server behind the proxy."""

    scheme: str
    host: str
    port: int

    @property
    def context(self) -> ssl.SSLContext | None:
        """What a connection by TLS needs."""
        return _trusting() if self.scheme == "https" else None


def upstream_of(url: str, option: str = "--proxy") -> Upstream:
    """The server that a URL names, which came as this option.

    Raises:
        FirstfaultError: when it names none, or has a path.
    """
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in PORTS or not parts.hostname or port == -1 or parts.path not in ("", "/") or parts.query:
        raise FirstfaultError(f"{option} must be the URL of a server, such as http://127.0.0.1:8000, but got {url!r}")
    return Upstream(parts.scheme, parts.hostname, port or PORTS[parts.scheme])
