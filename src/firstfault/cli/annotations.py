"""A verdict for other tools: written to a file, or to standard output, which nothing else is then written to."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.cli.options import FormatName, refuse
from firstfault.output.whole_files import write_text
from firstfault.runs.guard import tell

if TYPE_CHECKING:
    from firstfault.cli.terminal import Terminal
    from firstfault.verdict import Verdict


class Annotations:
    """What is asked for by `--format` and `--output`; `anchor` is the file of what has no file of its own.

    GitHub picks its commands out of whatever else a step says. SARIF and JUnit are whole documents: where they go to
    standard output, everything else goes to standard error.
    """

    def __init__(self, name: FormatName | None, file: Path | None, anchor: str | None) -> None:
        if name is None and file is not None:
            refuse("--output must come with --format, which says what to write")
        self.name, self.file, self.anchor = name, file, anchor
        self._home = Path.cwd()
        self._apart = name not in (None, FormatName.GITHUB) and file is None
        tell(format=name and name.value, output=str(file.absolute()) if file is not None else None, anchor=anchor)

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Inside the block, what is printed goes to standard error where standard output is to be a document."""
        with contextlib.redirect_stdout(sys.stderr) if self._apart else contextlib.nullcontext():
            yield

    def terminal(self) -> Terminal:
        """Where people read the verdict."""
        from firstfault.cli.terminal import Terminal

        return Terminal(stderr=self._apart)

    def write(self, verdict: Verdict) -> None:
        """Write what was asked for, with paths as seen from the folder of the call: a script may have changed it."""
        if self.name is None:
            return
        with contextlib.chdir(self._home):
            written(verdict, self.name.value, self.file, self.anchor)


def written(verdict: Verdict, name: str, file: Path | None, anchor: str | None) -> None:
    """Write a verdict in a format to a file, or to standard output."""
    from firstfault.report.formats import FORMATS

    text = FORMATS[name](verdict, anchor)
    if file is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        write_text(file, text, private=False)
    except OSError as error:
        refuse(f"{file} could not be written ({error.strerror}); the run's folder has verdict.json")
