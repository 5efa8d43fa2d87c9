"""A training debugged for safety from Python: batches, alerts, investigations, looks at every epoch, one report.

    debugger = ComprehensiveSafetyDebugger(model, DebugConfig(tokenizer=tokenizer, monitor=monitor))
    report = debugger.debug_training_run(train_loader, val_loader, epochs=3)
    print(*report.lines, sep="\\n")

It is a face over the watch, the behaviour suites and the store of failures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault.behaviour.asking import Asker
from firstfault.behaviour.evaluation import Outcome, evaluate
from firstfault.behaviour.generation import generate_with
from firstfault.behaviour.suites import Suite, load_suite
from firstfault.errors import TargetError
from firstfault.interrupts import is_interrupt
from firstfault.lm.network import device_of
from firstfault.output.whole_files import write_json
from firstfault.target.bundled import own_or_shipped
from firstfault.target.validation import configured
from firstfault.watcher.actions.checkpoints import Checkpoints
from firstfault.watcher.answer_safety import BAD, Judged, Level
from firstfault.watcher.batch_spikes import Spikes
from firstfault.watcher.batch_texts import texts_of
from firstfault.watcher.investigating import Investigator
from firstfault.watcher.safety_alarms import Alarms
from firstfault.watcher.safety_config import DebugConfig
from firstfault.watcher.safety_experiments import Bench, moved
from firstfault.watcher.safety_looks import HarmfulBatches, Look, Looks
from firstfault.watcher.safety_report import Anomaly, BatchScore, DebugReport, Investigation
from firstfault.watcher.watch import Watch, watch

MOST_INVESTIGATED = 10
"""Of a run: the first ones, since each costs some steps on copies of the model."""

INTERRUPTED = "it was interrupted; what was measured until then is here"


class ComprehensiveSafetyDebugger:
    """Trains a model under the watch, and looks into what is unsafe on the way.

    Args:
        model: what is trained, in place.
        config: see `DebugConfig`.

    Raises:
        TargetError: for a setting that is unknown or out of its range, or suites without a way to ask the model.
    """

    def __init__(self, model: nn.Module, config: DebugConfig | Mapping[str, Any] | None = None) -> None:
        self.model, self.config = model, configured(DebugConfig, config)
        self.generate = self._generate()
        self.suites = [self._suite(each) for each in self.config.suites]
        if self.suites and self.generate is None:
            raise TargetError("DebugConfig.suites need a tokenizer or generate, so that the model can be asked")
        self._begin()

    def _begin(self) -> None:
        monitor = self.config.monitor
        self._watch: Watch | None = None
        self._looks = Looks(self.config.alpha)
        self._spikes, self._alarms = Spikes(), Alarms(self.config)
        self._harmful = HarmfulBatches(monitor.false_alarms[Level.HARMFUL]) if monitor and monitor.calibrated else None
        self._scores: list[BatchScore] = []
        self._investigations: list[Investigation] = []
        self._seen_looks: list[Look] = []
        self._validation: list[float] = []
        self._place = (0, 0)
        self._good: Path | None = None
        self.stopped = ""

    def _generate(self) -> Callable[[str], object] | None:
        if self.config.generate is not None or self.config.tokenizer is None:
            return self.config.generate
        return generate_with(self.model, self.config.tokenizer)

    def _suite(self, each: str | Path | Suite) -> Suite:
        if isinstance(each, Suite):
            return each
        name = each if str(each).endswith((".yaml", ".yml")) else f"{each}.yaml"
        return load_suite(own_or_shipped(name, self.config.root, "behaviour"))

    def debug_training_run(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None = None, epochs: int = 1
    ) -> DebugReport:
        """Train, and give the report; an exception of the loop, or Ctrl-C, leaves it when the report is written.

        Args:
            train_loader: batches: mappings for a model of transformers, or pairs (inputs, labels).
            val_loader: batches whose mean loss is told after each epoch.
            epochs: how often the training batches are gone through.
        """
        self._begin()
        config = self.config
        self._watch = watch(config.name, folder=config.folder, sinks=config.sinks, actions=[self._alarms])
        try:
            with closing(self._alarms), self._watch:
                self._train(train_loader, val_loader, epochs)
        finally:
            report = self.generate_debug_report()
        return report

    def _train(self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None, epochs: int) -> None:
        optimizer = self.config.optimizer([value for value in self.model.parameters() if value.requires_grad])
        self._look(0)
        for epoch in range(1, epochs + 1):
            self._epoch(epoch, train_loader, optimizer)
            self._validate(val_loader)
            if self._look(epoch):
                return

    def generate_debug_report(self) -> DebugReport:
        """The report of the last run, also as safety.json and report.html in its folder.

        Raises:
            TargetError: where none was made.
        """
        report = DebugReport(
            tuple(self._scores),
            tuple(self._alarms.anomalies),
            tuple(self._alarms.alerts),
            tuple(self._investigations),
            tuple(self._seen_looks),
            tuple(self._validation),
            self._harmful.evidence if self._harmful is not None else None,
            self.stopped or (INTERRUPTED if is_interrupt(self._seen.crash) else ""),
            self._seen.verdict(swaps=False),
            self._seen.report(),
            self.config.show_texts,
        )
        write_json(self._seen.folder / "safety.json", report.to_json())
        return report

    def _epoch(self, epoch: int, loader: Iterable[Any], optimizer: torch.optim.Optimizer) -> None:
        device = device_of(self.model)
        for number, batch in enumerate(loader, 1):
            self._place, given = (epoch, number), moved(batch, device)
            self.model.train()
            optimizer.zero_grad()
            loss = self.config.loss(self.model, given)
            strange = self._spikes.of(float(loss.detach()))
            if strange:
                self._spiked(strange, given)
            torch.autograd.backward(loss)
            optimizer.step()
            self._judge(given, float(loss.detach()))

    def _judge(self, batch: Any, loss: float) -> None:
        """Score what a batch teaches, and now and then what the model says to its first prompt."""
        epoch, number = self._place
        found = self._taught(batch)
        known = [each.score for each in found if each.score is not None]
        taught = sum(known) / len(known) if known else math.nan
        self._scores.append(BatchScore(epoch, number, self._step, loss, taught, self._said(found, number)))
        self._note({"safety/batch_score": taught, "safety/said": self._scores[-1].said})
        if self._harmful is not None:
            for each in found:
                if each.level is not Level.UNSCORED:
                    self._harmful.add(each.level in BAD)
        bad = [place for place, each in enumerate(found) if each.level in BAD]
        if bad:
            self._harm(batch, found, bad)

    def _taught(self, batch: Any) -> list[Judged]:
        config = self.config
        if config.monitor is None:
            return []
        pairs = config.answers(self.model, batch) if config.answers is not None else texts_of(batch, config.tokenizer)
        return [config.monitor(prompt, answer) for prompt, answer in pairs]

    def _said(self, found: Sequence[Judged], number: int) -> float:
        monitor, every = self.config.monitor, self.config.every
        if monitor is None or self.generate is None or not every or number % every or not found:
            return math.nan
        with self._seen.aside():
            score = monitor(found[0].prompt, str(self.generate(found[0].prompt))).score
        return math.nan if score is None else score

    def _harm(self, batch: Any, found: Sequence[Judged], bad: Sequence[int]) -> None:
        severe = sum(found[place].level is Level.SEVERE for place in bad)
        lowest = min(score for place in bad if (score := found[place].score) is not None)
        told = f"{len(bad)} of {len(found)} answers of the batch are harmful, {severe} of them severe"
        level = Level.SEVERE if severe else Level.HARMFUL
        anomaly = self._anomaly("harmful answers", f"{told}; the lowest score is {lowest:.2f}", level)
        answers = tuple(found[place] for place in bad)
        if self._room:
            with self._seen.aside():
                seen = self._investigator.of_harm(anomaly, batch, tuple(bad), answers)
            self._investigations.append(seen)
        if severe:
            self._alert(anomaly)

    def _spiked(self, strange: str, batch: Any) -> None:
        """A loss that stands out, before its step is made."""
        anomaly = self._anomaly("loss spike", strange)
        if self._room:
            with self._seen.aside():
                self._investigations.append(self._investigator.of_spike(anomaly, batch))

    @property
    def _room(self) -> bool:
        return len(self._investigations) < MOST_INVESTIGATED

    @property
    def _investigator(self) -> Investigator:
        config = self.config
        bench = Bench(self.model, config.loss, config.optimizer)
        home = Path(config.failures) if config.failures is not None else None
        return Investigator(bench, config.monitor, self.generate, home, config.name)

    def _validate(self, loader: Iterable[Any] | None) -> None:
        if loader is None:
            return
        device = device_of(self.model)
        self.model.eval()
        with torch.no_grad():
            losses = [float(self.config.loss(self.model, moved(batch, device))) for batch in loader]
        self._validation.append(sum(losses) / len(losses) if losses else math.nan)
        self._note({"safety/validation_loss": self._validation[-1]})

    def _look(self, epoch: int) -> bool:
        """Ask the suites; whether the training is to end."""
        if not self.suites:
            return False
        with self._seen.aside():
            look = self._looks.look(epoch, self._verdicts())
            self._seen_looks.append(look)
            self._keep(look)
        self._note({"safety/score": look.score, "safety/evidence": look.evidence})
        if not look.critical or self.stopped:
            return False
        self._alert(self._anomaly("critical violation", str(look), Level.SEVERE), f"alpha is {self.config.alpha:g}")
        if self.config.stop_on_critical:
            self.stopped = f"{look}; the last checkpoint before it is {self._good}"
        return self.config.stop_on_critical

    def _verdicts(self) -> dict[str, bool | None]:
        assert self.generate is not None
        ask = Asker(self.generate)
        known = {Outcome.PASS: True, Outcome.FAIL: False}
        return {
            f"{suite.name}/{run.case.id}": known.get(run.outcome) if len(run.verdicts) > 1 else run.verdicts[0]
            for suite in self.suites
            for run in evaluate(suite, ask, suite.runs).cases
        }

    def _keep(self, look: Look) -> None:
        """Put a look into the record, as the safety of any watched training, and keep what it finds sound."""
        faults = {suite.fault: 1 - self.config.alpha for suite in self.suites}
        if not look.critical:
            store = Checkpoints(self.config.name, self._seen.folder / "checkpoints")
            named = {type(self.model).__name__: self.model}
            kept = store.write("last_good", named, self._step, {"safety_score": look.score}, epoch=look.epoch)
            self._good = kept.path
        self._seen.record.safety.append(
            {
                "epoch": look.epoch,
                "step": self._step,
                "safety_score": look.score,
                "capability_score": math.nan,
                "alignment_tax": math.nan,
                "violations": [str(look)] if look.critical else [],
                "faults": faults if look.critical else {},
                "critical": look.critical,
                "last_good": str(self._good) if self._good else None,
                "seconds": 0.0,
            }
        )

    def _anomaly(self, kind: str, message: str, level: Level = Level.SAFE) -> Anomaly:
        return self._alarms.anomaly(*self._place, self._step, kind, message, level)

    def _alert(self, anomaly: Anomaly, error: str = "") -> None:
        self._alarms.alert(anomaly, error)
        self._note({"safety/alerts": float(len(self._alarms.alerts))})

    def _note(self, values: Mapping[str, float]) -> None:
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        if known:
            self._seen.note(known)

    @property
    def _seen(self) -> Watch:
        if self._watch is None:
            raise TargetError("generate_debug_report must come after debug_training_run")
        return self._watch

    @property
    def _step(self) -> int:
        return self._seen.record.steps
