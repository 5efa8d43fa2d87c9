"""The verdict as a panel in the terminal: the ladder, then each fault with place, evidence, remedy and proof."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from firstfault.finding import LADDER, Finding
from firstfault.output.numbers import duration, percent
from firstfault.report.formatting import (
    count,
    diff,
    examined,
    headline,
    left_out,
    proves,
    score,
    sentence,
    swap_basis,
    tally,
    tested,
    to_look_at,
    undecided,
    what_is_wrong,
)
from firstfault.report.ladder_view import Rung, Standing, rungs_of
from firstfault.verdict import Change, Fault, Swap, Verdict, VerdictStatus

STYLES = {
    Standing.SOUND: "green",
    Standing.NOTICED: "yellow",
    Standing.FAULTY: "bold red",
    Standing.UNDECIDED: "bold yellow",
    Standing.ERROR: "magenta",
    Standing.SUSPECT: "yellow",
    Standing.EMPTY: "dim",
    Standing.UNREACHED: "dim",
    Standing.LEFT_OUT: "dim",
}
COLOURS = {
    VerdictStatus.HEALTHY: "green",
    VerdictStatus.FAULTY: "red",
    VerdictStatus.UNDECIDED: "yellow",
    VerdictStatus.ERROR: "magenta",
}
TESTS = {"confirmed": "green", "proven": "green", "refuted": "yellow", "not tested": "dim"}
MOST_FAULTS, MOST_EVIDENCE, MOST_WARNINGS = 5, 4, 4


def render_verdict(verdict: Verdict) -> RenderableType:
    """A panel of the verdict, for `rich.console.Console.print`; it adapts to any width."""
    parts: list[RenderableType] = [_headline(verdict), Text(""), _ladder(verdict)]
    for fault in verdict.faults[:MOST_FAULTS]:
        parts += [Text(""), _fault(fault, verdict)]
    parts += [part for finding in undecided(verdict)[:MOST_FAULTS] for part in (Text(""), _open(finding))]
    if not verdict.faults:
        parts += [Text(""), _examined(verdict)]
    if len(verdict.faults) > MOST_FAULTS:
        parts += [
            Text(""),
            Text(f"{count(len(verdict.faults) - MOST_FAULTS, 'more fault')} in the report", style="dim"),
        ]
    parts += [part for line in left_out(verdict) for part in (Text(""), Text(line, style="yellow"))]
    title = Text(f" {verdict.target} · {duration(verdict.seconds)} ")
    return Panel(Group(*parts), title=title, title_align="left", border_style=COLOURS[verdict.status], padding=(1, 2))


def _headline(verdict: Verdict) -> Text:
    colour = COLOURS[verdict.status]
    text = Text.assemble(
        (f" {verdict.status.value.upper()} ", f"bold reverse {colour}"), "  ", (headline(verdict), "bold")
    )
    first = verdict.first_faulty_layer
    return text if first is None else text.append(f", first in {first.value}", style=colour)


def _ladder(verdict: Verdict) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for justify in ("left", "left", "right"):
        table.add_column(no_wrap=True, justify=justify)
    table.add_column(ratio=1)
    for rung in rungs_of(verdict):
        if rung.layer in LADDER or rung.report is not None:
            table.add_row(*_row(rung))
    return table


def _row(rung: Rung) -> tuple[Text, Text, Text, Text]:
    style = STYLES[rung.standing]
    seconds = duration(rung.report.seconds) if rung.report else ""
    if rung.report is None:
        words = Text(rung.state, style="dim")
    else:
        suspect = [Text("suspect", style="yellow")] if rung.standing is Standing.SUSPECT else []
        counts = [Text(text, style=_tally_style(status.value)) for status, text in tally(rung.report)]
        words = Text(", ").join([*suspect, *counts]) if suspect or counts else Text(rung.state, style="dim")
    ends = ("├", "┤") if rung.layer in LADDER else (" ", " ")
    rail = Text.assemble((ends[0], "dim"), (rung.mark, style), (ends[1], "dim"))
    return rail, Text(sentence(rung.layer.value), style=style), Text(seconds, style="dim"), words


def _tally_style(status: str) -> str:
    return {"fail": "bold red", "error": "magenta", "warn": "yellow"}.get(status, "dim" if status == "skipped" else "")


def _fault(fault: Fault, verdict: Verdict) -> Group:
    word, why = tested(fault, verdict.outcomes)
    about = f"  {what_is_wrong(fault.fault)} ({fault.layer.value}, confidence {percent(fault.confidence)})"
    head = Text.assemble((fault.fault, "bold"), about)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if fault.where:
        table.add_row("  place", Text(fault.place))
    evidence = proves(fault)
    for number, line in enumerate(evidence[:MOST_EVIDENCE]):
        table.add_row("" if number else "  evidence", Text(line))
    if len(evidence) > MOST_EVIDENCE:
        table.add_row("", Text(f"and {len(evidence) - MOST_EVIDENCE} more", style="dim"))
    table.add_row("  remedy", Text(fault.remedy, style="bold"))
    if fault.change:
        table.add_row("  change", _change(fault.change))
    if fault.swap:
        table.add_row("  swap", _swap(fault.swap))
    table.add_row("  test", Text.assemble((word, TESTS[word]), f": {why}"))
    return Group(head, table)


def _change(change: Change) -> Text:
    styles = {"-": "red", "+": "green"}
    return Text("\n").join([Text(line, style=styles[line[0]]) for line in diff(change)])


def _open(finding: Finding) -> Group:
    """A failed check that could be neither proven nor refuted."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if finding.where:
        table.add_row("  place", Text(str(finding.where)))
    table.add_row("  found", Text(finding.message))
    if finding.fix:
        table.add_row("  remedy", Text(finding.fix, style="bold"))
    return Group(Text.assemble((finding.check, "bold"), f"  suspected, not decided ({finding.layer.value})"), table)


def _examined(verdict: Verdict) -> Table:
    """What a verdict without a fault rests on, what keeps it from being healthy, and what is odd but no fault."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for number, line in enumerate(verdict.not_cleared):
        table.add_row("" if number else "  undecided", Text(line, style="yellow"))
    for number, line in enumerate(to_look_at(verdict, MOST_WARNINGS)):
        table.add_row("" if number else "  to look at", Text(line, style="yellow"))
    for number, line in enumerate(examined(verdict)):
        table.add_row("" if number else "  examined", Text(line, style="dim"))
    return table


def _swap(swap: Swap) -> Text:
    after = "green" if swap.after is not None and (swap.before is None or swap.after > swap.before) else "yellow"
    return Text.assemble(
        f"{swap.change}: {swap.metric} ",
        (score(swap.before), "red"),
        " → ",
        (score(swap.after), f"bold {after}"),
        (f"  ({swap_basis(swap)})", "dim"),
    )
