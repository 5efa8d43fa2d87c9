"""The line of the user's code from which a hook was reached."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType

import torch

from firstfault.place import Kind, Place

DEEPEST = 60  # frames: a Trainer calls torch from some 30 of them


def user_line() -> Place | None:
    """The innermost line outside of Python, installed packages and firstfault; None where there is none."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(DEEPEST):
        if frame is None:
            return None
        if not _is_foreign(frame.f_code.co_filename):
            name = frame.f_code.co_name
            names = () if name == "<module>" else (name,)
            return Place(Kind.LINE, names, file=frame.f_code.co_filename, line=frame.f_lineno)
        frame = frame.f_back
    return None


@cache
def _is_foreign(file: str) -> bool:
    if file.startswith("<"):
        return True
    path = Path(file).resolve()
    roots = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    roots += [Path(torch.__file__).parent, Path(__file__).parents[1]]
    return any(path.is_relative_to(Path(root).resolve()) for root in roots) or "site-packages" in path.parts
