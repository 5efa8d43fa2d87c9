"""`firstfault.watch()`: any PyTorch loop, watched without a change to its code, and judged at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from firstfault import progress
from firstfault.errors import TrainingStopped, told
from firstfault.logs.run_log import RunLog
from firstfault.output.whole_files import write_json
from firstfault.probe.capture import Capture
from firstfault.probe.probe import Probe
from firstfault.probe.record import Record
from firstfault.probe.replica import unwrapped
from firstfault.probe.sinks.base import Sink, Sinks
from firstfault.subject.captured import subject_of
from firstfault.texts import encodable
from firstfault.verdict import Outcome, Verdict
from firstfault.watcher.actions.undisturbed import undisturbed
from firstfault.watcher.lines import Located
from firstfault.watcher.rerun.proof import in_a_block
from firstfault.watcher.verdict import judge_watched

if TYPE_CHECKING:
    from firstfault.finding import LayerReport
    from firstfault.subject.subject import Subject
    from firstfault.target.declaration import Safety
    from firstfault.watcher.actions.action_context import Action
    from firstfault.watcher.actions.loop_monitor import InLoop
    from firstfault.watcher.rerun.arm import Script
    from firstfault.watcher.rerun.proof import Rerun


OnSample = Callable[["Watch", int], None]


def watch(
    name: str = "training",
    *,
    folder: str | Path | None = None,
    every: int | None = None,
    sinks: Sequence[Sink] = (),
    on_sample: OnSample | None = None,
    actions: Sequence[Action | str] = (),
    safety: Safety | None = None,
) -> Watch:
    """Watch the training inside a `with` block; nothing else of the code changes.

        with firstfault.watch("gan") as watched:
            train()
        print(watched.verdict().first_faulty_layer)

    Models, optimizers, schedulers, losses and loaders are found through torch's own hooks. Weights end as they would
    without the watch, bit for bit.

    Args:
        name: of the training, in verdict and sinks.
        folder: for the record and the report; a new run in `.firstfault` when left out.
        every: the distance of the steps at which norms and activations are taken; left out, it grows from 10 to 50
            with the training.
        sinks: where the numbers go while it runs, see `firstfault.sinks`.
        on_sample: called as `on_sample(watch, step)` after each sampled step; it may stop the loop by raising.
        actions: what to do about what fails while it runs, see `firstfault.actions`; or their names.
        safety: suites to evaluate on the way, every `safety.every` epochs. An epoch is a pass over a torch DataLoader
            that was learnt from; other loops call `watched.end_epoch()`.
    """
    if folder is None:
        from firstfault.runs.state import state_here

        folder = state_here().new_run()
    return Watch(name, Path(folder), every=every, sinks=sinks, on_sample=on_sample, actions=actions, safety=safety)


class Watch:
    """A watched training: `record` while it runs, `verdict()` at its end."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        every: int | None = None,
        sinks: Sequence[Sink] = (),
        on_sample: OnSample | None = None,
        root: Path | None = None,
        actions: Sequence[Action | str] = (),
        safety: Safety | None = None,
    ) -> None:
        self.name, self.folder, self.root = encodable(name), folder, root or Path.cwd()
        self._home = Path.cwd()
        self.capture = Capture()
        self.crash: BaseException | None = None
        self.script: Script | None = None
        self._on_sample = on_sample
        self._sinks = Sinks(sinks)
        self._probe = Probe(every=every, on_sample=self._sampled, capture=self.capture, samples=self._sinks.samples)
        self._log = RunLog(folder)
        self._subject: Subject | None = None
        self._verdict: Verdict | None = None
        self._written: tuple[Subject, Verdict] | None = None
        self.in_loop = self._in_loop(actions, safety) if actions or safety is not None else None

    def _in_loop(self, actions: Sequence[Action | str], safety: Safety | None) -> InLoop:
        from firstfault.watcher.actions.loop_monitor import InLoop

        return InLoop(self.name, self.folder, self.root, self._probe, actions, safety, self._sinks.note)

    @property
    def record(self) -> Record:
        """What was seen so far."""
        return self._probe.record

    def __enter__(self) -> Watch:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log.opened(self.name)
        self._following = self._log.following("training")
        self._following.__enter__()
        self._sinks.begin(self.name, self.folder)
        self._watching = self._probe.observe()
        self._watching.__enter__()
        if self.in_loop is not None:
            self.in_loop.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        stopped = self.in_loop is not None and isinstance(error, TrainingStopped)
        self.crash = None if stopped else error
        if self.in_loop is not None:
            self.record.passed_over |= self.in_loop.end()
        self._watching.__exit__(kind, error, trace)
        self.record.passed_over |= self._sinks.close(self.crash)
        self._following.__exit__(*((None, None, None) if stopped else (kind, error, trace)))
        return stopped

    def end_epoch(self, capability: float = math.nan) -> None:
        """Say that an epoch of the loop has ended, where no torch DataLoader does; it may be the turn of safety.

        Raises:
            TrainingStopped: for a critical violation of safety.
        """
        if self.in_loop is not None:
            self.in_loop.end_epoch(capability)

    def note(self, values: Mapping[str, float]) -> None:
        """Hand numbers of your own to every sink, at this step."""
        self._sinks.note(self.record.steps, values)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A block that neither the watch nor the training notices: what a model is asked on the way."""
        with self._probe.paused(), undisturbed(self._probe.models.roots.values()):
            yield

    def _sampled(self, step: int) -> None:
        self._sinks.send(self.record, step)
        if self._on_sample is not None:
            with self._probe.paused():
                self._on_sample(self, step)
        if self.in_loop is not None:
            self.in_loop.sampled(step)

    @property
    def subject(self) -> Subject:
        """The training as a subject of checks: its record, and a replay of what was captured."""
        if self._subject is None:
            roots = list(self._probe.models.roots.values())
            self._subject = subject_of(
                self.name,
                self.folder,
                self.root,
                self.record,
                self.capture,
                unwrapped(roots[0]) if len(roots) == 1 else None,
                self.crash,
            )
        return self._subject

    def verdict(self, *, swaps: bool = True, rerun: Rerun | None = None) -> Verdict:
        """The verdict over model and training.

        With `swaps`, suspicions are tested: on a replay of the captured batches, and by `rerun` on the script itself.
        """
        if self._verdict is None:
            with progress.in_run(), self._log.following():
                judged = judge_watched(self.subject, swaps=swaps, prove=partial(self._prove, rerun))
                self._verdict = self._located().verdict(judged)
                self._log.concluded(self._verdict)
        return self._verdict

    def _prove(self, rerun: Rerun | None, report: LayerReport, suspects: Sequence[str]) -> list[Outcome]:
        if rerun is None:
            return in_a_block(suspects)
        return rerun.outcomes(self.record, report, suspects, told(self.crash) if self.crash is not None else "")

    def verdict_of_record(self) -> Verdict:
        """The verdict by what was recorded alone, at once; a later `verdict()` looks at the model too."""
        bare = Capture()
        bare.why_not = "the training was interrupted"
        subject = subject_of(self.name, self.folder, self.root, self.record, bare, None, None)
        self._written = subject, self._located().verdict(judge_watched(subject, swaps=False))
        return self._written[1]

    def _located(self) -> Located:
        return Located(self.record, self._probe.lines, self.crash, self._home)

    def report(self) -> Path:
        """Write verdict.json and report.html into the folder; the report's path."""
        from firstfault.report import context_of, write_report

        subject, verdict = (
            (self.subject, self._verdict)
            if self._verdict is not None
            else self._written or (self.subject, self.verdict())
        )
        write_json(self.folder / "record.json", self.record.to_json(), indent=None)
        write_json(self.folder / "verdict.json", verdict.to_json())
        script = self.script
        code = [Path(script.folder) / script.name] if script is not None and not script.module else []
        return write_report(verdict, self.folder, context=context_of(subject, code=code))
