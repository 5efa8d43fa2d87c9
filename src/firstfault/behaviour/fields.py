"""The values of a mapping in a YAML file, each read as what it is to be; a typo is told with the nearest name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from firstfault.errors import TargetError
from firstfault.texts import nearest


class Fields:
    """A mapping that has no keys but these; `where` names it in a sentence.

    Raises:
        TargetError: for anything else than a mapping, and for a key that is unknown.
    """

    def __init__(self, values: Any, where: str, keys: Sequence[str]) -> None:
        if not isinstance(values, Mapping):
            raise TargetError(f"{where} must be a mapping with {', '.join(keys)}, but is {str(values)[:60]!r}")
        for key in values:
            if key not in keys:
                raise TargetError(f"{where} has no key {key!r}{nearest(str(key), keys)}")
        self.values, self.where = values, where

    def text(self, name: str, default: str | None = None, *, blank: bool = False) -> str:
        """A text; numbers are their digits. Without a default it must be there, and not `blank` unless that is fine."""
        value = self.values.get(name, default)
        if value is None or isinstance(value, Mapping | list) or not (blank or str(value).strip()):
            raise TargetError(f"{name} of {self.where} must be a text, but is {value!r}")
        return str(value)

    def optional(self, name: str) -> str:
        """A text, or an empty one where there is none."""
        return "" if self.values.get(name) is None else self.text(name, blank=True)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where there is none; one text alone is a list of one."""
        value = self.values.get(name)
        if isinstance(value, str):
            return (value,)
        if value is not None and (not isinstance(value, list) or any(isinstance(e, Mapping | list) for e in value)):
            raise TargetError(f"{name} of {self.where} must be a list of texts, but is {value!r}")
        return tuple(map(str, value or ()))

    def items(self, name: str) -> list[Any]:
        """A list of anything, empty where there is none."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            raise TargetError(f"{name} of {self.where} must be a list, but is {str(value)[:60]!r}")
        return value or []

    def mapping(self, name: str) -> dict[str, Any]:
        """A mapping by texts, empty where there is none."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise TargetError(f"{name} of {self.where} must be a mapping, but is {str(value)[:60]!r}")
        return {str(key): each for key, each in (value or {}).items()}

    def variables(self, name: str) -> dict[str, tuple[str, ...]]:
        """A mapping of variables to the texts that each stands for."""
        found = self.mapping(name)
        if not all(isinstance(values, list) and values for values in found.values()):
            raise TargetError(f"{name} of {self.where} must be a mapping of lists, but is {found!r}")
        return {each: tuple(map(str, values)) for each, values in found.items()}

    def share(self, name: str) -> float | None:
        """A number in 0–1; None where there is none."""
        value = self.values.get(name)
        if value is None or 0 <= (number := _number(value)) <= 1:
            return None if value is None else number
        raise TargetError(f"{name} of {self.where} must be a number in 0–1, but is {value!r}")

    def whole(self, name: str, default: int) -> int:
        """A whole number of at least 1."""
        number = _number(value := self.values.get(name, default))
        if number >= 1 and number.is_integer():
            return int(number)
        raise TargetError(f"{name} of {self.where} must be a whole number of at least 1, but is {value!r}")


def _number(value: Any) -> float:
    """A number, or the text of one; NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan
