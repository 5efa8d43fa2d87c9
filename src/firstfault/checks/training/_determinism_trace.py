"""The first steps of a training with a fixed seed, as fingerprints of every tensor: two runs compare bit by bit.

traced(recipe, seed, steps)       one run, in this process
traced_anew(target, seed, steps)  one run of the target's file, in a process of its own
first_difference(a, b)            where two runs part, in the order of causes
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers

from firstfault.errors import Missing, UserCodeError
from firstfault.output.whole_files import write_json
from firstfault.probe.models import is_compiled
from firstfault.subject.rerun import fixed_seeds
from firstfault.target.declaration import Target
from firstfault.training.loop import train
from firstfault.training.observer import Enough, Follower, hooked
from firstfault.training.recipe import Recipe

FEWEST = 3  # steps: the second follows an update, the third one that had momentum
SECONDS = 600.0  # for a fresh process to import torch, read the data and make its steps; bounds a hang
CHUNK = 1 << 20  # values summed at once: bounds the memory of their places to 8 MB
ANSWER = "trace.json"
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Event(NamedTuple):
    """One tensor of a run: what it is, the step it belongs to, its name, and the sum of its bits."""

    kind: str
    step: int
    name: str
    bits: int


@dataclass
class Trace:
    """One run: its events in order, the loss of every step, and the exception that ended it early."""

    events: list[Event] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    crash: str | None = None

    @property
    def steps(self) -> int:
        """How many optimizer steps were made."""
        return len(self.losses)


def bits(value: torch.Tensor) -> int:
    """The sum of a tensor's bits as whole numbers, each times its place; 0 for sparse tensors."""
    if value.layout is not torch.strided:
        return 0
    flat = value.detach().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    sums = [_placed(part) for part in torch.split(flat.view(INTEGERS[flat.element_size()]), CHUNK)]
    return int(_placed(torch.stack(sums))) if sums else 0


def _placed(values: torch.Tensor) -> torch.Tensor:
    return (values.long() * torch.arange(1, len(values) + 1, device=values.device)).sum()


def first_difference(first: Trace, second: Trace) -> Event | None:
    """The first event of `first` that the other run has otherwise, or lacks; None where all bits agree."""
    for one, other in zip(first.events, second.events, strict=False):
        if one != other:
            return one
    if len(first.events) == len(second.events):
        return None
    longer = max(first.events, second.events, key=len)
    return longer[min(len(first.events), len(second.events))]


class _Tracer(Follower):
    """Notes the tensors of a training, and ends it after some steps, or after its first pass over the data."""

    def __init__(self, most: int) -> None:
        self.trace, self.most = Trace(), most
        self._model: nn.Module | None = None
        self._loss = float("nan")
        self._names: dict[int, str] = {}

    @contextlib.contextmanager
    def observe(self, model: nn.Module, recipe: Recipe | None = None) -> Iterator[None]:
        """Follow a fresh model through its training."""
        self._model = model
        self._names = {id(module): name for name, module in model.named_modules()}
        self._note_weights("start")
        handles = [optimizers.register_optimizer_step_post_hook(self._stepped)]
        if not any(is_compiled(module) or getattr(module, "_compiled_call_impl", None) for module in model.modules()):
            handles += [
                modules.register_module_forward_pre_hook(self._entered),
                modules.register_module_forward_hook(self._left),
            ]
        with hooked(handles, self._around):
            yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The evaluation after a pass: the run ends before it, unless it is hardly begun."""
        if self.trace.steps >= FEWEST:
            raise Enough
        self.most, before = 0, self.most
        yield
        self.most = before

    def note(self, kind: str, name: str, *values: Any) -> None:
        """Note tensors of the step to come."""
        for value in values:
            if self.most and isinstance(value, torch.Tensor):
                self.trace.events.append(Event(kind, self.trace.steps + 1, name, bits(value)))

    def _note_weights(self, kind: str) -> None:
        assert self._model is not None
        for name, value in self._model.named_parameters():
            if not isinstance(value, nn.parameter.UninitializedParameter):
                self.note(kind, name, value)

    def _entered(self, module: nn.Module, inputs: Any) -> None:
        name = self._names.get(id(module))
        if name is not None and torch.is_grad_enabled():
            self.note("given" if name else "inputs", name or "model", *inputs)

    def _left(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        name = self._names.get(id(module))
        if name is not None and torch.is_grad_enabled():
            self.note("outputs", name or "model", *(outputs if isinstance(outputs, tuple | list) else (outputs,)))

    def _around(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def followed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            loss = tensors if isinstance(tensors, torch.Tensor) else tensors[0]
            self.note("loss", "loss", loss)
            self._loss = float(loss.detach().mean())
            return backward(tensors, *args, **kwargs)

        return followed

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self.most:
            return
        assert self._model is not None
        for name, value in self._model.named_parameters():
            if value.grad is not None and not value.grad.is_sparse:
                self.note("gradients", name, value.grad)
        self._note_weights("weights")
        self.trace.losses.append(self._loss)
        if self.trace.steps >= self.most:
            raise Enough


class _Seen:
    """The user's training batches, noted as they come."""

    def __init__(self, batches: Iterable[Any], tracer: _Tracer) -> None:
        self._batches, self._tracer = batches, tracer

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self._tracer.note("batch", "training.loader", *(batch if isinstance(batch, tuple | list) else (batch,)))
            yield batch

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_batches"], name)


