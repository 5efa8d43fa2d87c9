"""`firstfault monitor detect`: whether serving is worse than it was, and what opened or closed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstfault.cli.monitor import (
    AlertOption,
    ArchiveOption,
    DatabaseOption,
    StoreOption,
    database_answers,
    monitor,
    settings_from,
)
from firstfault.cli.options import EXIT_FAULTY, EXIT_HEALTHY, EXIT_UNDECIDED, JsonOption, refuse, say, write_json

if TYPE_CHECKING:
    from firstfault.monitor.detect.running import Found, Run
    from firstfault.monitor.incidents import Incident

UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


@monitor.command()
def detect(
    target: Annotated[str, typer.Option(metavar="TARGET", help="the target's file, whose assertions are asked")] = "",
    assertions: Annotated[
        str, typer.Option(metavar="FILE", help="a Python file with functions under @firstfault.monitor.assertion")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="look at requests since then: 2026-11-29T12:00, or 36h, 2d ago")
    ] = "",
    usual: Annotated[
        str, typer.Option(metavar="FROM..TO", help="the period that says what is usual; by default the first requests")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="go on, and look every few seconds")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two looks")] = 5.0,
    alpha: Annotated[
        float | None, typer.Option(help="one false incident in 1/alpha seen requests at most; 1e-5 by default")
    ] = None,
    reference: Annotated[
        int | None, typer.Option(help="how many of the first requests say what is usual; 2000 by default")
    ] = None,
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
    alert: AlertOption = None,
    json_file: JsonOption = None,
) -> None:
    """Look for incidents; exit 0 when none is open, 1 when one is, 4 when too little was seen to say anything."""
    from firstfault.monitor.assertions import assertions_of
    from firstfault.monitor.detect.locking import alone
    from firstfault.monitor.detect.running import Run
    from firstfault.monitor.detect.settings import detection_of
    from firstfault.monitor.store import Store

    settings = detection_of(alpha=alpha, reference=reference)
    own = assertions_of(target, assertions)
    period, begins = _period(usual), _time(since) if since else 0.0
    with database_answers():
        kept = Store(settings_from(store, database, archive, alerts=alert))
        with alone(kept) as we_are:
            if not we_are:
                refuse(f"one process at a time must detect over {kept.settings.folder}, but another one does")
            run = Run(kept, settings, own, begins, period)
            found = _watched(run, every, target) if watch else _looked(run, target)
    _show(found)
    write_json(json_file, _as_json(found))
    raise typer.Exit(EXIT_FAULTY if found.open else EXIT_HEALTHY if found.enough else EXIT_UNDECIDED)


def _watched(run: Run, every: float, target: str) -> Found:
    """Look again and again, until Ctrl-C; what the last look found."""
    found = _looked(run, target)
    try:
        while True:
            for line in _lines(found):
                say(line)
            time.sleep(every)
            found = _looked(run, target)
    except KeyboardInterrupt:
        return found._replace(opened=[], closed=[])


def _looked(run: Run, target: str) -> Found:
    """Look once, and tell what became a case."""
    from firstfault.monitor.looking import look

    found, cases = look(run, target)
    for case in cases:
        say(f"kept {Path(run.store.settings.cases) / case.id}: {case.name}")
    return found


def _show(found: Found) -> None:
    say(f"{found.requests} requests and {found.labels} labels since the last look")
    for line in _lines(found):
        say(line)
    for sentence in found.told:
        say(f"  {sentence}")
    if not found.enough:
        say("too little was seen to say anything")
    elif not found.open:
        say("no incident is open")
    for incident in found.open:
        if incident not in found.opened:
            say(f"open since {_shown(incident.began)}: {incident.id}, {incident.message}")


def _lines(found: Found) -> list[str]:
    lines = []
    for incident in found.opened:
        lines.append(f"opened {incident.id}: {incident.message}; it began about {_shown(incident.began)}")
        lines += [f"  also {each.monitor}: {each.message}" for each in incident.evidence[1:4]]
    lines += [f"closed {incident.id}: serving is as usual again" for incident in found.closed]
    return lines


def _as_json(found: Found) -> dict[str, Any]:
    import msgspec

    def plain(incidents: list[Incident]) -> Any:
        return msgspec.to_builtins(incidents)

    lists = {name: plain(getattr(found, name)) for name in ("opened", "closed", "open")}
    return {**found._asdict(), **lists}


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _period(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    first, dots, last = text.partition("..")
    if not dots or not first:
        refuse(f"--usual must be FROM..TO, as 2026-11-01..2026-11-08, but got {text!r}")
    period = _time(first), _time(last) if last else time.time()
    if period[0] >= period[1]:
        refuse(f"--usual must begin before it ends, but got {text!r}")
    return period


def _time(text: str) -> float:
    """A moment: seconds since 1970, an ISO date or time, or how long ago."""
    text = text.strip()
    if text[-1:] in UNITS and text[:-1].replace(".", "", 1).isdigit():
        return time.time() - float(text[:-1]) * UNITS[text[-1]]
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        refuse(f"a time must be as 2026-11-29T12:00, as 36h for so long ago, or seconds since 1970, but got {text!r}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
