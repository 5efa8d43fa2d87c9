"""The commands about serving: a proxy in front of a server, logs, labels, and what a store holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstfault.cli.options import EXIT_FAILED, LAST_PORT, JsonOption, refuse, say, write_json

if TYPE_CHECKING:
    from firstfault.monitor.settings import Settings

monitor = typer.Typer(
    help="Record what is served: by a proxy, from logs, or in your own server.", rich_markup_mode=None
)


class ArmName(StrEnum):
    """Which side of a rollout answers."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"


StoreOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="the folder of the records; monitor in the state folder by default")
]
DatabaseOption = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="FIRSTFAULT_MONITOR_DATABASE",
        show_envvar=False,
        help="a database for counts and labels; SQLite in the store by default",
    ),
]
ArchiveOption = Annotated[
    str, typer.Option(metavar="PATH", help="where hourly Parquet lies: any path of fsspec; in the store by default")
]

ModelOption = Annotated[str, typer.Option(help="the model's name; by default as requests say it")]
VersionOption = Annotated[str, typer.Option(help="its version; by default as answers say it")]
ArmOption = Annotated[ArmName, typer.Option(help="which side of a rollout it is")]
SampleOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="share of the usual requests that is kept, .05 by default")
]
AlertOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alert",
        metavar="URL",
        envvar="FIRSTFAULT_MONITOR_ALERTS",
        show_envvar=False,
        help="with --metrics, --otlp and detect: tell this address of incidents, as JSON; slack+https://… as Slack "
        "takes it. Several may be told; FIRSTFAULT_MONITOR_ALERTS keeps their secrets off the command line",
    ),
]


def settings_from(store: Path | None, database: str, archive: str, **options: Any) -> Settings:
    """The settings that the command line says, over those with which the store was written."""
    from firstfault.monitor.settings import settings_over_kept

    folder = str(store.absolute()) if store else ""
    if "alerts" in options:
        options["alerts"] = tuple(options["alerts"] or ())
    return settings_over_kept(folder, database=database, archive=archive, **options)


@contextlib.contextmanager
def database_answers() -> Iterator[None]:
    """End with 3 where the monitor's database does not."""
    from firstfault.monitor.database import StoreError

    try:
        yield
    except StoreError as error:
        say(f"firstfault: the monitor's database must answer, but: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error


@monitor.command()
def labels(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, CSV or Parquet, on any path of fsspec")],
    id_: Annotated[str, typer.Option("--id", metavar="COLUMN", help="the column of the ids")] = "request_id",
    label: Annotated[str, typer.Option(metavar="COLUMN", help="the column of the labels")] = "label",
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
) -> None:
    """Join labels that came later to their requests, by the requests' ids."""
    from firstfault.monitor.labels import join
    from firstfault.monitor.store import Store

    with database_answers():
        say(str(join(Store(settings_from(store, database, archive)), file, id_, label)))


@monitor.command()
def logs(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="JSON lines, CSV or Parquet: a file, a pattern or a folder of fsspec's"),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=COLUMN", help="what the logs call a part of a request, e.g. input=features"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="read files that were read before, too")] = False,
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
    model: ModelOption = "",
    version: VersionOption = "",
    arm: ArmOption = ArmName.CHAMPION,
    sample: SampleOption = None,
) -> None:
    """Record requests from logs that others wrote, a row each."""
    from firstfault.monitor.logged import columns_of, read_logs

    settings = settings_from(store, database, archive, model=model, version=version, arm=arm.value, sample=sample)
    with database_answers():
        say(str(read_logs(settings, path, columns_of(column or []), again=again)))


@monitor.command()
def status(
    store: StoreOption = None, database: DatabaseOption = "", archive: ArchiveOption = "", json_file: JsonOption = None
) -> None:
    """Show how much was served, how much of it is kept, and what was lost."""
    from firstfault.monitor.overview import overview
    from firstfault.monitor.store import Store

    with database_answers():
        found = overview(Store(settings_from(store, database, archive)))
    for line in found.lines():
        say(line)
    write_json(json_file, found.as_json())


@monitor.command()
def prune(store: StoreOption = None, database: DatabaseOption = "", archive: ArchiveOption = "") -> None:
    """Make Parquet of hours that are over, and remove what is too old or too much, as writers do by themselves."""
    import time

    from firstfault.monitor.hours import close_hours
    from firstfault.monitor.retention import prune as remove

    settings = settings_from(store, database, archive)
    closed = close_hours(settings, time.time())
    gone = remove(settings, time.time())
    say(f"{closed} hours became Parquet; {gone.files} files were removed ({gone.bytes} bytes)")
    if gone.held:
        say(f"{gone.held} records of these stay, since incidents hold them")


@monitor.callback(invoke_without_command=True)
def monitor_(
    context: typer.Context,
    proxy: Annotated[
        str, typer.Option(metavar="URL", help="listen, pass each request on to this server, and record it")
    ] = "",
    receive: Annotated[
        bool, typer.Option("--receive", help="listen for spans (OTLP/HTTP) and for KServe's CloudEvents")
    ] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="serve the store's figures at /metrics, as Prometheus reads them")
    ] = False,
    otlp: Annotated[
        bool, typer.Option("--otlp", help="send kept requests, figures and incidents to OTEL_EXPORTER_OTLP_ENDPOINT")
    ] = False,
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=LAST_PORT, help="the port to listen at; 0 takes a free one")] = 8800,
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
    model: ModelOption = "",
    version: VersionOption = "",
    arm: ArmOption = ArmName.CHAMPION,
    sample: SampleOption = None,
    alert: AlertOption = None,
) -> None:
    """Record what is served, by a proxy in front of a server or from what others send; or tell others what there is."""
    if context.invoked_subcommand is not None:
        return
    if bool(proxy) + receive + (metrics or otlp) != 1:
        refuse(
            "monitor must be told one thing to do: --proxy URL, --receive, --metrics and/or --otlp, or a command; "
            "`firstfault monitor --help` shows them"
        )
    if alert and (proxy or receive):
        refuse("--alert must stand beside --metrics, --otlp or `monitor detect`: what records finds no incidents")
    told = {"model": model, "version": version, "arm": arm.value, "sample": sample, "alerts": alert}
    settings = settings_from(store, database, archive, **told)
    try:
        if metrics or otlp:
            _tell(settings, (host, port) if metrics else None, otlp=otlp)
        else:
            _listen(settings, proxy, host, port)
    except OSError as error:
        refuse(f"{host}:{port} must be an address to listen at, but: {error.strerror or error}; choose another --port")


def _listen(settings: Settings, proxy: str, host: str, port: int) -> None:
    from firstfault.monitor.serving import run_proxy, run_receiver
    from firstfault.monitor.upstream import upstream_of

    what = f"passes on to {proxy}" if proxy else "receives spans at /v1/traces, and CloudEvents"

    def ready(taken: int) -> None:
        say(f"http://{host}:{taken} {what}; records in {settings.folder}")

    if proxy:
        run_proxy(settings, upstream_of(proxy), host, port, ready)
    else:
        run_receiver(settings, host, port, ready)


def _tell(settings: Settings, metrics: tuple[str, int] | None, *, otlp: bool) -> None:
    from firstfault.monitor.exporters.outlet import run_outlet

    def ready(port: int | None) -> None:
        if metrics is not None:
            say(f"http://{metrics[0]}:{port}/metrics has the figures of {settings.folder}")
        if otlp:
            say(f"what is kept in {settings.folder} is sent to OpenTelemetry's receiver")

    run_outlet(settings, metrics, ready, otlp=otlp)
