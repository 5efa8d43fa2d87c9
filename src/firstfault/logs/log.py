"""`firstfault.logs.setup()`: what standard logging is told goes to a file of JSON lines."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from firstfault.data.privacy.pseudonyms import SALT
from firstfault.logs.handler import JsonHandler
from firstfault.logs.limits import Limits, Rules
from firstfault.logs.line import Line
from firstfault.logs.log_file import Keeping, LogFile, above_0
from firstfault.logs.masking import Mask

DAY, HOUR, MIB = 86_400.0, 3_600.0, 2**20
RATE = 100.0
LONGEST_KEY = 64
_open: dict[str, Log] = {}


class Log:
    """A log that was set up: what it has lost and left out, its handler, and its end."""

    def __init__(self, handler: JsonHandler, logger: logging.Logger, level: int) -> None:
        self.handler, self._logger, self._before = handler, logger, logger.level
        logger.addHandler(handler)
        if logger.getEffectiveLevel() > level:
            logger.setLevel(level)

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self.handler.file.path

    @property
    def lost(self) -> int:
        """How many lines of this process could not be written."""
        return self.handler.lost

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many lines rates and samples have left out, by `rate` and `sample`, as far as it was told in the log."""
        return dict(self.handler.left_out)

    def close(self) -> None:
        """Tell what is left to tell, close the file, and leave the logger as it was."""
        self._logger.removeHandler(self.handler)
        self._logger.setLevel(self._before)
        self.handler.close()
        if _open.get(self._logger.name) is self:
            del _open[self._logger.name]


def setup(
    folder: str | Path | None = None,
    *,
    service: str = "app",
    level: int | str = "INFO",
    logger: str = "root",
    rate: float | Mapping[str, float] | None = RATE,
    sample: float | Mapping[str, float] | None = None,
    rotate_mib: float = 10.0,
    rotate_hours: float = 24.0,
    keep_mib: float = 1024.0,
    keep_days: float = 14.0,
    key: str | bytes | None = None,
    mask: Callable[[str], str] | None = None,
) -> Log:
    """Write what is logged as lines of JSON with ECS field names, with the ids of trace, run and incident.

    Personal data and secrets are masked. Once set up for a logger, a later call replaces it. It never raises for a
    folder that can't be written, now or later: lines that are lost are counted, and said when it can be written again.

    Args:
        folder: where `SERVICE.jsonl` lies; `logs` in the state folder when left out, where `firstfault logs` looks.
        service: the name of the service, for `service.name` and `event.dataset`.
        level: the least level that is written; a logger that lets less through is set to it.
        logger: the logger whose lines, and those of the loggers below it, are written.
        rate: at most so many lines a second of one event: for all, or by event, level or `*`. None sets no limit.
        sample: the share of lines that are kept, 0–1: for all, or by event, level or `*`. Traces are kept whole.
        rotate_mib: the size at which a file is rotated.
        rotate_hours: the age at which a file is rotated.
        keep_mib: the size of the rotated files above which the oldest are removed.
        keep_days: the age at which rotated files are removed.
        key: of the pseudonyms, which are equal for equal values under one key; else one that ends with the process.
        mask: masks texts further, before the rest.

    Raises:
        ValueError: for a value that can't be meant.
    """
    number = _level(level)
    if not re.fullmatch(r"[\w-]{1,64}", service):
        raise ValueError(
            f"service must be 1 to 64 letters, digits, - or _, since a file has that name, but got {service!r}"
        )
    secret = SALT if key is None else key.encode() if isinstance(key, str) else key
    if not 0 < len(secret) <= LONGEST_KEY:
        raise ValueError(f"key must have 1 to {LONGEST_KEY} bytes, but got {len(secret)}")
    inf = float("inf")
    limits = Limits(Rules.of(rate, "rate", inf), Rules.of(sample, "sample", 1.0))
    keeping = Keeping(
        int(above_0("rotate_mib", rotate_mib) * MIB),
        above_0("rotate_hours", rotate_hours) * HOUR,
        int(above_0("keep_mib", keep_mib) * MIB),
        above_0("keep_days", keep_days) * DAY,
    )
    file = LogFile(_folder(folder), service, keeping)
    handler = JsonHandler(file, Line(service, Mask(secret, mask)), limits, number)
    target = logging.getLogger(None if logger == "root" else logger)
    if target.name in _open:
        _open[target.name].close()
    handler.prepare()
    logs = _open[target.name] = Log(handler, target, number)
    return logs


def _folder(given: str | Path | None) -> Path:
    if given is not None:
        return Path(given).expanduser().absolute()
    from firstfault.errors import FirstfaultError
    from firstfault.runs.state import state_here

    state = state_here()
    with contextlib.suppress(FirstfaultError):  # the file says so, and is tried again
        state.make()
    return state.logs


def _level(given: int | str) -> int:
    number = given if isinstance(given, int) else logging.getLevelNamesMapping().get(given.upper())
    if number is None:
        known = ", ".join(logging.getLevelNamesMapping())
        raise ValueError(f"level must be a number or one of {known}, but got {given!r}")
    return number
