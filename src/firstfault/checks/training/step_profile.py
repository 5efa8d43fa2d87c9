"""What limits a step of the training: its time by phase, measured, and its operators, by torch.profiler."""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import optimizer as optimizers

from firstfault import loading
from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.preprocessing.rerun import fixed_seeds
from firstfault.checks.training.reproducibility import affordable
from firstfault.checks.training.same_seed import FEWEST, Enough
from firstfault.finding import Layer, Status
from firstfault.loop import train
from firstfault.recipe import Recipe, Tensors, device_of

WARM, TIMED, PROFILED = 2, 8, 3
PHASES = ("loading", "augmentation", "forward", "backward", "optimizer", "rest")
MOST_OPERATORS, MOST_BYTES = 12, 5_000_000
TINY = 20e-6
TRACE, OPERATORS, STEP = "trace.json", "step_operators.csv", "step_phases.csv"


@dataclass(frozen=True)
class Operator:
    """One operator of the profiled steps: calls and own seconds per step, on the device that does the work."""

    name: str
    calls: float
    seconds: float


@dataclass
class Profiled:
    """A few steps of a training: seconds per step and phase, the dearest operators first.

    `busy` are the seconds of a step in operations of 20 µs and more, or in those of the accelerator; None where nothing was profiled.
    """

    seconds: dict[str, float]
    operators: list[Operator] = field(default_factory=list)
    busy: float | None = None

    @property
    def whole(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())

    def share(self, *phases: str) -> float:
        """The share of some phases in a step."""
        return sum(self.seconds.get(phase, 0.0) for phase in phases) / max(self.whole, 1e-12)


@check(layer=Layer.TRAINING, needs={"recipe", "trained"}, detects={"input_bottleneck": 0.4}, depth=Depth.STANDARD)
def profiled_input_bottleneck(subject: Any, *, waiting: float = 0.5, wait: float = 0.005) -> Iterator[Judgement]:
    """Measure what limits a step: the share of loading, augmentation, forward, backward and optimizer, and the dearest operators.

    After 2 steps to warm up, 8 are timed without a profiler, as one would inflate phases of many small operations; 3 more run under
    torch.profiler, for the operators and `trace.json` (open it in a trace viewer). `value` is the share of a step spent on the
    user's own loader and augmentation; it is a warning above `waiting` where that is `wait` seconds or more, and never a fault: a small
    model is often faster than its data.
    Trainings of fewer steps are profiled as far as they go; steps that take longer than a second together are left to depth deep.

    Source: Amazon SageMaker Debugger, IOBottleneck (50 %); PyTorch, torch.profiler.
    """
    if affordable(subject) < FEWEST:
        yield skipped("the steps take too long to be profiled here; depth deep does it")
        return
    folder = subject.folder
    found = profile(subject.recipe, subject.seed, folder)
    if found is None:
        yield skipped(f"fewer than {WARM + 1} steps were seen in a pass")
        return
    files = _written(found, folder)
    own = found.share("augmentation", *(["loading"] if subject.recipe.training.loader is not None else []))
    shares = ", ".join(f"{phase} {found.share(phase):.0%}" for phase in PHASES if found.share(phase) >= 0.005)
    slow = own > waiting and own * found.whole >= wait
    yield Judgement(
        Status.WARN if slow else Status.PASS, f"a step takes {_duration(found.whole)}: {shares}. {limit(found, own > waiting)}",
        value=own, threshold=waiting, where="training.loader" if slow else None, artifacts=files,
        fix="load in workers (num_workers, persistent_workers), cache what is decoded, or augment whole batches" if slow else None,
    )


def limit(found: Profiled, starved: bool = False) -> str:
    """What limits a step, in a sentence."""
    if starved:
        return "The data limit it: the model waits for the loader"
    if found.busy is not None and found.busy < found.whole / 2:
        return f"Many small operations limit it, as larger ones take only {found.busy / found.whole:.0%}: larger batches cost little more"
    phase = max(PHASES, key=found.share)
    if not found.operators:
        return f"The {phase} limits it"
    top = found.operators[0]
    return f"The {phase} limits it; the dearest operator is {top.name} with {_duration(top.seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"


# ---------------------------------------------------------------------- measuring


def profile(recipe: Recipe, seed: int, folder: Path) -> Profiled | None:
    """Train a fresh model for 13 steps at most: time 8, and profile 3; None where there were fewer than 3.

    The trace is written into `folder`.
    """
    watch = _Stopwatch(device_of(recipe.training))
    with contextlib.suppress(Enough), fixed_seeds(seed):
        train(_marked(recipe, watch, seed), seed, probe=watch)
    watch.close()
    if not watch.steps:
        return None
    median = {phase: float(np.median([step.get(phase, 0.0) for step in watch.steps])) for phase in PHASES}
    return Profiled(median, *_operators(watch.profiler, watch.profiled, folder))


