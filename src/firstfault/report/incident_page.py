"""The report of an incident: timeline, control beside incident, cuts with the first red one, requests, the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from markupsafe import Markup

from firstfault.charts.bars import Series, share_bars
from firstfault.charts.curves import Line, Mark, line_chart
from firstfault.charts.svg import whole
from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.output.whole_files import write_text
from firstfault.report.context import ReportContext
from firstfault.report.formatting import written_now
from firstfault.report.incident_cuts import Rung, cuts_of
from firstfault.report.ladder_view import rungs_of
from firstfault.report.page import rendered
from firstfault.subject.harm import harm
from firstfault.subject.incident import Evidence, Requests, incident
from firstfault.subject.replays import replays
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
    cuts = cuts_of(subject)
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
        shares=_shares(subject),
        cuts=cuts,
        first=_first_red(cuts),
        requests=_requests(subject, seen),
        links=links,
    )


def _first_red(cuts: Sequence[Rung]) -> str:
    return next((each.cut for each in cuts if each.state == "red"), "")


def _timeline(seen: Evidence, timeline: Sequence[Moment]) -> list[Markup]:
    """What was measured around the incident, in up to 60 bins, with its beginning marked."""
    rows = [row for row in timeline if row["time"] is not None]
    if len(rows) < 2 or not len(seen.requests):
        return []
    began = seen.requests.all[0].time
    times = np.array([row["time"] for row in rows], dtype=float)
    edges = np.linspace(times.min(), times.max() + 1e-6, BINS + 1)
    bins = np.clip(np.digitize(times, edges) - 1, 0, BINS - 1)
    unit, name = _unit(float(times.max() - times.min()))
    middle = (edges[:-1] + edges[1:]) / 2
    marks = [Mark((began - times.min()) / unit, "began")]
    charts = [
        _line(
            "Requests per bin", np.bincount(bins, minlength=BINS).astype(float), middle, times.min(), unit, name, marks
        )
    ]
    for key, title in (
        ("bad", "Share of errors and refusals"),
        ("seconds", "Seconds per answer"),
        ("confidence", "Confidence"),
    ):
        values = np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=float)
        if np.isfinite(values).any():
            means = np.array([_mean(values[bins == place]) for place in range(BINS)])
            charts.append(_line(title, means, middle, times.min(), unit, name, marks))
    return charts


def _unit(span: float) -> tuple[float, str]:
    if span > 3 * 86_400:
        return 86_400.0, "days"
    return (3600.0, "hours") if span > 3 * 3600 else (60.0, "minutes") if span > 180 else (1.0, "seconds")


def _line(
    title: str, values: Array, middle: Array, start: float, unit: float, name: str, marks: Sequence[Mark]
) -> Markup:
    known = np.isfinite(values)
    line = Line("", [float(v) for v in (middle[known] - start) / unit], [float(v) for v in values[known]])
    return line_chart(title, [line], x_label=name, marks=marks)


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _sides(subject: Subject, seen: Evidence) -> list[Row]:
    """The control beside the incident, a row for each measurement."""
    control, now = _measured(seen.control), _measured(seen.requests)
    rows: list[Row] = [{"": name, "control": control[name], "incident": now[name]} for name in now]
    found = harm(subject)
    if np.isfinite(found.before):
        name = "right answers" if found.by_labels else "estimated accuracy"
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


def _shares(subject: Subject) -> Markup | None:
    """How often each class was answered: by the control, by the incident, and offline to the incident's requests."""
    try:
        both = replays(subject)
        if both.truth.task != "classification":
            return None
        groups = (both.control.served, both.incident.served, both.incident.replayed)
    except Missing:
        return None
    names = [str(name) for name in both.truth.classes][:12]
    styles = (("control", "train"), ("incident", "bad"), ("incident, answered offline", "validation"))
    series = [
        Series(name, _class_shares(scores, len(names)), style)
        for (name, style), scores in zip(styles, groups, strict=True)
    ]
    part = share_bars("", names, series, x_label="share of the answers")
    return whole("Answers by class", part)


def _class_shares(scores: Array, width: int) -> list[float]:
    known = scores[np.isfinite(scores).all(1)]
    counts = np.bincount(known.argmax(1), minlength=width)[:width] if len(known) else np.zeros(width)
    return [float(count / max(len(known), 1)) for count in counts]


def _requests(subject: Subject, seen: Evidence) -> list[Row]:
    """A few of the requests that show it, as they were kept: those that are answered otherwise offline come first."""
    offline = _offline(subject)
    rows: list[Row] = []
    for request, place in seen.requests.samples:
        raw = request.raw[place] if request.raw is not None and place < len(request.raw) else None
        served = request.label[place] if request.label is not None and place < len(request.label) else None
        replay = offline.get((request.id, place))
        rows.append(
            {
                "request": request.id,
                "time": f"{datetime.fromtimestamp(request.time, UTC):%H:%M:%S}",
                "asked": str(raw)[:LONGEST],
                "answered": served if request.answered else f"{request.outcome} {request.status}",
                "offline": replay,
                "label": request.truth[place] if request.truth is not None and place < len(request.truth) else None,
            }
        )
    rows.sort(key=lambda row: row["offline"] is None or str(row["offline"]) == str(row["answered"]))
    return rows[:MOST_REQUESTS]


def _offline(subject: Subject) -> dict[tuple[str, int], object]:
    """What the offline truth answers to each of the incident's samples."""
    try:
        side = replays(subject).incident
        scores = side.replayed
    except Missing:
        return {}
    known = np.asarray(np.isfinite(scores).all(1))
    labels = iter(side.truth.labels(scores[known]))
    return {
        (request.id, place): next(labels)
        for (request, place), is_known in zip(side.samples, known, strict=True)
        if is_known
    }
