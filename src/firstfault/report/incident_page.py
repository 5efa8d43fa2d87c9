"""The report of an incident: timeline, control beside incident, cuts with the first red one, requests, the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from markupsafe import Markup

from firstfault.charts.curves import Line, Mark, line_chart
from firstfault.metrics import Array
from firstfault.output.numbers import duration
from firstfault.output.whole_files import write_text
from firstfault.report.context import ReportContext
from firstfault.report.formatting import written_now
from firstfault.report.incident_cuts import Rung, cuts_of
from firstfault.report.incident_undone import Undone, class_picture, column_pictures, undone_of
from firstfault.report.ladder_view import rungs_of
from firstfault.report.page import rendered
from firstfault.subject.harm import harm
from firstfault.subject.incident import Evidence, Requests, incident
from firstfault.subject.subject import Subject
from firstfault.values import Row
from firstfault.verdict import Verdict

BINS = 60
MOST_REQUESTS = 10
LONGEST = 160
Moment = Mapping[str, float | None]


def write_incident_report(
    verdict: Verdict, subject: Subject, folder: Path, timeline: Sequence[Moment], links: Mapping[str, str] | None = None
) -> Path:
    """Write `report.html` into `folder`, and return its path.

    Args:
        verdict: over the incident.
        subject: the incident, with what was replayed of it.
        folder: of the run.
        timeline: of each request around the incident its time, seconds, whether it ended badly (0 or 1) and confidence.
        links: URLs of the MLflow and Prefect runs, by title.
    """
    path = folder / "report.html"
    write_text(path, incident_page(verdict, subject, timeline, links or {}))
    return path


def incident_page(verdict: Verdict, subject: Subject, timeline: Sequence[Moment], links: Mapping[str, str]) -> str:
    """The page of an incident as HTML."""
    seen = incident(subject)
    written = written_now()
    cuts, undone = cuts_of(subject), undone_of(verdict, subject)
    return rendered(
        "incident.html",
        verdict=verdict,
        context=ReportContext(links=links, environment={"written": written}),
        incident=seen,
        rungs=rungs_of(verdict),
        pictures={report.layer: [] for report in verdict.layers},
        listings={report.layer: [] for report in verdict.layers},
        charts=_timeline(seen, timeline),
        sides=_sides(subject, seen),
        pictured=[*column_pictures(undone), *[each for each in [class_picture(undone)] if each]],
        cuts=cuts,
        first=_first_red(cuts),
        requests=_requests(seen, undone),
        undone=undone.title,
        links=links,
    )


def _first_red(cuts: Sequence[Rung]) -> str:
    return next((each.cut for each in cuts if each.state == "red"), "")


def _timeline(seen: Evidence, timeline: Sequence[Moment]) -> list[Markup]:
    """What was measured around the incident, in up to 60 bins, with its beginning marked."""
    rows = [row for row in timeline if row["time"] is not None]
    if len(rows) < 2 or not len(seen.requests):
        return []
    times = np.array([row["time"] for row in rows], dtype=float) - seen.requests.all[0].time
    unit, name = _unit(float(np.ptp(times)))
    edges = np.linspace(times.min(), times.max() + 1e-6, BINS + 1) / unit
    bins = np.clip(np.digitize(times / unit, edges) - 1, 0, BINS - 1)
    middle = (edges[:-1] + edges[1:]) / 2
    counts = np.bincount(bins, minlength=BINS).astype(float)
    charts = [_line(f"Requests in each {duration((edges[1] - edges[0]) * unit)}", counts, middle, name, (0.0,))]
    for key, title, within in (
        ("bad", "Share of errors and refusals", (0.0, 0.01)),
        ("seconds", "Seconds per answer", (0.0,)),
        ("confidence", "Confidence", ()),
    ):
        values = np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=float)
        if np.isfinite(values).any():
            means = np.array([_mean(values[bins == place]) for place in range(BINS)])
            charts.append(_line(title, means, middle, name, within))
    return charts


def _unit(span: float) -> tuple[float, str]:
    if span > 3 * 86_400:
        return 86_400.0, "days"
    return (3600.0, "hours") if span > 3 * 3600 else (60.0, "minutes") if span > 180 else (1.0, "seconds")


def _line(title: str, values: Array, middle: Array, unit: str, within: Sequence[float]) -> Markup:
    known = np.flatnonzero(np.isfinite(values))
    shown = slice(known[0], known[-1] + 1)
    line = Line("", middle[shown].tolist(), values[shown].tolist(), crossed=False)
    began = [Mark(0.0, "the first of its requests")]
    return line_chart(title, [line], x_label=f"{unit} since it began", marks=began, within=within)


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _sides(subject: Subject, seen: Evidence) -> list[Row]:
    """The control beside the incident, a row for each measurement."""
    control, now = _measured(seen.control), _measured(seen.requests)
    rows: list[Row] = [{"": name, "control": control[name], "incident": now[name]} for name in now]
    found = harm(subject)
    if np.isfinite(found.before):
        name = "right answers" if found.by_labels else "the offline model's confidence"
        rows.append({"": name, "control": round(found.before, 4), "incident": round(found.now, 4)})
    return rows


def _measured(requests: Requests) -> dict[str, object]:
    seconds, confidence = requests.numbers("total"), requests.numbers("confidence")
    sure = _mean(confidence)
    return {
        "requests": len(requests),
        "errors and refusals": f"{_share_bad(requests):.1%}",
        "seconds at the median": round(float(np.median(seconds)), 4) if len(seconds) else None,
        "seconds at the 95th percentile": round(float(np.quantile(seconds, 0.95)), 4) if len(seconds) else None,
        "confidence": round(sure, 4) if np.isfinite(sure) else None,
        "versions": ", ".join(sorted({request.version or "–" for request in requests.all})),
    }


def _share_bad(requests: Requests) -> float:
    return sum(request.outcome in ("error", "refused") for request in requests.all) / max(len(requests), 1)


def _requests(seen: Evidence, undone: Undone) -> list[Row]:
    """A few of the requests that show it, as they were kept: those that are answered otherwise, put right, first."""
    rows: list[Row] = []
    for request, place in seen.requests.samples:
        raw = request.raw[place] if request.raw is not None and place < len(request.raw) else None
        served = request.label[place] if request.label is not None and place < len(request.label) else None
        rows.append(
            {
                "request": request.id,
                "time": f"{datetime.fromtimestamp(request.time, UTC):%H:%M:%S}",
                "asked": _asked(raw, undone.columns),
                "answered": served if request.answered else f"{request.outcome} {request.status}",
                undone.title: undone.answers.get((request.id, place)),
                "label": request.truth[place] if request.truth is not None and place < len(request.truth) else None,
            }
        )
    rows.sort(key=lambda row: row[undone.title] is None or str(row[undone.title]) == str(row["answered"]))
    return rows[:MOST_REQUESTS]


def _asked(raw: object, first: Sequence[str]) -> str:
    """A request in a line; the fields at fault come first."""
    if not isinstance(raw, dict):
        return str(raw)[:LONGEST]
    names = [*(name for name in first if name in raw), *(name for name in raw if name not in first)]
    return ", ".join(f"{name}: {raw[name]}" for name in names)[:LONGEST]
