"""`firstfault incident keep`: an incident becomes a case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firstfault.cli.earlier import cases_folder
from firstfault.cli.incident import incident
from firstfault.cli.monitor import ArchiveOption, DatabaseOption, StoreOption, database_answers, settings_from
from firstfault.cli.options import JsonOption, say, write_json


@incident.command("keep")
def keep_(
    id_: Annotated[str, typer.Argument(metavar="ID", help="an incident's id, as `incident list` shows it")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the folder of the cases; `cases` beside the target by default")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="TARGET", help="the target that is served, file.py or file.py:name: what is right")
    ] = "",
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
    json_file: JsonOption = None,
) -> None:
    """Keep an incident as a case, which `pytest --firstfault cases/` and `firstfault debug` ask from then on."""
    import msgspec

    from firstfault.behaviour.store.failures import FailureStore
    from firstfault.behaviour.store.making import of_incident
    from firstfault.monitor.keeping import keep_incident
    from firstfault.monitor.store import Store
    from firstfault.runs.state import state_here

    with database_answers():
        kept = Store(settings_from(store, database, archive))
        place, case = keep_incident(kept, id_, target, to or cases_folder(kept, target))
    state = state_here()
    state.make()
    failures = FailureStore(state.home)
    added = failures.add(of_incident(case, str(place.absolute()), failures.masked))
    say(f"{place}: {case.name}")
    say(f"  {case.why}" if case.why else f"  run it: pytest --firstfault {place.parent}")
    say(f"  {'kept' if added.new else 'known'} among the failures as {added.failure.id[:8]}: firstfault cases list")
    write_json(json_file, {"folder": str(place), "case": msgspec.to_builtins(case)})
