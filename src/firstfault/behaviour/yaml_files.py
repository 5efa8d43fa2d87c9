"""A YAML file of plain values; one that is not there, or is none, is told in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from firstfault.errors import TargetError


def yaml_in(file: Path, missing: str, named: str) -> Any:
    """The values of a file.

    Args:
        file: where it should lie.
        missing: the sentence where it does not.
        named: what a sentence calls it.

    Raises:
        TargetError: for a file that is not there, or is no YAML.
    """
    if not file.is_file():
        raise TargetError(missing)
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TargetError(f"{named} is no YAML: {str(error).splitlines()[0]}") from error
