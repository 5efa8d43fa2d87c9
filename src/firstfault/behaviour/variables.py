"""Variables in braces, and the values that `vary` gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from firstfault.errors import TargetError

VARIABLE = re.compile(r"\{([^\W\d]\w*)\}")
"""A name in braces; other braces, as of JSON or a pattern, are what they are."""


def filled(text: str, given: Mapping[str, str]) -> str:
    """A text with the variables that are given."""
    return VARIABLE.sub(lambda found: given.get(found[1], found[0]), text)


def expect_variables(where: str, prompts: Iterable[str], vary: Iterable[str], also: Iterable[str] = ()) -> None:
    """Prompts name variables that vary and no others, and each one is named in them or in what is read `also`.

    Raises:
        TargetError: naming the variable.
    """
    named, varies = {name for text in prompts for name in VARIABLE.findall(text)}, set(vary)
    for name in sorted(named - varies):
        raise TargetError(f"{where} names {{{name}}}, which its vary does not have")
    for name in sorted(varies - named - {name for text in also for name in VARIABLE.findall(text)}):
        raise TargetError(f"vary of {where} has {name!r}, which nothing that it asks or expects names in braces")
