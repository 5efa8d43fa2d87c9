"""Rules, actions and safety inside a loop that `firstfault.watch` watches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from firstfault.probe.probe import Probe
from firstfault.watcher.actions.epoch_end import Passes
from firstfault.watcher.actions.named import actions_named
from firstfault.watcher.actions.runner import Acting
from firstfault.watcher.actions.storing import store_of

if TYPE_CHECKING:
    from firstfault.target.declaration import Safety
    from firstfault.watcher.safety_monitor import Course

Note = Callable[[int, Mapping[str, float]], None]


class InLoop:
    """What a watch does while the loop runs; `raises` is whether `TrainingStopped` may leave it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        root: Path,
        probe: Probe,
        actions: str | Sequence[Any],
        safety: Safety | None,
        note: Note,
    ) -> None:
        self._probe, self._note = probe, note
        chosen = actions_named(actions, "watch(actions=…)", mlflow=True)
        self._acting = Acting(name, folder, root, probe.record, lambda: named_roots(probe), chosen, probe.paused)
        self._course = self._course_of(safety, name, folder, root) if safety is not None else None
        self._epochs = self._ended_at = 0
        self._undo: Callable[[], None] | None = None

    @property
    def raises(self) -> bool:
        """Whether the loop is left by an exception."""
        return self._acting.raises

    @raises.setter
    def raises(self, value: bool) -> None:
        self._acting.raises = value

    def _course_of(self, safety: Safety, name: str, folder: Path, root: Path) -> Course:
        from firstfault.behaviour.suites import expect_suites
        from firstfault.subject.subject import Subject
        from firstfault.target.declaration import Target
        from firstfault.watcher.safety_monitor import Course, evaluation_of

        subject = Subject(Target(name, task="language_model", safety=safety, root=root), folder)
        expect_suites(subject.target)
        return Course(safety, evaluation_of(subject), self._acting, store_of(self._acting))

    def begin(self) -> None:
        """The loop begins."""
        if self._course is not None:
            self._undo = Passes(lambda: self._probe.record.steps, self.end_epoch).patch()

    def sampled(self, step: int) -> None:
        """A step was sampled; the first stands for the start of the training.

        Raises:
            TrainingStopped: when an action asked for the end.
        """
        if self._course is not None and step == 1:
            self._course.start(self._model(), lambda: math.nan)
            self._tell()
        self._acting.sampled()

    def end_epoch(self, capability: float = math.nan) -> None:
        """An epoch has ended, where steps were made since the last.

        Raises:
            TrainingStopped: for a critical violation.
        """
        if self._course is None or self._probe.record.steps == self._ended_at:
            return
        self._ended_at = self._probe.record.steps
        self._epochs += 1
        self._probe.record.epoch_ends.append(self._ended_at)
        try:
            self._course.end_epoch(self._epochs, self._model(), lambda: capability)
        finally:
            self._tell()

    def _model(self) -> nn.Module | None:
        roots = list(self._probe.models.roots.values())
        return roots[0] if len(roots) == 1 else None

    def _tell(self) -> None:
        from firstfault.watcher.safety_monitor import NAMES

        row = self._probe.record.safety[-1] if self._probe.record.safety else None
        if row is not None and row["step"] == self._probe.record.steps:
            self._note(row["step"], {name: row[name] for name in NAMES if math.isfinite(row[name])})

    def end(self) -> dict[str, str]:
        """The loop has ended; what was lost on the way, and why."""
        if self._undo is not None:
            self._undo()
        return self._acting.close()


def named_roots(probe: Probe) -> dict[str, nn.Module]:
    """The outermost models by class, with a number from the second of a class on."""
    named: dict[str, nn.Module] = {}
    for model in probe.models.roots.values():
        kind = type(model).__name__
        named[
            next(name for number in range(1, 99) if (name := kind if number == 1 else f"{kind}{number}") not in named)
        ] = model
    return named
