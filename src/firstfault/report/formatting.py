"""Numbers, durations and statuses in the words of every report: page, terminal, markdown."""

from __future__ import annotations

from datetime import datetime

from firstfault.coverage import coverage_of
from firstfault.faults import known
from firstfault.finding import LADDER, Finding, LayerReport, Status
from firstfault.output.numbers import number
from firstfault.verdict import Change, Fault, Outcome, SubjectKind, Swap, Verdict, VerdictStatus

_PROVEN = {None: 0.9, False: 0.81}  # a refuted proof keeps 0.9 of its weight


def written_now() -> str:
    """When a page is written, to the minute, in the time of the machine."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def words(key: object) -> str:
    """A key such as `data_digest` as words."""
    return str(key).replace("_", " ")


def sentence(text: str) -> str:
    """`text` with a capital at its start."""
    return text[:1].upper() + text[1:]


def count(amount: int, noun: str) -> str:
    """`1 finding`, `2 findings`."""
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")


def what_is_wrong(fault: str) -> str:
    """A fault id in words, as a sentence without its full stop."""
    if fault == "user_code_raises":
        return "The code raises an exception"
    kind = known(fault)
    return sentence(kind.wrong if kind is not None else words(fault))


def tested(fault: Fault, outcomes: tuple[Outcome, ...] = ()) -> tuple[str, str]:
    """How the test of a fault ended: one word, and the sentence that explains it."""
    reasons = [
        outcome.reason
        for outcome in outcomes
        if outcome.fault == fault.fault and outcome.reason and outcome.confirmed is fault.confirmed
    ]
    if fault.confirmed:
        return "confirmed", "; ".join(["undoing it restored the metric", *reasons[-1:]])
    proof = "; it stands on proof from structure" if fault.confidence >= _PROVEN[fault.confirmed] else ""
    if fault.confirmed is False:
        if proof:
            return "proven", "by structure; undoing it alone did not restore the metric"
        return "refuted", "undoing it did not restore the metric"
    return "not tested", (reasons[0] if reasons else "no swap was run for it") + proof


def score(value: float | None) -> str:
    """A metric in three decimals, so that two of them compare; `no score` where a training ended without one."""
    if value is None:
        return "no score"
    return f"{value:.3f}".replace("-", "−") if abs(value) < 100 else number(value)


def swap_numbers(swap: Swap) -> str:
    """`accuracy 0.61 → 0.86`, where a training without a score counts as `no score`."""
    return f"{swap.metric} {score(swap.before)} → {score(swap.after)}"


def swap_basis(swap: Swap) -> str:
    """`mean of 3 seeds, p = 0.01`."""
    one = swap.over.removesuffix("s") if swap.over == "seeds" else "pair"
    basis = f"mean of {swap.seeds} paired {swap.over}" if swap.seeds > 1 else f"one {one}"
    return basis if swap.p_value is None else f"{basis}, p = {number(swap.p_value)}"


def diff(change: Change) -> list[str]:
    """A change as the lines of a diff, without the indentation that they share."""
    lines = [(sign, line) for sign, line in (("-", change.before), ("+", change.after)) if line]
    indent = min(len(line) - len(line.lstrip()) for _, line in lines)
    return [f"{sign} {line[indent:]}" for sign, line in lines]


def headline(verdict: Verdict) -> str:
    """The verdict as one sentence."""
    if verdict.faults:
        return what_is_wrong(verdict.faults[0].fault)
    if verdict.status is VerdictStatus.ERROR:
        return "A check crashed, so nothing is certain"
    if verdict.status is VerdictStatus.UNDECIDED:
        if verdict.not_cleared and verdict.subject is SubjectKind.INCIDENT:
            return "No fault found, but the incident is not explained"
        if verdict.not_cleared:
            return "No fault found, but too little could be examined"
        return f"{count(len(undecided(verdict)), 'check')} failed, and could be neither proven nor refuted"
    if not verdict.layers:
        return "Nothing could be examined"
    if verdict.subject is SubjectKind.WATCHED:
        return "No fault found in model and training"
    return "No fault found beside what is muted" if verdict.muted else "No fault found"


def left_out(verdict: Verdict) -> list[str]:
    """What a verdict does not speak of, a sentence each: what the target mutes, and plug-ins that were not loaded."""
    return [*(f"{key} is muted: {reason}" for key, reason in verdict.muted.items()), *verdict.not_loaded]


def examined(verdict: Verdict) -> list[str]:
    """What was looked at, and what was not, as sentences: what a verdict without a fault rests on."""
    lines = [str(coverage_of(report)) for report in verdict.layers]
    if verdict.subject is SubjectKind.WATCHED:
        layers = [layer.value for layer in LADDER if layer not in {report.layer for report in verdict.layers}]
        lines.append(
            f"{', '.join(layers)}: not examined; firstfault debug examines them, on a target that declares them"
        )
    return lines


def undecided(verdict: Verdict) -> list[Finding]:
    """The failed checks of a verdict that no fault stands for: what they suspect was neither proven nor refuted."""
    return [] if verdict.faults else [finding for report in verdict.layers for finding in report.failures]


def to_look_at(verdict: Verdict, most: int) -> list[str]:
    """The first warnings of a verdict, and how many more there are: what is odd, but no fault."""
    warnings = [finding for report in verdict.layers for finding in of_status(report, Status.WARN)]
    lines = [f"{finding.check}: {finding.message}" for finding in warnings[:most]]
    return lines + [f"and {len(warnings) - most:,} more in the report"] * (len(warnings) > most)


def proves(fault: Fault) -> list[str]:
    """The evidence of a fault, each sentence once; the swap has its own picture."""
    swapped = f"{fault.swap.change}: " if fault.swap else None
    return [line for line in dict.fromkeys(fault.evidence) if swapped is None or not line.startswith(swapped)]


def of_status(report: LayerReport, *statuses: Status) -> list[Finding]:
    """The findings of a report that have one of the statuses, in the given order of statuses."""
    return [finding for status in statuses for finding in report.findings if finding.status is status]


def tally(report: LayerReport) -> list[tuple[Status, str]]:
    """How many findings a layer has of each status, the worst first: `2 failed`, `1 to look at`, `18 passed`."""
    names = {
        Status.FAIL: "failed",
        Status.ERROR: "crashed",
        Status.WARN: "to look at",
        Status.PASS: "passed",
        Status.SKIPPED: "skipped",
    }
    counts = {status: len(of_status(report, status)) for status in names}
    return [(status, f"{counts[status]:,} {name}") for status, name in names.items() if counts[status]]
