"""Each step of a run as a Prefect task, with what it gave as artifacts and events.

The work itself is the library's. It is done once: where Prefect fails beside it, what it gave is kept, and the run
goes on without Prefect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from firstfault.tasks.live import RunProgress
from firstfault.tasks.outlet import Outlet
from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run

from firstfault.finding import Layer, LayerReport
from firstfault.output.escaping import visible_in
from firstfault.output.file_names import key_of
from firstfault.recording.steps import Ended, Examined, FlowRun, Opened, Steps, Swept
from firstfault.report.markdown import escape, escaped_rows, layer_markdown, verdict_markdown
from firstfault.values import Row
from firstfault.verdict import Outcome

T = TypeVar("T")
RUN_NAMES = {
    Layer.DATA: "data: validate, profile, find leaks",
    Layer.PREPROCESSING: "preprocessing: measure every step",
    Layer.MODEL: "model: unit tests",
    Layer.TRAINING: "training: train under observation",
    Layer.DEPLOYMENT: "deployment: package, serve, compare",
    Layer.SAFETY: "safety: groups, robustness, behaviour",
}
INCIDENT_NAMES = {
    Layer.DATA: "data: requests beside healthy ones",
    Layer.PREPROCESSING: "preprocessing: served tensors beside the training's",
    Layer.MODEL: "model: served scores beside the offline model's",
    Layer.TRAINING: "training: answers beside labels that came",
    Layer.DEPLOYMENT: "deployment: labels beside scores, errors, seconds",
    Layer.SAFETY: "safety: answers beside the last good version's",
}


class Once(Generic[T]):
    """Work that is done at most once, whoever asks for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work, self.given, self.raised = work, False, False
        self._result: T

    def __call__(self) -> T:
        """What the work gives."""
        if not self.given:
            try:
                self._result = self._work()
            except BaseException:
                self.raised = True
                raise
            self.given = True
        return self._result


