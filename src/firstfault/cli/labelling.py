"""`firstfault monitor to-label`: which requests are worth a label most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstfault.cli.monitor import ArchiveOption, DatabaseOption, StoreOption, database_answers, monitor, settings_from
from firstfault.cli.options import EXIT_HEALTHY, EXIT_UNDECIDED, say

if TYPE_CHECKING:
    from firstfault.monitor.to_label import Choice


@monitor.command("to-label")
def to_label(
    budget: Annotated[int, typer.Option(min=1, help="how many requests can be labelled")] = 50,
    target: Annotated[str, typer.Option(metavar="TARGET", help="the target's file, whose assertions are asked")] = "",
    assertions: Annotated[
        str, typer.Option(metavar="FILE", help="a Python file with functions under @firstfault.monitor.assertion")
    ] = "",
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write them there as CSV, with an empty label")
    ] = None,
    seed: Annotated[int, typer.Option(help="draws them")] = 0,
    store: StoreOption = None,
    database: DatabaseOption = "",
    archive: ArchiveOption = "",
) -> None:
    """Choose what to label next, by how severe model assertions find an answer; exit 4 where there is nothing."""
    import numpy as np

    from firstfault.monitor.assertions import assertions_of
    from firstfault.monitor.store import Store
    from firstfault.monitor.to_label import choose, note_round, rounds_of, severities

    own = assertions_of(target, assertions)
    with database_answers():
        kept = Store(settings_from(store, database, archive))
        records = kept.records()
    found, rounds = severities(records, own), rounds_of(kept.settings.folder)
    chosen = choose(records, found, budget, rounds, np.random.default_rng([seed, len(rounds)]))
    if not chosen:
        say("no request is there that has no label yet, and that an assertion or the model's own doubt would choose")
        raise typer.Exit(EXIT_UNDECIDED)
    note_round(kept.settings.folder, found, chosen)
    _show(chosen, to)
    raise typer.Exit(EXIT_HEALTHY)


def _show(chosen: list[Choice], to: Path | None) -> None:
    import csv
    import io
    from collections import Counter

    from firstfault.output.whole_files import write_text

    for arm, n in Counter(choice.arm for choice in chosen).most_common():
        say(f"{n} by {arm}")
    if to is None:
        for choice in chosen:
            say(f"  {choice.record.request_id}  {choice.arm}  {choice.severity:.3g}")
        return
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["request_id", "label", "chosen_by", "severity", "request"])
    rows.writerows([c.record.request_id, "", c.arm, f"{c.severity:.4g}", _asked(c)] for c in chosen)
    write_text(to, text.getvalue())
    say(f"{to}: fill in the column `label`, then `firstfault monitor labels {to}`")


def _asked(choice: Choice) -> str:
    import msgspec

    from firstfault.monitor.detect.asked import asked

    return msgspec.json.encode(asked(choice.record), enc_hook=str).decode()
