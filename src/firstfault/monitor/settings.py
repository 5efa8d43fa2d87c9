"""What a monitor is told once: whom it records, how much it keeps, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from firstfault.errors import FirstfaultError
from firstfault.monitor.record import Arm
from firstfault.output.whole_files import write_json
from firstfault.texts import nearest

S = TypeVar("S", bound=msgspec.Struct)
MEBIBYTE = 1 << 20
DAY = 86_400.0
NOT_SERVING = ("/health", "/healthz", "/livez", "/readyz", "/metrics", "/v2/health")
"""Paths that probes ask, and no model answers."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a monitor works. Sizes are in bytes, times in seconds."""

    model: str = "model"
    version: str = ""
    arm: Arm = Arm.CHAMPION
    store: str = ""
    """The folder of the records; by default `monitor` in the state folder."""
    database: str = ""
    """The URL of a database for aggregates, incidents and labels; by default an SQLite file in the store."""
    archive: str = ""
    """Where hourly Parquet goes: any path that fsspec knows; by default `hours` in the store."""
    sample: float = 0.05
    """Share of the requests without anything special that is kept, by a hash of their ids."""
    control: int = 200
    """Healthy requests kept per hour."""
    slow: float | None = None
    """A request that takes longer is kept; by default the 99th percentile of the last ones."""
    unsure: float | None = None
    """A request whose confidence is lower is kept; by default the first percentile of the last ones."""
    body: int = 64 * 1024
    """How much of a request's and of an answer's body is looked at."""
    queue: int = 16 * MEBIBYTE
    """How much may wait for the writer, in memory."""
    cases: str = ""
    """The folder in which each incident becomes a case when it closes; none does where it is empty."""
    keep_days: float = 30.0
    keep_bytes: int = 10 * 1024 * MEBIBYTE
    detect: float = 0.0
    """Seconds between two looks for incidents, by a process beside the writer; 0 leaves that to `monitor detect`."""
    skip: tuple[str, ...] = NOT_SERVING
    """Requests of these paths, and of those below them, are not recorded."""
    alerts: tuple[str, ...] = ()
    """Who is told of incidents: https:// takes JSON, slack+https:// what Slack does. A URL may hold a secret."""

    @property
    def folder(self) -> Path:
        """The folder of the records."""
        if self.store:
            return Path(self.store).expanduser().resolve()
        from firstfault.runs.state import state_here

        return state_here().home / "monitor"


def settings_of(**options: Any) -> Settings:
    """Settings from keyword arguments.

    Raises:
        FirstfaultError: when one is unknown, has a wrong type, or lies out of its range.
    """
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    settings = settled(Settings, "a monitor's setting", plain)
    _expect_ranges(settings)
    return settings


def settled(kind: type[S], what: str, options: Mapping[str, object]) -> S:
    """Settings of a kind from options by name; None says nothing.

    Raises:
        FirstfaultError: when one is unknown, or has a wrong type.
    """
    known = kind.__struct_fields__
    for name in options:
        if name not in known:
            raise FirstfaultError(f"{what} must be one of {', '.join(known)}, but got {name!r}{nearest(name, known)}")
    try:
        return msgspec.convert({name: value for name, value in options.items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        raise FirstfaultError(f"{what} is not what it must be: {error}") from error


RANGES = {
    "sample": (0.0, 1.0),
    "control": (0, 1_000_000),
    "body": (0, 8 * MEBIBYTE),
    "queue": (MEBIBYTE, 4096 * MEBIBYTE),
    "keep_days": (0.0, 36_500.0),
    "detect": (0.0, 86_400.0),
    "keep_bytes": (0, 1 << 60),
}


def _expect_ranges(settings: Settings) -> None:
    for name, (lowest, highest) in RANGES.items():
        value = getattr(settings, name)
        if not lowest <= value <= highest:
            raise FirstfaultError(f"a monitor's {name} must lie between {lowest} and {highest}, but got {value}")
    for receiver in settings.alerts:
        _expect_receiver(receiver)
    if 4 * settings.body > settings.queue:
        raise FirstfaultError(
            f"a monitor's queue must hold four bodies, but got {settings.queue} bytes for bodies of {settings.body}"
        )


RECEIVERS = ("http", "https", "slack+http", "slack+https")


def _expect_receiver(receiver: str) -> None:
    """Expect the URL of a receiver; the rest of it may be a secret, so that nothing but its scheme is told."""
    try:
        place = urlsplit(receiver)
        known = place.scheme in RECEIVERS and bool(place.hostname) and place.port != 0
    except ValueError:
        known, place = False, urlsplit("")
    if not known:
        raise FirstfaultError(
            f"a monitor's alerts must be URLs of {', '.join(RECEIVERS)} with a host, but one begins with "
            f"{place.scheme or receiver[:4]!r}"
        )


NOTE = "settings.json"
NOTED = ("archive", "sample", "control", "keep_days", "keep_bytes", "model", "version", "cases")
"""What a store's readers have to know; not its database, whose URL may hold a password."""


def note_settings(settings: Settings) -> None:
    """Note in the store with which settings it is written."""
    write_json(settings.folder / NOTE, {name: getattr(settings, name) for name in NOTED})


def kept_settings(folder: Path) -> dict[str, Any]:
    """What a store's last writer noted; nothing where none did."""
    try:
        noted = json.loads((folder / NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return {name: noted[name] for name in NOTED if name in noted} if isinstance(noted, dict) else {}


def settings_over_kept(store: str = "", **options: Any) -> Settings:
    """Settings from keyword arguments, over those with which the store was written; None and "" say nothing.

    Raises:
        FirstfaultError: as `settings_of` does.
    """
    told = {name: value for name, value in {"store": store, **options}.items() if value not in (None, "")}
    return settings_of(**{**kept_settings(settings_of(store=store).folder), **told})
