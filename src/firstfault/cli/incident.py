"""The commands about incidents: the first faulty layer of one, and a list of all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from firstfault.cli.monitor import ArchiveOption, DatabaseOption, StoreOption, database_answers, settings_from
from firstfault.cli.options import (
    EXIT_FAULTY,
    EXIT_HEALTHY,
    BareOption,
    JsonOption,
    SetOption,
    exit_code,
    pairs_of,
    refuse,
    say,
    write_json,
)

if TYPE_CHECKING:
    from firstfault.monitor.incidents import Incident

DIAGNOSE = "diagnose"


class _ByItsId(TyperGroup):
    """Takes a first word that is no command for the id of an incident."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command that diagnoses before an id, or before its options."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [DIAGNOSE, *args]
        return super().parse_args(ctx, args)


incident = typer.Typer(
    help="Name the first faulty layer of an incident in production: `firstfault incident ID`, or --since and --until.",
    cls=_ByItsId,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@incident.command(DIAGNOSE)
def diagnose(
    id_: Annotated[str, typer.Argument(metavar="[ID]", help="an incident's id, as `incident list` shows it")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="requests from then on, in place of an id")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="to then; ISO 8601, or seconds since 1970")] = "",
    target: Annotated[
        str,
        typer.Option(metavar="TARGET", help="the target that is served, file.py or file.py:name: the offline truth"),
    ] = "",
    model: Annotated[str, typer.Option(help="with --since: requests of this model alone")] = "",
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
    set_: SetOption = None,
    bare: BareOption = False,
    json_file: JsonOption = None,
    report: Annotated[bool, typer.Option("--report", help="open the report in a browser")] = False,
) -> None:
    """Diagnose an incident; exit 0 when no fault is found, 1 when one is, 4 when too little could be examined."""
    from firstfault.cli.console import watch_incident
    from firstfault.cli.earlier import tell_similar
    from firstfault.monitor.store import Store
    from firstfault.recording.incident_run import IncidentSettings

    if bool(id_) == bool(since or until):
        refuse("incident must be told one thing to look at: an incident's ID, or --since TIME and --until TIME")
    settings = IncidentSettings(
        id_,
        _moment(since, "--since"),
        _moment(until, "--until"),
        target,
        str(store.absolute()) if store else "",
        database,
        archive,
        model,
        pairs_of(set_),
    )
    with database_answers():
        ended = watch_incident(settings, bare=bare)
        if id_:
            tell_similar(Store(settings_from(store, database, archive)), id_, ended.verdict.to_json(), target)
    write_json(json_file, ended.verdict.to_json())
    if report and ended.report:
        typer.launch(ended.report)
    raise typer.Exit(exit_code(ended.verdict))


def _moment(text: str, name: str) -> float | None:
    from firstfault.monitor.found import moment_of

    return moment_of(text, name) if text else None


@incident.command("list")
def list_(
    store: StoreOption = None, database: DatabaseOption = "", archive: ArchiveOption = "", json_file: JsonOption = None
) -> None:
    """List the incidents of a store, the last one first; exit 0 when none is open, 1 when one is."""
    from firstfault.monitor.incidents import Incidents
    from firstfault.monitor.store import Store

    with database_answers():
        found = Incidents(Store(settings_from(store, database, archive)).database).all()[::-1]
    for each in found:
        say(_line(each))
    if not found:
        say("no incident was opened")
    import msgspec

    write_json(json_file, {"incidents": [msgspec.to_builtins(each) for each in found]})
    raise typer.Exit(EXIT_FAULTY if any(each.closed is None for each in found) else EXIT_HEALTHY)


def _line(each: Incident) -> str:
    state = "open" if each.closed is None else "closed"
    opened = datetime.fromtimestamp(each.opened, UTC)
    return (
        f"{each.id}  {state:<6}  {opened:%Y-%m-%d %H:%M}  {each.model}  {each.monitor}: {each.message}{_judged(each)}"
    )


def _judged(each: Incident) -> str:
    verdict = each.verdict if isinstance(each.verdict, dict) else None
    if verdict is None:
        return ""
    faults = verdict.get("faults") or []
    if not faults:
        return f"  → {verdict.get('status')}"
    return f"  → {verdict.get('first_faulty_layer')}: {faults[0]['fault']}"
