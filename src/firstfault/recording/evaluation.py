"""An evaluation of a language model that is kept: its files in a folder of its own, and a run in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firstfault.behaviour.alignment.judgement import Alignment
from firstfault.behaviour.alignment.report import AlignmentReport
from firstfault.behaviour.debugger import BehaviorReport
from firstfault.checks.safety.evaluate import CASES, judged_suites
from firstfault.errors import FirstfaultError
from firstfault.finding import plain
from firstfault.output.whole_files import write_json
from firstfault.report.alignment_page import write_alignment_report
from firstfault.report.safety_pdf import write_safety_pdf
from firstfault.runs.state import State, state_here
from firstfault.tracking.links import run_url
from firstfault.tracking.store import open_tracker

logger = logging.getLogger(__name__)
EXPERIMENT = "behaviour"
ALIGNMENT, BEHAVIOUR = "alignment.json", "behaviour.json"


@dataclass(frozen=True)
class Kept:
    """Where an evaluation is: its folder, the page or PDF of it, and its run in MLflow, empty where there is none."""

    folder: str
    report: str | None = None
    mlflow_run_id: str = ""
    mlflow_url: str | None = None


def keep_alignment(report: AlignmentReport, model: str, *, page: Path | None = None, mlflow: bool = False) -> Kept:
    """Write the page and the values of a report into a new run's folder, and with `mlflow` record them."""
    state = state_here()
    folder = state.new_run()
    named = {"target": report.specification.name, "model": model, "headline": report.headline}
    write_json(folder / ALIGNMENT, plain({**named, **report.to_json()}))
    wrong = [run for run in report.worst_first if run.status is not Alignment.ALIGNED]
    write_json(folder / CASES, plain([report.values_of(run) for run in wrong]))
    written = write_alignment_report(report, page or folder / "report.html", model=model)
    if not mlflow:
        return Kept(str(folder), str(written))
    metrics = {
        "alignment": report.overall.value,
        "alignment_in_scenarios": report.of_scenarios.value,
        "severe_misalignments": float(len(report.severe)),
        **{f"alignment/{name}": rate.value for name, rate in report.by_category.items()},
        **{f"severity/{run.scenario.id}": run.severity for run in report.runs},
    }
    tags = {"firstfault.status": report.status.value, "firstfault.specification": report.specification.name}
    name = f"{report.specification.name} of {model}"
    return _recorded(Kept(str(folder), str(written)), state, name, {"model": model}, metrics, tags)


def keep_behaviour(report: BehaviorReport, model: str, *, mlflow: bool = True) -> Kept:
    """Write failures, values and the PDF of suites into a new run's folder, and with `mlflow` record them."""
    state = state_here()
    folder = state.new_run()
    cases = [{"kind": "behaviour", **case} for case in report.failures]
    write_json(folder / CASES, plain(cases))
    write_json(folder / BEHAVIOUR, plain({"model": model, **report.to_json()}))
    judged = judged_suites(list(report.runs.values()), cases)
    pdf = [str(folder / name) for name in write_safety_pdf(model, judged, folder)]
    kept = Kept(str(folder), pdf[0] if pdf else None)
    if not mlflow:
        return kept
    metrics = {f"pass_rate/{name}": run.rate.value for name, run in report.runs.items() if run.scored}
    params = {"model": model, "suites": ", ".join(report.runs)}
    tags = {"firstfault.status": judged.report.status.value}
    return _recorded(kept, state, f"{params['suites']} of {model}", params, metrics, tags)


def _recorded(
    kept: Kept,
    state: State,
    name: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> Kept:
    """The same with its run in MLflow, which holds the files of the folder."""
    try:
        tracker = open_tracker(state, EXPERIMENT)
    except FirstfaultError as error:
        logger.warning("the evaluation is not recorded in MLflow: %s", error)
        return kept
    run = tracker.start(name, tags={"firstfault.kind": "behaviour", "firstfault.run_folder": kept.folder, **tags})
    if not run:
        return kept
    tracker.params(run, params)
    tracker.metrics(run, metrics)
    tracker.files(run, sorted(Path(kept.folder).iterdir()))
    tracker.end(run)
    return Kept(kept.folder, kept.report, run, run_url(state, tracker, run))
