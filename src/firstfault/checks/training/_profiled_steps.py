"""A few steps of a training: their time by phase, measured, and their operators, by torch.profiler."""

from __future__ import annotations

import bisect
import contextlib
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

from firstfault.output.whole_files import replacing, write_bytes
from firstfault.subject.rerun import fixed_seeds
from firstfault.training import batches as loading
from firstfault.training.loop import train
from firstfault.training.observer import Enough, Follower, hooked
from firstfault.training.recipe import Recipe, Tensors, device_of

WARM, TIMED, PROFILED = 2, 8, 3  # steps: the first allocate and compile; a median of 8 is steady; a profile is slow
PHASES = ("loading", "augmentation", "forward", "backward", "optimizer", "rest")
MOST_OPERATORS, MOST_BYTES = 12, 5_000_000  # a table that fits a screen, a trace that a browser opens at once
TINY = 20e-6  # seconds: a shorter operation is mostly the cost of starting it
TRACE = "trace.json"


@dataclass(frozen=True)
class Operator:
    """One operator of the profiled steps: calls and own seconds per step, on the device that does the work."""

    name: str
    calls: float
    seconds: float


@dataclass
class Profiled:
    """A few steps of a training: seconds per step and phase, the dearest operators first.

    `busy` are the seconds of a step in operations of 20 µs and more, or in those of the accelerator; None where nothing
    was profiled.
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


class _Stopwatch(Follower):
    """Times a training: what passes between two borders belongs to a phase."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []
        self.profiler: Any = None
        self.profiled = 0
        self._count = 0
        self._now: dict[str, float] = {}
        self._mark = time.perf_counter()
        self._label: Any = None

    @contextlib.contextmanager
    def observe(self, model: nn.Module, recipe: Recipe | None = None) -> Iterator[None]:
        """Follow a fresh model through its training."""
        handles = [
            optimizers.register_optimizer_step_pre_hook(lambda *_: self.enter("optimizer")),
            optimizers.register_optimizer_step_post_hook(self._stepped),
            model.register_forward_pre_hook(lambda *_: self.enter("forward") if torch.is_grad_enabled() else None),
        ]

        def around(backward: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any, **kwargs: Any) -> Any:
                self.enter("backward")
                try:
                    return backward(*args, **kwargs)
                finally:
                    self.enter("rest")

            return timed

        with hooked(handles, around):
            yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The evaluation after a pass belongs to no step; it ends what has been timed."""
        if self.steps:
            raise Enough
        yield
        self._begin()

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
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it prints on stderr when it starts and stops
        # not torch.profiler.profile, which imports torch's compiler: that takes longer than a small target
        self.profiler = torch.autograd.profiler.profile(use_device="cuda" if self.device.type == "cuda" else None)
        self.profiler.__enter__()

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
        own = settings.loader or (
            lambda x, y, split: loading.loader(
                Tensors(x, y), settings.batch_size, settings.shuffle and split == "train", seed
            )
        )
        batches = own(x, y, split)
        return _Timed(batches, watch.enter) if split == "train" and iter(batches) is not batches else batches

    def augmented(x: torch.Tensor) -> Any:
        assert settings.augment is not None
        watch.enter("augmentation")
        made = settings.augment(x)
        watch.enter("rest")
        return made

    return recipe.with_training(loader=load, augment=augmented if settings.augment else None)


# ---------------------------------------------------------------------- operators


def _operators(profiler: Any, steps: int, folder: Path) -> tuple[list[Operator], float | None]:
    """The dearest operators of a step, and the seconds in larger ones; the trace is written too."""
    if profiler is None or not steps:
        return [], None
    _write_trace(profiler, folder)
    events = [event for event in profiler.function_events if event.name not in PHASES and "#" not in event.name]
    ends = sorted(
        event.time_range.end for event in profiler.function_events if event.name == "optimizer" and _on_cpu(event)
    )[:steps]
    device = not all(map(_on_cpu, events))
    done = [event for event in events if _on_cpu(event) is not device]
    names = sorted({event.name for event in done})
    calls, seconds = np.zeros((len(ends) + 1, len(names))), np.zeros((len(ends) + 1, len(names)))
    larger = np.zeros(len(ends) + 1)
    for event in done:
        place = bisect.bisect(ends, event.time_range.start), names.index(event.name)
        calls[place] += 1
        seconds[place] += (event.self_device_time_total if device else event.self_cpu_time_total) / 1e6
        larger[place[0]] += _larger(event)
    typical = np.median(seconds[: len(ends)], axis=0)
    dearest = [
        Operator(names[place], float(np.median(calls[: len(ends), place])), float(typical[place]))
        for place in np.argsort(-typical)[:MOST_OPERATORS]
    ]
    return dearest, float(typical.sum() if device else np.median(larger[: len(ends)]))


def _on_cpu(event: Any) -> bool:
    return bool(event.device_type == torch.profiler.DeviceType.CPU)


def _larger(event: Any) -> float:
    """The seconds of an operation of 20 µs and more; 0 for one that another calls, which counts within it."""
    inner = event.cpu_parent is not None and event.cpu_parent.name.startswith("aten::")
    large = event.name.startswith("aten::") and not inner and event.cpu_time_total >= 1e6 * TINY
    return event.cpu_time_total / 1e6 if large else 0.0


def _write_trace(profiler: Any, folder: Path) -> None:
    path = folder / TRACE
    with replacing(path) as draft:
        profiler.export_chrome_trace(str(draft))
    if path.stat().st_size <= MOST_BYTES:
        return
    packed = gzip.compress(path.read_bytes(), 6)
    path.unlink()
    if len(packed) <= MOST_BYTES:
        write_bytes(folder / f"{TRACE}.gz", packed)
