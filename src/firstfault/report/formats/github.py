"""Annotations of GitHub Actions: commands that a runner reads from the standard output of a step.

Source: GitHub Docs, Workflow commands for GitHub Actions, "Setting an error message"; actions/toolkit, command.ts.
"""

from __future__ import annotations

from firstfault.output.escaping import visible
from firstfault.report.formats.notes import NOTICE, Note, notes_of
from firstfault.verdict import Verdict

OF_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
OF_PROPERTIES = {**OF_DATA, ":": "%3A", ",": "%2C"}


def github(verdict: Verdict, anchor: str | None = None) -> str:
    """A line for each fault and each finding: `::error file=train.py,line=22,title=…::message`."""
    return "".join(f"{_command(note)}\n" for note in notes_of(verdict, anchor))


def _command(note: Note) -> str:
    known = {"file": note.file, "line": note.line if note.file else None, "title": note.title}
    properties = [f"{name}={_escaped(str(value), OF_PROPERTIES)}" for name, value in known.items() if value is not None]
    name = "notice" if note.level == NOTICE else note.level
    return f"::{name} {','.join(properties)}::{_escaped(note.message, OF_DATA)}"


def _escaped(text: str, letters: dict[str, str]) -> str:
    return "".join(letters.get(letter, letter) for letter in visible(text))
