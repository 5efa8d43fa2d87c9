"""Jinja templates of other tools' files, rendered where they can do nothing but fill in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firstfault.errors import TargetError, first_line
from firstfault.interrupts import pass_on


def rendered(template: str, values: Mapping[str, Any], where: str) -> str:
    """A template filled in, in Jinja's sandbox.

    Raises:
        TargetError: when it names something that there is not, or is no template.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        return str(sandbox.from_string(template).render(dict(values)))
    except BaseException as error:
        pass_on(error)
        raise TargetError(f"{where} can't be filled in: {first_line(error)}") from error
