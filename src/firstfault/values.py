"""The plain values that rooms hand on: objects of JSON, and rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
"""An object of JSON. What its values are is said by the schema of who wrote it, which no type of Python follows."""
Row = Mapping[str, object]
"""A row of a table, cells by column, to be shown or written; a cell is a plain value."""
