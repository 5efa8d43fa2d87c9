"""SARIF 2.1.0: the verdict as results of a static analysis, for code scanning and editors.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from firstfault.faults import known, remedy_of
from firstfault.output.escaping import visible, visible_in
from firstfault.report.formats.notes import Note, notes_of
from firstfault.report.formatting import headline, what_is_wrong, words
from firstfault.texts import encodable
from firstfault.verdict import Change, Verdict, VerdictStatus

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(verdict: Verdict, anchor: str | None = None) -> str:
    """One run, with a rule for each fault and check that is told of, and a result for each place."""
    notes = notes_of(verdict, anchor)
    rules = list(dict.fromkeys(note.rule for note in notes))
    driver = {
        "name": "firstfault",
        "version": version("firstfault"),
        "semanticVersion": version("firstfault"),
        "rules": [_rule(name) for name in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": verdict.status is not VerdictStatus.ERROR}],
        "results": [_result(note, rules) for note in notes],
        "properties": {"target": verdict.target, "status": verdict.status.value, "headline": headline(verdict)},
    }
    whole = {"$schema": SCHEMA, "version": "2.1.0", "runs": [visible_in(run)]}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _rule(name: str) -> dict[str, Any]:
    """A fault of the reference with its remedy, or a check by its name."""
    if known(name) is None:
        return {"id": name, "shortDescription": {"text": words(name)}}
    return {"id": name, "shortDescription": {"text": what_is_wrong(name)}, "help": {"text": remedy_of(name)}}


def _result(note: Note, rules: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": note.rule,
        "ruleIndex": rules.index(note.rule),
        "level": note.level,
        "message": {"text": f"{note.title}\n{note.message}"},
        "locations": [_location(note)] if note.file is not None else [],
    }
    if note.change is not None:
        result["fixes"] = [_fix(note.change)]
    return result


def _location(note: Note) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": address(str(note.file))}}
    return {"physicalLocation": {**place, "region": {"startLine": note.line or 1}}}


def _fix(change: Change) -> dict[str, Any]:
    """The line as a whole; one that is added is put in before the line's first letter."""
    end = len(change.before) + 1 if change.before else 1
    region = {"startLine": change.line, "startColumn": 1, "endLine": change.line, "endColumn": end}
    text = change.after if change.before else f"{change.after}\n"
    return {
        "description": {"text": visible(change.after.strip())},
        "artifactChanges": [
            {
                "artifactLocation": {"uri": address(change.file)},
                "replacements": [{"deletedRegion": region, "insertedContent": {"text": text}}],
            }
        ],
    }


def address(file: str) -> str:
    """A path as an address: relative as it is, others with their scheme."""
    path = Path(encodable(file))
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
