"""Numbers, shares and durations as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import SupportsFloat

NOTHING = "–"
_NOT_NUMBERS = {"nan": "NaN", "inf": "∞", "-inf": "−∞"}


def number(value: SupportsFloat | str | None) -> str:
    """A number in at most four significant digits, `12,345` or `1.2e-05`; NaN and infinity by name."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _NOT_NUMBERS.get(value, value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return _real(float(value))


def _real(value: float) -> str:
    if not math.isfinite(value):
        return _NOT_NUMBERS[str(value)]
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        front, exponent = f"{value:.2e}".split("e")
        return f"{front.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "−")
    digits = 0 if size >= 1000 else max(0, 3 - math.floor(math.log10(size))) if size else 0
    text = f"{value:,.{min(digits, 4)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def brief(value: object, longest: int = 120) -> str:
    """Any plain value as one short line."""
    if value is None or isinstance(value, bool | int | float):
        return number(value)
    if isinstance(value, Mapping):
        text = ", ".join(f"{key} {brief(item)}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(brief(item) for item in value)
    else:
        text = number(value) if isinstance(value, str) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def duration(seconds: float) -> str:
    """`0.4 s`, `31 s` or `2 min 5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def percent(share: float) -> str:
    """A share as a whole percentage; what is not certain is not shown as 100 %."""
    return f"{min(share * 100, 99) if share < 1 else 100:.0f} %"
