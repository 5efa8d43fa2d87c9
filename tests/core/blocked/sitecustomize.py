"""On PYTHONPATH, it lets no process import what isn't part of the core, as if it were not installed."""

import sys

from firstfault.extras import EXTRA_OF

OUTSIDE = {*EXTRA_OF, "duckdb", "fastapi", "jsonschema", "matplotlib", "polars"}


class Blocked:
    """A finder that finds nothing of the extras."""

    def find_spec(self, name, path=None, target=None):
        """Raise what Python raises for an absent module."""
        if name.partition(".")[0] in OUTSIDE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked())
