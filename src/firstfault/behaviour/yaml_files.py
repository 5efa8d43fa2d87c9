"""A YAML file whose plain values are texts, as they are written; one that is not there, or is none, is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml

from firstfault.errors import TargetError, first_line


class AsWritten(yaml.SafeLoader):
    """Reads what is written: YAML 1.1 makes `no` a false, 010 eight, 12:30 a number, and of two same keys the last.

    An answer that is expected to be no, a country NO or an id 010 is a text. What is empty or `null` stays None.
    """

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # a class's own, whatever its stub says
        first: [(tag, form) for tag, form in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it stands in the file."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(problem=f"{twice!r} stands twice in a mapping", problem_mark=node.start_mark)
        return node


AsWritten.add_constructor("!function", lambda loader, node: f"!function {node.value}")  # of lm-eval, and is not run


def yaml_in(file: Path, missing: str = "") -> Any:
    """The values of a file.

    Raises:
        TargetError: for a file that is not there, which the sentence `missing` tells, or that is no YAML.
    """
    if not file.is_file():
        raise TargetError(missing or f"there is no file {file}")
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=AsWritten)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TargetError(f"{file.name} is no YAML: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What is wrong, and in which line, without the text of the file."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return first_line(error)
