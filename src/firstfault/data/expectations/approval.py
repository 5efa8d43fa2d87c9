"""The user's own suite file: written from the data, compared with what new data suggest, and approved by a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.data.expectations.suite import infer_suite, read_suite
from firstfault.data.expectations.table import Table
from firstfault.errors import TargetError
from firstfault.output.file_names import file_name
from firstfault.output.whole_files import write_text
from firstfault.target.declaration import Target
from firstfault.values import Json

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite


Entry = Json


@dataclass(frozen=True)
class Proposal:
    """The suite that the data suggest, where it belongs, and how it differs from the approved one there."""

    path: Path
    suite: Json
    changes: tuple[str, ...]
    new: bool

    def write(self) -> None:
        """Make it the approved suite.

        Raises:
            TargetError: where the file can't be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(self.suite, indent=1, ensure_ascii=False) + "\n", private=False)
        except OSError as error:
            raise TargetError(f"the expectations {self.path} must be writable, but: {error.strerror}") from error


def propose(target: Target) -> Proposal:
    """What the target's reference, or else its training table, suggests as its expectations.

    Raises:
        TargetError: when the data are no table, or can't be read.
    """
    from firstfault.data.expectations.expected import columns_of
    from firstfault.data.splits import declared, load_raw, load_reference

    known = load_reference(target)
    columns = columns_of(target, known if known is not None else load_raw(target).train)
    if columns is None:
        raise TargetError(f"expectations are inferred from tables, but data.train of {target.name} is none")
    path = target.root / (declared(target).expectations or Path("expectations") / f"{file_name(target.name)}.json")
    suite = plain_suite(infer_suite(Table([columns]), target.name))
    if not path.is_file():
        return Proposal(path, suite, (), new=True)
    approved = plain_suite(read_suite(path, target.root))
    return Proposal(path, suite, tuple(differences(approved["expectations"], suite["expectations"])), new=False)


def plain_suite(suite: ExpectationSuite) -> Json:
    """A suite as reviewable JSON: per expectation its type, arguments and severity."""
    values = suite.to_json_dict()
    return {
        "name": values["name"],
        "expectations": [
            {
                "type": entry["type"],
                "kwargs": {key: value for key, value in entry["kwargs"].items() if value is not None},
                "severity": entry.get("severity", "critical"),
            }
            for entry in values["expectations"]
        ],
    }


def differences(before: list[Entry], after: list[Entry]) -> Iterator[str]:
    """One line per expectation that came (+), went (-) or changed (~)."""
    old, new = {_key(entry): entry for entry in before}, {_key(entry): entry for entry in after}
    for key in dict.fromkeys([*old, *new]):
        name = " · ".join(part for part in key if part)
        if key not in new:
            yield f"- {name}: {_told(old[key])}"
        elif key not in old:
            yield f"+ {name}: {_told(new[key])}"
        else:
            moved = [
                _moved(field, old[key]["kwargs"].get(field), new[key]["kwargs"].get(field))
                for field in dict.fromkeys([*old[key]["kwargs"], *new[key]["kwargs"]])
                if old[key]["kwargs"].get(field) != new[key]["kwargs"].get(field)
            ]
            if old[key]["severity"] != new[key]["severity"]:
                moved.append(f"severity {old[key]['severity']} → {new[key]['severity']}")
            if moved:
                yield f"~ {name}: {', '.join(moved)}"


def _key(entry: Entry) -> tuple[str, str]:
    return str(entry["kwargs"].get("column", "")), str(entry["type"]).removeprefix("expect_")


def _moved(field: str, before: object, after: object) -> str:
    if isinstance(before, list) and isinstance(after, list):
        parts = {
            "adds": [value for value in after if value not in before],
            "drops": [value for value in before if value not in after],
        }
        return f"{field} " + " and ".join(f"{verb} {_short(values)}" for verb, values in parts.items() if values)
    return f"{field} {_short(before)} → {_short(after)}"


def _told(entry: Entry) -> str:
    return (
        ", ".join(f"{key} {_short(value)}" for key, value in entry["kwargs"].items() if key != "column")
        or "no arguments"
    )


def _short(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value[:8])) + (", …]" if len(value) > 8 else "]")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
