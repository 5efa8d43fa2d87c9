"""The verdict as a panel in the terminal: the ladder, the fault, its evidence and its remedy."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from firstfault.finding import LADDER, Status
from firstfault.verdict import Fault, Verdict, VerdictStatus

MARKS = {
    Status.PASS: ("✓", "green"), Status.WARN: ("!", "yellow"), Status.FAIL: ("✗", "bold red"),
    Status.ERROR: ("E", "magenta"), Status.SKIPPED: ("–", "dim"),
}
COLOURS = {VerdictStatus.HEALTHY: "green", VerdictStatus.FAULTY: "red", VerdictStatus.ERROR: "magenta"}


def render_verdict(verdict: Verdict) -> RenderableType:
    """A panel of the verdict, for `rich.console.Console.print`."""
    parts: list[RenderableType] = [_headline(verdict), Text(""), _ladder(verdict)]
    for fault in verdict.faults:
        parts += [Text(""), _fault(fault)]
    title = f" {verdict.target} · {verdict.seconds:.0f} s "
    return Panel(Group(*parts), title=title, title_align="left", border_style=COLOURS[verdict.status], padding=(1, 2))


def _headline(verdict: Verdict) -> Text:
    first = verdict.first_faulty_layer
    if first is not None:
        return Text.assemble(("FAULTY", "bold red"), "  first faulty layer: ", (first.value, "bold red"))
    if verdict.status is VerdictStatus.ERROR:
        return Text.assemble(("ERROR", "bold magenta"), "  a check crashed, so nothing is certain")
    return Text.assemble(("HEALTHY", "bold green"), "  no fault in any examined layer")


def _ladder(verdict: Verdict) -> Table:
    table = Table.grid(padding=(0, 2))
    known = {report.layer: report for report in verdict.layers}
    for layer in [*LADDER, *(extra for extra in known if extra not in LADDER)]:
        report = known.get(layer)
        if report is None:
            table.add_row(Text("·", style="dim"), Text(layer.value, style="dim"), "", Text("not reached", style="dim"))
            continue
        mark, style = MARKS[report.status]
        passed = sum(finding.status is Status.PASS for finding in report.findings)
        warned = sum(finding.status is Status.WARN for finding in report.findings)
        counts = f"{passed} passed" + (f", {warned} to look at" if warned else "") + (
            f", {len(report.failures)} failed" if report.failures else ""
        ) + (", suspect" if report.suspect else "")
        table.add_row(Text(mark, style=style), Text(layer.value, style=style), f"{report.seconds:.1f} s", Text(counts))
    return table


def _fault(fault: Fault) -> Group:
    tested = {True: ("confirmed", "green"), False: ("not confirmed", "yellow"), None: ("not tested by a swap", "dim")}
    word, style = tested[fault.confirmed]
    head = Text.assemble((fault.fault, "bold"), f"  {fault.layer.value}  confidence {fault.confidence:.0%}  ", (word, style))
    table = Table.grid(padding=(0, 2))
    if fault.where:
        table.add_row(Text("  where", style="dim"), Text(fault.where))
    for number, line in enumerate(fault.evidence[:5]):
        table.add_row(Text("  evidence" if number == 0 else "", style="dim"), Text(line))
    table.add_row(Text("  remedy", style="dim"), Text(fault.remedy))
    if fault.swap and fault.swap.before is not None and fault.swap.after is not None:
        p = f", p = {fault.swap.p_value:.3g}" if fault.swap.p_value is not None else ""
        change = f"{fault.swap.change}: {fault.swap.metric} {fault.swap.before:.3f} → {fault.swap.after:.3f}"
        table.add_row(Text("  proof", style="dim"), Text(f"{change} ({fault.swap.seeds} seeds{p})", style="bold"))
    return Group(head, table)
