"""The steps of a run: carried out at once, or each as a task of a flow that records it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from firstfault.check import Depth
from firstfault.finding import Layer, LayerReport
from firstfault.values import Json, Row
from firstfault.verdict import Outcome, Verdict


@dataclass(frozen=True)
class RunSettings:
    """What a debug run is asked for, from the command line or a deployment's form to its end."""

    target: str
    depth: Depth = Depth.STANDARD
    keep_going: bool = False
    only: Layer | None = None
    dataset: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None

    def to_json(self) -> dict[str, object]:
        """The parameters of the flow `debug`."""
        return {
            **asdict(self),
            "depth": self.depth.value,
            "only": self.only.value if self.only else None,
            "overrides": dict(self.overrides),
        }


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep is asked for; `firstfault.ablation.sweeps.sweep` explains it."""

    target: str
    factors: tuple[str, ...] | None = None
    grid: tuple[str, ...] | None = None
    tune: tuple[str, ...] | None = None
    seeds: int | None = None
    trials: int | None = None
    engine: str | None = None
    workers: int = 1
    resume: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The parameters of the flow `sweep`."""
        lists = {
            name: list(values) if (values := getattr(self, name)) is not None else None
            for name in ("factors", "grid", "tune")
        }
        return {**asdict(self), **lists, "overrides": dict(self.overrides)}


@dataclass(frozen=True)
class FlowRun:
    """The flow run that records a run."""

    id: str
    url: str | None


@dataclass(frozen=True)
class Opened:
    """A run has begun: its target's name, its folder, and its page in MLflow, if a server shows it."""

    target: str
    folder: str
    mlflow_url: str | None = None


@dataclass(frozen=True)
class Examined:
    """A layer was examined, and its page in MLflow."""

    report: LayerReport
    mlflow_url: str | None = None

    def to_json(self) -> dict[str, object]:
        """This as JSON values."""
        return {"report": self.report.to_json(), "mlflow_url": self.mlflow_url}

    @classmethod
    def from_json(cls, values: Json) -> Examined:
        """What `to_json` wrote."""
        return cls(LayerReport.from_json(values["report"]), values["mlflow_url"])


@dataclass(frozen=True)
class Ended:
    """How a debug run ended: its verdict, and where its files and pages are."""

    verdict: Verdict
    folder: str
    report: str | None = None
    report_url: str | None = None
    mlflow: str | None = None
    mlflow_url: str | None = None
    flow_url: str | None = None

    def to_json(self) -> dict[str, object]:
        """This as JSON values."""
        return {
            **{
                name: getattr(self, name)
                for name in ("folder", "report", "report_url", "mlflow", "mlflow_url", "flow_url")
            },
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, values: Json) -> Ended:
        """What `to_json` wrote."""
        return cls(**{**values, "verdict": Verdict.from_json(values["verdict"])})


@dataclass(frozen=True)
class Swept:
    """How a sweep ended: its result as JSON values, its trials, and what is said of it."""

    result: Json
    trials: tuple[Row, ...]
    headline: str
    markdown: str
    picture: str
    flow_url: str | None = None


class Steps:
    """Carries out each step of a run at once. A flow's carries it out as a task, and records what it gives."""

    shows_pages = False
    """Whether the pages of MLflow are linked while the run goes on."""

    @property
    def flow_run(self) -> FlowRun | None:
        """The flow run that records this run, if one does, and it is known by now."""
        return None

    def open(self, work: Callable[[], Opened]) -> Opened:
        """Load the target, and open the run's folder."""
        return work()

    def examine(self, layer: Layer, work: Callable[[], Examined | None]) -> Examined | None:
        """Run the checks of one layer, or judge safety, where there is something to judge."""
        return work()

    def confirm(self, layer: Layer, work: Callable[[], list[Outcome]]) -> list[Outcome]:
        """Undo what is suspected, and retrain."""
        return work()

    def sweep(self, work: Callable[[], Swept]) -> Swept:
        """Train, compare, report."""
        return work()

    def conclude(self, work: Callable[[], Ended]) -> Ended:
        """Write verdict and report."""
        return work()

    def say(self, text: str) -> None:
        """A line for the log of the run."""

    def abandoned(self, error: BaseException) -> None:
        """The run was interrupted, or crashed."""
