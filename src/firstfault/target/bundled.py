"""Files that firstfault ships, such as expectation and behaviour suites, found by name like the user's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def own_or_shipped(place: str | Path, root: Path, folder: str = "") -> Path:
    """The file `place` below `root`, else the shipped one of that name in `expectations/<folder>`.

    Where there is neither, it is the user's, so that the error names the file that was expected.
    """
    own = root / Path(place).expanduser()
    shipped = Path(str(resources.files("firstfault.expectations"))) / folder / place
    return shipped if not own.is_file() and shipped.is_file() else own