class _Stopwatch:
    """Follows a training in the place of the probe: what passes between two borders belongs to a phase."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.record, self.split = device, None, None
        self.steps: list[dict[str, float]] = []
        self.profiler: Any = None
        self.profiled = 0
        self._count = 0
        self._now: dict[str, float] = {}
        self._mark = time.perf_counter()
        self._label: Any = None

    @contextlib.contextmanager
    def observe(self, model: nn.Module, recipe: Any = None) -> Iterator[None]:
        """Follow a fresh model through its training."""
        handles = [
            optimizers.register_optimizer_step_pre_hook(lambda *_: self.enter("optimizer")), optimizers.register_optimizer_step_post_hook(self._stepped),
            model.register_forward_pre_hook(lambda *_: self.enter("forward") if torch.is_grad_enabled() else None),
        ]
        backward = torch.autograd.backward

        def around(*args: Any, **kwargs: Any) -> Any:
            self.enter("backward")
            try:
                return backward(*args, **kwargs)
            finally:
                self.enter("rest")

        torch.autograd.backward = around
        try:
            yield
        finally:
            torch.autograd.backward = backward
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The evaluation after a pass belongs to no step; it ends what has been timed."""
        if self.steps:
            raise Enough
        yield
        self._begin()

    def end_epoch(self, epoch: Any) -> None:
        """Nothing is kept of an evaluation."""

    def enter(self, phase: str) -> None:
        """What follows belongs to that phase."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self._now[self._phase] = self._now.get(self._phase, 0.0) + now - self._mark
        self._mark, self._phase = now, phase
        if self.profiler is not None:
            self._relabel(phase)

    _phase = "rest"

    def _relabel(self, phase: str | None) -> None:
        if self._label is not None:
            self._label.__exit__(None, None, None)
        self._label = torch.profiler.record_function(phase) if phase else None
        if self._label is not None:
            self._label.__enter__()

    def _begin(self) -> None:
        self._now, self._mark, self._phase = {}, time.perf_counter(), "rest"

    def _stepped(self, *_: Any) -> None:
        self.enter("rest")
        self._count += 1
        if WARM < self._count <= WARM + TIMED:
            self.steps.append(self._now)
        if self._count == WARM + TIMED:
            self._start()
        elif self._count > WARM + TIMED:
            self.profiled += 1
        if self.profiled >= PROFILED:
            raise Enough
        self._begin()

    def _start(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")        # it prints on stderr when it starts and stops
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        profiler = torch.profiler.profile(activities=activities)
        profiler.__enter__()  # type: ignore[no-untyped-call]
        self.profiler = profiler

    def close(self) -> None:
        """End the profile, where one was begun."""
        if self.profiler is not None:
            self._relabel(None)
            self.profiler.__exit__(None, None, None)


class _Timed:
    """Batches whose making is put on the phase of loading."""

    def __init__(self, batches: Iterable[Any], enter: Callable[[str], None]) -> None:
        self._batches, self._enter = batches, enter

    def __iter__(self) -> Iterator[Any]:
        self._enter("loading")
        for batch in self._batches:
            self._enter("rest")
            yield batch
            self._enter("loading")
        self._enter("rest")

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_batches"], name)


def _marked(recipe: Recipe, watch: _Stopwatch, seed: int) -> Recipe:
    """A recipe whose loader and augmentation tell the stopwatch when they work."""
    settings = recipe.training

    def load(x: torch.Tensor, y: torch.Tensor, split: str) -> Any:
        own = settings.loader or (lambda x, y, split: loading.loader(Tensors(x, y), settings.batch_size, settings.shuffle and split == "train", seed))
        batches = own(x, y, split)
        return _Timed(batches, watch.enter) if split == "train" and iter(batches) is not batches else batches

    def augmented(x: torch.Tensor) -> Any:
        assert settings.augment is not None
        watch.enter("augmentation")
        made = settings.augment(x)
        watch.enter("rest")
        return made

    return recipe.with_training(loader=load, augment=augmented if settings.augment else None)


# ---------------------------------------------------------------------- operators and files


def _operators(profiler: Any, steps: int, folder: Path) -> tuple[list[Operator], float | None]:
    """The dearest operators of a step, and the seconds in larger ones; the trace is written too."""
    if profiler is None or not steps:
        return [], None
    _write_trace(profiler, folder)
    events = [event for event in profiler.key_averages() if event.key not in PHASES and not event.key.startswith("ProfilerStep")]
    device = any(event.self_device_time_total > 0 for event in events)
    own = [
        Operator(event.key, event.count / steps, (event.self_device_time_total if device else event.self_cpu_time_total) / 1e6 / steps) for event in events
    ]
    dearest = sorted(own, key=lambda operator: -operator.seconds)
    busy = sum(operator.seconds for operator in own) if device else _in_larger(profiler.events()) / steps
    return dearest[:MOST_OPERATORS], busy


def _in_larger(events: Any) -> float:
    """Seconds in operations of 20 µs and more; one that another calls counts within it."""
    return sum(
        event.cpu_time_total for event in events
        if event.name.startswith("aten::") and event.cpu_time_total >= 1e6 * TINY and not (event.cpu_parent and event.cpu_parent.name.startswith("aten::"))
    ) / 1e6


def _write_trace(profiler: Any, folder: Path) -> None:
    path = folder / TRACE
    profiler.export_chrome_trace(str(path))
    if path.stat().st_size <= MOST_BYTES:
        return
    packed = gzip.compress(path.read_bytes(), 6)
    path.unlink()
    if len(packed) <= MOST_BYTES:
        (folder / f"{TRACE}.gz").write_bytes(packed)


def _written(found: Profiled, folder: Path) -> tuple[str, ...]:
    """The tables of a profile as files; the names of these and of the trace."""
    rows = [[phase, f"{found.seconds[phase] * 1e3:.4g}", f"{found.share(phase):.1%}"] for phase in PHASES if found.seconds[phase] > 0]
    _table(folder / STEP, ["phase", "milliseconds", "share"], rows)
    rows = [[operator.name, f"{operator.calls:.4g}", f"{operator.seconds * 1e3:.4g}"] for operator in found.operators]
    _table(folder / OPERATORS, ["operator", "calls per step", "own milliseconds per step"], rows)
    made = [STEP, *([OPERATORS] if rows else []), TRACE, f"{TRACE}.gz"]
    return tuple(name for name in made if (folder / name).is_file())


def _table(path: Path, heading: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)
