"""The page of one failure: its cuts with the first red one, the prompt by what it weighs, the twin, what was tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from firstfault.behaviour.evaluation import SuiteRun
from firstfault.behaviour.failures.analysis import FailureAnalysis
from firstfault.behaviour.failures.spans import pieces
from firstfault.behaviour.failures.twins import hunks_of
from firstfault.behaviour.statistics import Rate, rate_of
from firstfault.lm.trace import State, first_other
from firstfault.output.file_names import file_name
from firstfault.output.whole_files import write_text
from firstfault.report.charts.interval_picture import Row, interval_picture
from firstfault.report.formatting import written_now
from firstfault.report.page import rendered

COLOURS = {State.SAME: "green", State.OTHER: "red", State.UNSEEN: "grey"}
MOST_SPANS = 12
STRONG, WEAK = 0.75, 0.08
LETTER = re.compile(r"\S")
Veil = Callable[[str], str]


@dataclass(frozen=True)
class Shade:
    """A span of the prompt, how strongly it is shaded, and whether it is a top one."""

    text: str
    share: int
    towards: bool
    top: bool
    moves: float


def write_failure_pages(
    found: Sequence[FailureAnalysis],
    runs: Mapping[str, SuiteRun],
    folder: Path,
    *,
    show_texts: bool = False,
    near: Mapping[str, Sequence[str]] | None = None,
) -> list[Path]:
    """Write a page for each failure into a folder, and return their paths.

    Args:
        found: the failures, as they were examined.
        runs: the suites in which they failed.
        folder: for the pages, each of which is one file of HTML.
        show_texts: show prompts and answers; their letters are hidden otherwise.
        near: what is told of the nearest kept failures, by the id of the case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for each in found:
        path = folder / f"failure-{file_name(each.suite)}-{file_name(each.run.case.id)}.html"
        page = failure_page(each, runs[each.suite], show_texts=show_texts, near=(near or {}).get(each.run.case.id, ()))
        write_text(path, page)
        written.append(path)
    return written


def failure_page(found: FailureAnalysis, run: SuiteRun, *, show_texts: bool = False, near: Sequence[str] = ()) -> str:
    """The page as HTML."""
    veil: Veil = str if show_texts else veiled
    first = first_other(found.cuts)
    return rendered(
        "failure.html",
        found=found,
        case=found.run.case,
        headline=_headline(found),
        veil=veil,
        hidden=not show_texts,
        colours=COLOURS,
        first=first,
        shades=_shades(found, veil),
        spans=_span_rows(found, veil),
        twin=found.twins[0] if found.twins else None,
        diff=_diff(found, veil),
        rates=_rates(found, run),
        near=near,
        written=written_now(),
    )


def veiled(text: str) -> str:
    """A text whose letters can't be read."""
    return LETTER.sub("▒", text)


def _headline(found: FailureAnalysis) -> str:
    first = first_other(found.cuts)
    if first is not None:
        swapped = next((each for each in found.hypotheses if each.supposed == f"the {first.cut.value}"), None)
        holds = swapped.holds if swapped else None
        proven = {True: ", and passes with the reference's", False: ", which alone does not mend it", None: ""}
        return f"First differs at the {first.cut.value}{proven[holds]}"
    words, whole = len(found.smallest.text.split()), len(found.run.case.asked.split())
    if found.edit is not None:
        return f"Passes with {found.edit.size} of its words changed"
    if found.smallest.reproduced and words < whole:
        return f"Fails with {words} of its {whole} words"
    return "No part of the prompt explains it"


def _shades(found: FailureAnalysis, veil: Veil) -> list[Shade]:
    """The prompt in its spans, the darker the more leaving one out moves the margin."""
    weights = found.weights.weights
    most = max((abs(each.moves) for each in weights), default=0.0) or 1.0
    return [
        Shade(
            veil(each.span.text),
            round(100 * (WEAK + (STRONG - WEAK) * abs(each.moves) / most)) if abs(each.moves) > WEAK * most else 0,
            each.moves > 0,
            place in found.weights.top,
            each.moves,
        )
        for place, each in enumerate(weights)
    ]


def _span_rows(found: FailureAnalysis, veil: Veil) -> list[Mapping[str, object]]:
    ranked = sorted(found.weights.weights, key=lambda each: -abs(each.moves))[:MOST_SPANS]
    return [
        {
            "span": veil(each.span.text.strip()),
            "left out, nat": f"{each.moves:+.2f}",
            "gradient × input": "–" if each.gradient is None else f"{each.gradient:+.2f}",
            "attention (no cause)": "–" if each.attention is None else f"{each.attention:.1%}",
        }
        for each in ranked
    ]


def _diff(found: FailureAnalysis, veil: Veil) -> Markup:
    """The failing prompt with what its nearest twin says in other words."""
    if not found.twins:
        return Markup()
    old = pieces(found.run.case.asked)
    parts: list[Markup] = []
    at = 0
    for hunk in hunks_of(old, pieces(found.twins[0].case.asked)):
        parts.append(escape(veil("".join(old[at : hunk.at]))))
        for words, name in ((hunk.old, "del"), (hunk.new, "ins")):
            if words:
                parts.append(Markup('<{0} class="{0}">{1}</{0}> ').format(name, veil(" ".join(words))))
        at = hunk.at + len(hunk.old)
    return Markup("").join([*parts, escape(veil("".join(old[at:])))])


def _rates(found: FailureAnalysis, run: SuiteRun) -> Markup | None:
    """How often the suite, its template and this case pass, and how often the smallest prompt does, with intervals."""
    must = run.suite.pass_rate
    rows = [Row(f"suite {run.suite.name}", run.rate, "better" if run.rate.value >= must else "worse")]
    template = found.run.case.template
    same = [each.outcome.value == "pass" for each in run.scored if template and each.case.template == template]
    rows += [Row(f"template {template}", rate_of(same), "other")] if same else []
    rows.append(Row("this case", _passed([verdict is True for verdict in found.run.verdicts]), "worse"))
    if found.smallest.of:
        held = [False] * found.smallest.held + [True] * (found.smallest.of - found.smallest.held)
        rows.append(Row("its smallest prompt", _passed(held), "worse"))
    if found.edit is not None:
        passed = [True] * found.edit.held + [False] * (found.edit.of - found.edit.held)
        rows.append(Row("its smallest edit", _passed(passed), "better"))
    return interval_picture("Pass rates", rows, must, "share of answers that pass, with its 95 % interval")


def _passed(verdicts: Sequence[bool]) -> Rate:
    return rate_of(list(verdicts))
