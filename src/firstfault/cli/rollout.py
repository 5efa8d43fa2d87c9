"""The commands about rollouts: a challenger beside its champion while both serve, or by what was recorded of them."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstfault.cli.monitor import ArchiveOption, ModelOption, StoreOption, settings_from
from firstfault.cli.options import (
    EXIT_FAULTY,
    EXIT_HEALTHY,
    EXIT_UNDECIDED,
    LAST_PORT,
    JsonOption,
    refuse,
    say,
    write_json,
)

if TYPE_CHECKING:
    from firstfault.monitor.rollout.comparison import Comparison
    from firstfault.monitor.rollout.conduct import Front
    from firstfault.monitor.rollout.plan import Plan
    from firstfault.monitor.rollout.shadowing import Limits
    from firstfault.monitor.rollout.standing import Standing
    from firstfault.monitor.settings import Settings

rollout = typer.Typer(rich_markup_mode=None)
TOLD_EVERY = 10.0
"""Seconds between two lines that say the same."""


SAID = {"seconds": "slow", "score": "low"}
"""What a measure's bad events are called, where that is not its own name."""
SHARES = {"shadow": 1.0, "canary": 0.1, "ab": 0.5}
"""Of the requests, where none is told."""
ModeOption = Annotated[
    str, typer.Option(help="shadow: both arms answer each request; canary or ab: each request has one arm")
]
AlphaOption = Annotated[float, typer.Option(help="the chance that equal arms are ever called worse")]
MarginOption = Annotated[float, typer.Option(help="how much worse is no worse: 0.25 is 1.25 times the rate")]
QuantileOption = Annotated[float, typer.Option(help="of the seconds, beyond which an answer is slow")]
NegligibleOption = Annotated[float, typer.Option(help="a rate of bad requests below it is no worse; 0 for none")]
AtMostOption = Annotated[int | None, typer.Option("--at-most", help="look at so many requests")]


@rollout.callback(invoke_without_command=True)
def live(
    context: typer.Context,
    champion: Annotated[str, typer.Option(metavar="URL", help="the server that answers now")] = "",
    challenger: Annotated[str, typer.Option(metavar="URL", help="the server that may take its place")] = "",
    mode: ModeOption = "canary",
    share: Annotated[
        float | None,
        typer.Option(help="the share of requests that the challenger gets, 0–1: canary 0.1, ab 0.5, shadow 1"),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="HEADER", help="draw the arm by this header's value; by the id by default")
    ] = "",
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=LAST_PORT, help="the port to listen at; 0 takes a free one")] = 8800,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="of copying in shadow mode: concurrency, queue_bytes, seconds, retries …"
        ),
    ] = None,
    serve: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="answer /metric, /promote, /rollback and /metrics there, and stay")
    ] = "",
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="after the end, pass all on to the champion until Ctrl-C")
    ] = False,
    since: Annotated[
        float | None, typer.Option(help="with --store alone: the first second since 1970 that counts")
    ] = None,
    for_: Annotated[float | None, typer.Option("--for", metavar="SECONDS", help="end after so long")] = None,
    at_most: AtMostOption = 1_000_000,
    alpha: AlphaOption = 0.01,
    margin: MarginOption = 0.25,
    quantile: QuantileOption = 0.95,
    negligible: NegligibleOption = 0.001,
    every: Annotated[float, typer.Option(min=0.05, help="seconds between two looks, at least")] = 1.0,
    store: StoreOption = None,
    archive: ArchiveOption = "",
    model: ModelOption = "",
    sample: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="share of the usual requests that the proxy keeps")
    ] = 1.0,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="record what was concluded as a run in MLflow")] = False,
    json_file: JsonOption = None,
) -> None:
    """Roll a challenger out while requests come; exit 0 when it is better or no worse, 1 when worse, 4 when undecided.

    With --champion and --challenger, a proxy copies requests (shadow) or splits them (canary, ab). With --store alone,
    the arms are recorded already by the monitor, and somebody else splits.
    """
    if context.invoked_subcommand is not None:
        return
    from firstfault.monitor.rollout.analysis import Task

    front = _front(champion, challenger, mode, share, by, host, port, limit or [])
    if front is None and store is None:
        refuse(
            "rollout must be told two servers (--champion URL --challenger URL), a store (--store DIR), or a command; "
            "`firstfault rollout --help` shows them"
        )
    if for_ is not None and for_ <= 0:
        refuse(f"--for must be above 0 seconds, but got {for_:g}")
    plan = _plan(mode, share if front is None or mode == "shadow" else front.share, alpha, margin, quantile)
    plan = _with(plan, at_most=at_most, negligible=negligible)
    settings = settings_from(store, "", archive, model=model, sample=sample if front is not None else None)
    address: tuple[str, int] = _address(serve) if serve else ("", 0)
    note, since = _noted(settings, plan, champion, challenger, by) if front is not None else (None, since)
    model_ = model if front is None else ""
    task = Task(settings, plan, since, model_, for_, every, host=address[0], port=address[1])
    if serve:
        say(f"http://{serve} answers at /metric, /promote, /rollback and /metrics what is concluded")
    told = _Told()
    standing = _conduct(task, told, front, stay=bool(serve) or keep_serving, where=f"{host}")
    if note is not None and standing.decided:
        note.decide()
    _end(standing, front, json_file)
    if mlflow:
        _record(standing, plan, settings)
    raise typer.Exit(_code(standing.comparison))