class TaskSteps(Steps):
    """Carries out each step as a task of the flow run that is on."""

    shows_pages = True

    def __init__(self, names: Mapping[Layer, str] = RUN_NAMES) -> None:
        self.names = names
        self.outlet = Outlet()
        self.progress = RunProgress(self.outlet)
        self.target = "target"

    @property
    def flow_run(self) -> FlowRun | None:
        """The flow run that is on."""
        return FlowRun(str(flow_run.id), flow_run.ui_url)

    def open(self, work: Callable[[], Opened]) -> Opened:
        """The task `open run`."""
        self.progress.begin()
        opened = self._task("open run", "open the run", work)
        self.target = opened.target
        self.say(f"MLflow {opened.mlflow_url}" if opened.mlflow_url else f"folder {opened.folder}")
        return opened

    def examine(self, layer: Layer, work: Callable[[], Examined | None]) -> Examined | None:
        """A task with the layer's name, its findings and events."""

        def look() -> Examined | None:
            with self.progress.following(*_share(layer), layer.value):
                examined = work()
            return self._tell_layer(examined)

        return self._task(layer.value, self.names.get(layer, layer.value), look)

    def confirm(self, layer: Layer, work: Callable[[], list[Outcome]]) -> list[Outcome]:
        """The task `ablation`, with a table of the swaps."""

        def undo() -> list[Outcome]:
            _, end = _share(layer)
            with self.progress.following(end, end, f"{layer.value}, undone"):
                outcomes = work()
            table = [_outcome(outcome) for outcome in outcomes]
            self.outlet(
                create_table_artifact,
                key=f"{layer}-swaps",
                table=escaped_rows(table) or [{"fault": "none could be tested"}],
                description="what undoing each suspected fault did",
            )
            return outcomes

        return self._task("ablation", "ablation: undo what is suspected", undo)

    def sweep(self, work: Callable[[], Swept]) -> Swept:
        """The task `sweep`, with its tables and its plot."""

        def train() -> Swept:
            with self.progress.following(0.0, 1.0, "sweep"):
                swept = work()
            self._tell_sweep(swept)
            return swept

        return self._task("sweep", "sweep: train, compare, report", train)

    def conclude(self, work: Callable[[], Ended]) -> Ended:
        """The task `report`; then the verdict as an artifact of the whole flow run, which its page shows first."""
        ended = self._task("report", "report: verdict and HTML", work)
        self._tell_verdict(ended)
        self.progress.end()
        return ended

    def say(self, text: str) -> None:
        """A line in the flow run's log."""
        get_run_logger().info("%s", text)

    def _task(self, name: str, run_name: str, work: Callable[[], T]) -> T:
        once = Once(work)

        def step() -> T:
            return once()

        if not self.outlet.open:
            return once()
        try:
            return task(step, name=name, task_run_name=run_name, cache_policy=NO_CACHE)()
        except Exception as error:
            if once.raised:
                raise
            self.outlet.lose(error)
            return once()

    def _tell_layer(self, examined: Examined | None) -> Examined | None:
        if examined is None:
            return None
        report, layer = examined.report, examined.report.layer.value
        self.outlet(
            create_markdown_artifact,
            key=layer,
            markdown=layer_markdown(report) + _links({"Every finding and file of this layer": examined.mlflow_url}),
            description=f"{layer}: {report.status}",
        )
        self._tell_failures(report)
        self.say(f"{report.layer}: {report.status} in {report.seconds:.1f} s, {len(report.findings)} findings")
        return examined

    def _tell_failures(self, report: LayerReport) -> None:
        for finding in report.failures:
            self.outlet(
                emit_event,
                event="firstfault.finding.failed",
                payload=visible_in(finding.to_json()),
                resource={
                    "prefect.resource.id": f"firstfault.target.declaration.{key_of(self.target)}",
                    "firstfault.layer": report.layer.value,
                },
            )

    def _tell_verdict(self, ended: Ended) -> None:
        verdict, pages = ended.verdict, {"Report": ended.report_url, "Run in MLflow": ended.mlflow_url}
        lines = [f"report {ended.report_url or ended.report}", f"MLflow {ended.mlflow_url or ended.mlflow}"]
        self.outlet(
            create_markdown_artifact,
            key="verdict",
            markdown=f"{_links(pages)}\n\n{verdict_markdown(verdict)}".lstrip(),
            description=f"{verdict.target}: {verdict.status.value}",
        )
        self.outlet(
            emit_event,
            event="firstfault.verdict",
            payload=visible_in({key: value for key, value in verdict.to_json().items() if key != "layers"}),
            resource={
                "prefect.resource.id": f"firstfault.target.declaration.{key_of(verdict.target)}",
                "firstfault.status": verdict.status.value,
            },
        )
        for line in (f"verdict {verdict.status}", *lines):
            self.say(line)

    def _tell_sweep(self, swept: Swept) -> None:
        shares = [{"of": name, "share": share} for name, share in swept.result["importances"].items()]
        self.outlet(create_table_artifact, key="ablation-table", table=escaped_rows(swept.result["rows"]))
        self.outlet(
            create_table_artifact, key="sweep-trials", table=escaped_rows(swept.trials) or [{"trial": "none has ended"}]
        )
        self.outlet(
            create_table_artifact, key="importances", table=escaped_rows(shares) or [{"of": "too little varies"}]
        )
        self.outlet(create_image_artifact, image_url=Path(swept.picture).as_uri(), key="ablation-plot")
        self.outlet(
            create_markdown_artifact, key="sweep-summary", markdown=swept.markdown, description=escape(swept.headline)
        )


def _share(layer: Layer) -> tuple[float, float]:
    """Where a layer begins and ends, as shares of a debug run."""
    steps = list(RUN_NAMES)
    place = steps.index(layer)
    return place / len(steps), (place + 1) / len(steps)


def _links(pages: Mapping[str, str | None]) -> str:
    """The pages that there are, as a line of markdown."""
    known = [f"[{title}]({url})" for title, url in pages.items() if url]
    return "\n\n" + " · ".join(known) if known else ""


def _outcome(outcome: Outcome) -> Row:
    swap = (
        {"change": outcome.swap.change, "before": outcome.swap.before, "after": outcome.swap.after}
        if outcome.swap
        else {}
    )
    return {"fault": outcome.fault, "confirmed": str(outcome.confirmed), "reason": outcome.reason, **swap}
