"""Two runs beside each other: their verdicts and curves, and what changed in data, code and settings."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firstfault.errors import FirstfaultError
from firstfault.report.facts import read_facts
from firstfault.values import Json, Row
from firstfault.verdict import Verdict

NO_CHANGE = frozenset({"written"})
"""What differs between any two runs."""
OF_DATA = ("data digest",)
OF_CODE = ("commit",)
CURVES = ("train_loss", "validation_loss", "train_metric", "validation_metric")
STEPS = ("loss", "grad_norm", "update_ratio", "lr")
CONTEXT = 2
"""Lines around a change that are shown with it."""


@dataclass(frozen=True)
class Run:
    """One of the two: its folder, its verdict, and the facts that it has left."""

    folder: Path
    verdict: Verdict
    facts: Json

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.resolve().name

    @property
    def said(self) -> str:
        """Its verdict in a few words."""
        verdict = self.verdict
        first = f", first in {verdict.first_faulty_layer}" if verdict.first_faulty_layer is not None else ""
        names = ", ".join(fault.fault for fault in verdict.faults)
        return f"{verdict.status}{first}{f': {names}' if names else ''}"

    def row(self, part: str) -> Row:
        """A part of its facts."""
        found = self.facts.get(part)
        return found if isinstance(found, dict) else {}

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """A curve as places and values: of epochs, else of steps."""
        epochs = self.facts.get("epochs") or []
        points = [(each["number"], each[name]) for each in epochs if name in each]
        if not points:
            seen = self.row("steps").get(name)
            points = list(zip(seen["steps"], seen["values"], strict=False)) if isinstance(seen, dict) else []
        numbers = [(float(x), float(y)) for x, y in points if y is not None]
        return [x for x, _ in numbers], [y for _, y in numbers]


@dataclass(frozen=True)
class Comparison:
    """What two runs have and have not in common."""

    first: Run
    second: Run

    @property
    def faults(self) -> dict[str, list[str]]:
        """The faults that both have, that are gone, and that are new."""
        before = [fault.fault for fault in self.first.verdict.faults]
        now = [fault.fault for fault in self.second.verdict.faults]
        return {
            "gone": [fault for fault in before if fault not in now],
            "still there": [fault for fault in before if fault in now],
            "new": [fault for fault in now if fault not in before],
        }

    @property
    def data(self) -> list[Row]:
        """What changed in the data."""
        settings = self._changed("settings", lambda name: name.startswith("data."))
        return [*self._changed("environment", lambda name: name in OF_DATA), *settings]

    @property
    def settings(self) -> list[Row]:
        """What changed in the settings, and in how it was run."""
        return self._changed("settings", lambda name: not name.startswith("data."))

    @property
    def surroundings(self) -> list[Row]:
        """What changed in versions, device, seed and depth."""
        return self._changed("environment", lambda name: name not in (*OF_DATA, *OF_CODE))

    @property
    def commits(self) -> list[Row]:
        """The commits, where they differ."""
        return self._changed("environment", lambda name: name in OF_CODE)

    @property
    def code(self) -> list[str]:
        """What changed in the user's files, as a unified diff."""
        before, now = self.first.row("code"), self.second.row("code")
        lines: list[str] = []
        for name in dict.fromkeys([*before, *now]):
            old, new = (str(side.get(name, "")).splitlines() for side in (before, now))
            here, there = (f"{name} ({run.name})" for run in (self.first, self.second))
            lines += difflib.unified_diff(old, new, here, there, n=CONTEXT, lineterm="")
        return lines

    @property
    def curves(self) -> list[str]:
        """The curves that one of them has."""
        return [name for name in (*CURVES, *STEPS) if any(run.curve(name)[0] for run in (self.first, self.second))]

    def _changed(self, part: str, wanted: Callable[[str], bool]) -> list[Row]:
        before, now = self.first.row(part), self.second.row(part)
        names = [name for name in dict.fromkeys([*before, *now]) if name not in NO_CHANGE and wanted(name)]
        return [
            {"what": name, "first": before.get(name, "–"), "second": now.get(name, "–")}
            for name in names
            if before.get(name) != now.get(name)
        ]

    @property
    def lines(self) -> list[str]:
        """The whole as lines for a terminal."""
        told = [f"first   {self.first.name}: {self.first.said}", f"second  {self.second.name}: {self.second.said}"]
        told += [f"{what}: {', '.join(faults)}" for what, faults in self.faults.items() if faults]
        told += [f"{name}: {self._ends(name)}" for name in self.curves]
        for title, rows in self.parts().items():
            told.append(f"{title}: {'no change' if not rows else ''}".rstrip(" "))
            told += [f"  {row['what']}: {row['first']} → {row['second']}" for row in rows]
        lacking = [run.name for run in (self.first, self.second) if not run.facts]
        told += [
            f"{name} has left no facts to compare: it is of an earlier version, or has no report" for name in lacking
        ]
        return told + (
            ["code:", *(f"  {line}" for line in self.code)] if self.code else ["code: no change that is seen"]
        )

    def parts(self) -> Mapping[str, Sequence[Row]]:
        """What changed, by what it is of."""
        return {"data": self.data, "settings": self.settings, "surroundings": [*self.commits, *self.surroundings]}

    def _ends(self, name: str) -> str:
        """Where a curve ends in both."""
        ends = [f"{curve[-1]:.4g}" if (curve := run.curve(name)[1]) else "–" for run in (self.first, self.second)]
        return " → ".join(ends)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "first": {"run": str(self.first.folder), "verdict": self.first.verdict.to_json()},
            "second": {"run": str(self.second.folder), "verdict": self.second.verdict.to_json()},
            "faults": self.faults,
            "changed": {name: list(rows) for name, rows in self.parts().items()},
            "code": self.code,
            "curves": {
                name: [dict(zip(("x", "y"), run.curve(name), strict=True)) for run in (self.first, self.second)]
                for name in self.curves
            },
        }


def compared(first: Path, second: Path) -> Comparison:
    """Two runs by their folders.

    Raises:
        FirstfaultError: where one of them holds no verdict.
    """
    return Comparison(_run(first), _run(second))


def _run(folder: Path) -> Run:
    file = folder / "verdict.json"
    try:
        verdict = Verdict.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FirstfaultError(
            f"{folder} must be the folder of a run with its verdict, but {file.name} can't be read: "
            f"{type(error).__name__}"
        ) from error
    return Run(folder, verdict, read_facts(folder))
