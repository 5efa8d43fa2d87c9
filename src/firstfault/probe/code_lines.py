"""The lines of the user's code from which hooks were reached: what made a training's parts, and what calls them."""

from __future__ import annotations

import dataclasses
import functools
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad
from torch.utils.data import DataLoader

from firstfault.place import Kind, Place
from firstfault.probe import source
from firstfault.probe.models import Models
from firstfault.probe.record import Record
from firstfault.probe.variables import locals_of
from firstfault.training.patching import replace

DEEPEST = 60  # frames: a Trainer calls torch from some 30 of them
OURS = Path(__file__).parents[1]
MOST_MADE = 20_000  # modules and loaders: a loop that makes new ones in each step must not fill the memory
CLIPS = ("clip_grad_norm_", "clip_grad_value_")


def user_line() -> Place | None:
    """The innermost line outside of Python, installed packages and firstfault; None where there is none."""
    frame = _user_frame()
    return _place(frame, frame.f_lineno) if frame is not None else None


def _user_frame() -> FrameType | None:
    return next(user_frames(), None)


def user_frames() -> Iterator[FrameType]:
    """The frames outside of Python, installed packages and firstfault that lead here, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(DEEPEST):
        if frame is None:
            return
        if not _is_foreign(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def line_of_function(function: Any) -> Place | None:
    """The line that defines a function of the user's; None of another's."""
    code = getattr(function, "__code__", None)
    if code is None or _is_foreign(code.co_filename):
        return None
    line = source.line_of_definition(source.tree_of(code.co_filename), code.co_name, code.co_firstlineno)
    return Place(Kind.LINE, (code.co_name,), file=_absolute(code.co_filename), line=line)


def raising_line(trace: TracebackType | None) -> Place | None:
    """The innermost line of the user's in a traceback; None where there is none."""
    found = None
    while trace is not None:
        if not _is_foreign(trace.tb_frame.f_code.co_filename):
            found = _place(trace.tb_frame, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _name_in(frame: FrameType, thing: Any) -> str | None:
    """What a frame calls a thing: a variable, or an attribute of its `self`."""
    values = locals_of(frame)
    owner = values.get("self")
    of_owner = {**getattr(owner, "__dict__", {}), **getattr(owner, "_modules", {})}
    named = [*values.items(), *frame.f_globals.items(), *((f"self.{name}", value) for name, value in of_owner.items())]
    return next((name for name, value in named if value is thing), None)


def _place(frame: FrameType, line: int) -> Place:
    name = frame.f_code.co_name
    names = () if name == "<module>" else (name,)
    return Place(Kind.LINE, names, file=_absolute(frame.f_code.co_filename), line=line)


def _absolute(file: str) -> str:
    source.remember(file)
    return str(Path(file).absolute()) if Path(file).exists() else file


@cache
def _is_foreign(file: str) -> bool:
    if file.startswith("<"):
        return True
    path = Path(file).resolve()
    return any(path.is_relative_to(root) for root in _foreign_roots()) or "site-packages" in path.parts


@cache
def _foreign_roots() -> list[Path]:
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [root.resolve() for root in (*installed, Path(torch.__file__).parent, OURS)]


class CodeLines:
    """Notes in the record, once each, the lines of a training's parts: see `Record.lines`.

    It looks at frames where something is made, and at the first call of the rest, never in each step.
    """

    def __init__(self, record: Record, models: Models) -> None:
        self._record, self._models = record, models
        self._made: dict[int, tuple[weakref.ref[Any], Place | None]] = {}
        self._iterated: Place | None = None

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen; gives what ends it."""
        return [
            replace(nn.Module, "__init__", self._around_making),
            replace(DataLoader, "__init__", self._around_making),
            replace(DataLoader, "__iter__", self._around_iterating),
            *(replace(owner, name, self._around_clipping) for owner in (nn.utils, clip_grad) for name in CLIPS),
        ]

    def _around_making(self, init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def observed(made: Any, *args: Any, **kwargs: Any) -> None:
            if not torch.compiler.is_compiling() and len(self._made) < MOST_MADE:
                self.remember(made)
            init(made, *args, **kwargs)

        return observed

    def _around_iterating(self, iterate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(iterate)
        def observed(loader: Any) -> Any:
            if not torch.compiler.is_compiling() and not self._record.backwards:
                self._iterated = self.maker(loader) or user_line()
            return iterate(loader)

        return observed

    def _around_clipping(self, clip: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(clip)
        def observed(*args: Any, **kwargs: Any) -> Any:
            if "clipping" not in self._record.lines and not torch.compiler.is_compiling():
                self.note("clipping")
            return clip(*args, **kwargs)

        return observed

    def remember(self, thing: Any) -> None:
        """Keep the line that makes a thing."""
        self._made[id(thing)] = weakref.ref(thing), user_line()

    def maker(self, thing: Any) -> Place | None:
        """The line that made a module, a loader or an optimizer; None where it was not seen."""
        reference, place = self._made.get(id(thing), (None, None))
        return place if reference is not None and reference() is thing else None

    def note(self, part: str, of: Any = None, *, made: Place | None = None) -> None:
        """Keep the line of a part, where it is not known yet: where it was `made`, or else the present call `of` it."""
        if part in self._record.lines:
            return
        frame = _user_frame()
        self._record.lines[part] = made or (_place(frame, frame.f_lineno) if frame is not None else None)
        if of is not None and frame is not None and (name := _name_in(frame, of)) is not None:
            self._record.names[part] = name

    def lost(self) -> None:
        """A loss function of torch is called: the last call before the first backward pass counts."""
        if self._record.backwards:
            return
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and Path(frame.f_code.co_filename).is_relative_to(OURS):
            frame = frame.f_back
        by_module = frame is not None and frame.f_globals.get("__name__") == nn.modules.loss.__name__
        self._record.lines["loss"] = user_line()
        self._record.lines["criterion"] = self.maker(frame.f_locals.get("self")) if frame and by_module else None

    def learns(self) -> None:
        """A backward pass begins."""
        if "backward" not in self._record.lines:
            self._record.lines["backward"] = user_line()
            self._record.lines["loader"] = self._iterated

    def of_module(self, name: str) -> Place | None:
        """The line that made a module, or the nearest around it; of a class of the user's its definition."""
        known = {
            self._models.modules[id(module)]: module
            for model in self._models.roots.values()
            for module in model.modules()
            if id(module) in self._models.modules
        }
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            module = known.get(".".join(parts[:length]))
            place = self._defined(module, parts[length:]) if module is not None else None
            if place is not None:
                return place
        return self.of_model(parts)

    def of_model(self, below: Sequence[str] = ()) -> Place | None:
        """The definition of the first model, or the line that made it; of what lies below it, what sets that."""
        first = next(iter(self._models.roots.values()), None)
        return self._defined(first, below) if first is not None else None

    def of_output(self) -> Place | None:
        """The only line in which the first model returns its outputs; else that of the model."""
        place = self.of_model()
        definition = source.class_in(source.tree_of(str(place.file)), place.names[0]) if place and place.names else None
        returns = source.returns_of(definition, "forward") if definition is not None else []
        return dataclasses.replace(place, line=returns[0].lineno) if place is not None and len(returns) == 1 else place

    def _defined(self, module: nn.Module, below: Sequence[str]) -> Place | None:
        """The definition of a class of the user's, or what sets the attribute below it; else what made the module."""
        kind = type(module)
        file = source.file_of(kind)
        if file is None or _is_foreign(file):
            return self.maker(module)
        definition = source.class_in(source.tree_of(file), kind.__name__)
        if definition is None:
            return self.maker(module)
        sets = source.assigned_in(definition, below[0]) if below else []
        line = sets[0].lineno if len(sets) == 1 else definition.lineno
        return Place(Kind.LINE, (definition.name,), file=_absolute(file), line=line)