def _front(
    champion: str, challenger: str, mode: str, share: float | None, by: str, host: str, port: int, limit: list[str]
) -> Front | None:
    from firstfault.monitor.rollout.conduct import Front
    from firstfault.monitor.upstream import upstream_of

    if not champion and not challenger:
        return None
    if not (champion and challenger):
        refuse("rollout must be told both --champion and --challenger, but got one of them")
    servers = upstream_of(champion, "--champion"), upstream_of(challenger, "--challenger")
    drawn = share if share is not None else SHARES.get(mode, 0.1)
    return Front(*servers, host, port, drawn, by.lower().encode("latin-1", "replace"), _limits(limit))


def _limits(options: list[str]) -> Limits:
    """`--limit`'s NAME=VALUE over the defaults."""
    import msgspec

    from firstfault.monitor.rollout.shadowing import Limits

    told = dict(option.partition("=")[::2] for option in options)
    if unknown := told.keys() - set(Limits.__struct_fields__):
        refuse(f"--limit must be one of {', '.join(Limits.__struct_fields__)}, but got {sorted(unknown)[0]!r}")
    try:
        limits = msgspec.convert(told, Limits, strict=False)
    except msgspec.ValidationError as error:
        refuse(f"--limit must be NAME=NUMBER, but: {error}")
    if limits.concurrency < 1 or limits.seconds <= 0 or min(msgspec.structs.astuple(limits)) < 0:
        refuse(f"--limit must be at least 0, and concurrency and seconds above it, but got {' '.join(options)}")
    return limits


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) <= LAST_PORT:
        refuse(f"--serve must be HOST:PORT, such as 0.0.0.0:9100, but got {text!r}")
    address = host.strip("[]") or "127.0.0.1", int(port)
    try:
        socket.create_server(address).close()
    except OSError as error:
        refuse(f"--serve must be an address to listen at, but {text}: {error.strerror or error}")
    return address


def _plan(mode: str, share: float | None, alpha: float, margin: float, quantile: float) -> Plan:
    from firstfault.errors import FirstfaultError
    from firstfault.monitor.rollout.plan import Mode, Plan

    if mode not in [*Mode]:
        raise FirstfaultError(f"mode must be shadow, canary or ab, but got {mode!r}")
    return Plan(Mode(mode), share, alpha, margin, quantile)


def _with(plan: Plan, **more: Any) -> Plan:
    from dataclasses import replace

    return replace(plan, **more)


def _noted(settings: Settings, plan: Plan, champion: str, challenger: str, header: str) -> tuple[Any, float]:
    from firstfault.monitor.rollout.noted import Note

    note = Note(settings, plan, champion, challenger, header)
    if note.begin(time.time()):
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note.began))
        say(f"firstfault: this rollout goes on; it began {began}", err=True)
    return note, note.began