def traced(recipe: Recipe, seed: int, steps: int) -> Trace:
    """The first steps of a training, at most its first pass over the data if that has 3 of them.

    Python's, NumPy's and torch's own generators are seeded before it, and put back after it.
    """
    tracer = _Tracer(steps)
    try:
        with fixed_seeds(seed):
            tracer.trace.crash = str(train(_noting(recipe, tracer), seed, probe=tracer).crash or "") or None
    except Enough:
        pass
    except UserCodeError as error:
        tracer.trace.crash = str(error)
    return tracer.trace


def _noting(recipe: Recipe, tracer: _Tracer) -> Recipe:
    """A recipe whose loader and augmentation tell what they give."""
    loader, augment = recipe.training.loader, recipe.training.augment

    def load(x: torch.Tensor, y: torch.Tensor, split: str) -> Any:
        assert loader is not None
        batches = loader(x, y, split)
        return _Seen(batches, tracer) if split == "train" and iter(batches) is not batches else batches

    def augmented(x: torch.Tensor) -> Any:
        assert augment is not None
        tracer.note("batch", "training data", x)
        made = augment(x)
        tracer.note("augmented", "training.augment", made)
        return made

    return recipe.with_training(loader=load if loader else None, augment=augmented if augment else None)


# ---------------------------------------------------------------------- in a process of its own


def traced_anew(target: Target, seed: int, steps: int) -> Trace:
    """The same run of the target's file in a fresh process, from the reading of its data on.

    Raises:
        Missing: when the target has no file, or the process fails or takes more than 10 minutes.
    """
    spec = _spec(target)
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
        environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        try:
            subprocess.run(
                [sys.executable, "-c", f"from {__name__} import main; main()", spec, str(seed), str(steps), folder],
                cwd=target.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=True,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise Missing(f"a fresh process could not run the target ({type(error).__name__})") from error
        found = json.loads((Path(folder) / ANSWER).read_text(encoding="utf-8"))
    return Trace([Event(*event) for event in found["events"]], found["losses"], found["crash"])


def _spec(target: Target) -> str:
    """`file:name` of a target that was loaded from a file."""
    for module in list(sys.modules.values()) if target.file is not None else ():
        if getattr(module, "__file__", None) == str(target.file):
            for name, value in vars(module).items():
                if isinstance(value, Target) and value.name == target.name:
                    return f"{target.file}:{name}"
    raise Missing("the target has no file that a fresh process could load")


def main() -> None:
    """Trace a target, and write its trace: what `traced_anew` starts in a process of its own."""
    from firstfault.subject.subject import Subject
    from firstfault.target.loader import load_target

    spec, seed, steps, folder = sys.argv[1:]
    recipe = Subject(load_target(spec), Path(folder) / "run").recipe
    trace = traced(recipe, int(seed), int(steps))
    prepared = [
        Event("prepared", 0, name, bits(value))
        for name, value in (("inputs", recipe.train.x), ("labels", recipe.train.y))
    ]
    values = {"events": [*prepared, *trace.events], "losses": trace.losses, "crash": trace.crash}
    write_json(Path(folder) / ANSWER, values, indent=None)
