"""An exception becomes a finding: about the user's code where that raised it, and about the check itself otherwise."""

from __future__ import annotations

import logging
import traceback

from firstfault.errors import TargetError, UserCodeError, told, user_frame
from firstfault.examined import Examined
from firstfault.extras import missing_extra
from firstfault.finding import LADDER, Finding, Layer, Status
from firstfault.place import Place

logger = logging.getLogger(__name__)
MOST_FRAMES = 12
"""Frames of a traceback that are logged, its last ones."""


def raised(error: UserCodeError) -> Finding:
    """The finding of the part of the user's code that raised."""
    declared = isinstance(error.__cause__, TargetError)
    return Finding(
        check=f"{error.part}_raises",
        layer=error.layer,
        status=Status.FAIL,
        message=str(error),
        where=error.frame or Place.setting(error.part),
        faults={"user_code_raises": 1.0},
        fix=f"mend {error.part} as the message says"
        if declared
        else f"make {error.part} run on its own; the message above is the exception it raised",
    )


def crashed(name: str, layer: Layer, subject: Examined, error: BaseException, source: str | None = None) -> Finding:
    """The finding of a check that ended with an exception.

    It is about the user's code where that raised it, and about the check itself otherwise.
    """
    root = subject.target.root
    if user_frame(error, root) or not isinstance(error, Exception):
        return raised(UserCodeError(layer, layer.value, error, root))
    if (lacking := missing_extra(error, name)) is not None:
        return Finding(name, layer, Status.SKIPPED, str(lacking), source=source)
    logger.warning(
        "check %s crashed\n%s", name, subject.masked("".join(traceback.format_exception(error)[-MOST_FRAMES:]))
    )
    return Finding(name, layer, Status.ERROR, f"the check itself crashed: {told(error)}", source=source)


def said_elsewhere(error: UserCodeError, layer: Layer) -> bool:
    """Whether another layer says so: its own, where that comes later; outside of the order, it has come before."""
    return error.layer.rank > layer.rank or (layer not in LADDER and error.layer is not layer)