class _Told:
    """Says how a rollout stands, when that has changed or was not said for a while."""

    def __init__(self) -> None:
        self._said, self._at = "", -TOLD_EVERY

    def __call__(self, standing: Standing) -> None:
        if standing.ended:
            return
        now, new = time.monotonic(), str(standing.conclusion)
        if new != self._said or now - self._at >= TOLD_EVERY:
            self._said, self._at = new, now
            say(f"firstfault: {standing}", err=True)


def _conduct(task: Any, told: _Told, front: Front | None, *, stay: bool, where: str) -> Standing:
    from firstfault.monitor.rollout.conduct import conduct

    def ready(port: int) -> None:
        say(f"http://{where}:{port} stands before both servers; records in {task.settings.folder}")

    try:
        return conduct(task, told, front, ready, stay=stay)
    except OSError as error:
        refuse(f"{where} must be an address to listen at, but: {error.strerror or error}; choose another --port")


def _end(standing: Standing, front: Front | None, json_file: Path | None) -> None:
    """Say what came of it."""
    import msgspec

    _show(standing.comparison, 0)
    say(f"  ended    {standing.ended}")
    if front is not None and front.counts:
        say("  copies   " + ", ".join(f"{n} {what}" for what, n in sorted(front.counts.items())))
    told = {"ended": standing.ended, "copies": dict(front.counts) if front is not None else {}}
    counts = {name: getattr(standing, name) for name in ("champion", "challenger", "disagreed")}
    write_json(json_file, {**msgspec.to_builtins(standing.comparison), **counts, **told})


def _record(standing: Standing, plan: Plan, settings: Settings) -> None:
    from firstfault.monitor.rollout.tracked import record

    where = record(standing, plan, settings)
    say(f"  MLflow   {where}" if where else "  MLflow   the run could not be recorded")


@rollout.command()
def compare(
    champion: Annotated[Path, typer.Argument(metavar="CHAMPION.jsonl", help="recorded outcomes of the champion")],
    challenger: Annotated[Path, typer.Argument(metavar="CHALLENGER.jsonl", help="recorded outcomes of the challenger")],
    mode: ModeOption = "canary",
    share: Annotated[
        float | None, typer.Option(help="the share of requests that were given to the challenger at random, 0–1")
    ] = None,
    alpha: AlphaOption = 0.01,
    margin: MarginOption = 0.25,
    quantile: QuantileOption = 0.95,
    negligible: NegligibleOption = 0.001,
    at_most: AtMostOption = None,
    json_file: JsonOption = None,
) -> None:
    """Compare recorded outcomes; exit 0 when the challenger is better or no worse, 1 when worse, 4 when undecided."""
    from firstfault.monitor.rollout.comparison import compare as compared
    from firstfault.monitor.rollout.outcomes import read

    plan = _with(_plan(mode, share, alpha, margin, quantile), at_most=at_most, negligible=negligible)
    arms = read(champion), read(challenger)
    found = compared(*arms, plan)
    _show(found, sum(arm.torn for arm in arms))
    write_json(json_file, found.to_json())
    raise typer.Exit(_code(found))


def _code(found: Comparison) -> int:
    """The exit code that says what is concluded."""
    from firstfault.monitor.rollout.comparison import Conclusion

    codes = {Conclusion.WORSE: EXIT_FAULTY, Conclusion.UNDECIDED: EXIT_UNDECIDED}
    return codes.get(found.conclusion, EXIT_HEALTHY)


def _show(found: Comparison, torn: int) -> None:
    if torn:
        say(f"firstfault: {torn} last lines were torn, and are left out", err=True)
    say(f"{found.conclusion.value.replace('_', ' ')} after {found.after} requests: {found.why}")
    for name, (ours, theirs) in found.rates.items():
        told = ["–" if rate is None else f"{rate:.2%}" for rate in (ours, theirs)]
        say(f"  {SAID.get(name, name):<8} champion {told[0]}, challenger {told[1]}")
    for each in found.evidence:
        shown = f"shown after {each.passed_after}" if each.passed_after else "not shown"
        name = SAID.get(each.measure, each.measure)
        say(f"  {name:<8} {each.claim:<15} {shown} (e-value {each.e_value:.3g} of {each.needed:g})")
    if found.requests:
        say(f"  requests {' '.join(found.requests)}")
    if found.first_cut:
        say(f"  first cut that differs: {found.first_cut}")
