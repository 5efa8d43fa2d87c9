"""The last run of a suite, kept by case and without texts, and what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firstfault.behaviour.evaluation import CaseRun, Outcome, SuiteRun
from firstfault.behaviour.statistics import ALPHA, Change, holm, paired
from firstfault.output.whole_files import write_json

VERSION = 1  # of the file; one of another version is no last run


@dataclass(frozen=True)
class Since:
    """A suite's change since its last run, with the p-value corrected for all suites that are told beside it."""

    suite: str
    change: Change
    p: float

    def __str__(self) -> str:
        change = self.change
        moved = f"{change.gained} gained, {change.lost} lost"
        text = f"since the last run {change.difference:+.0%} on {change.cases} cases ({moved})"
        if self.p <= ALPHA:
            return f"{text}, p {self.p:.2g}"
        needed = f"; about {change.needed} cases would tell" if change.needed else ""
        return f"{text}: within the noise, p {self.p:.2g}{needed}"


def _key(run: SuiteRun, case: CaseRun) -> str:
    """What makes two runs of a case comparable: prompt, expectation, and the scorer with its version."""
    scorer = run.suite.scorer(case.case)
    parts = (case.case.asked, case.case.wanted, scorer.name, scorer.version)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def outcomes_of(run: SuiteRun) -> dict[str, bool]:
    """Whether each scored case passes, by what makes it comparable."""
    return {_key(run, case): case.outcome is Outcome.PASS for case in run.scored}


def history_in(home: Path, model: str) -> Path:
    """Where the last runs of a model lie in the state folder `home`."""
    return home / "behaviour" / _short(model)


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _file(folder: Path, suite: str) -> Path:
    return folder / f"{_short(suite)}.json"


def keep(run: SuiteRun, folder: Path) -> None:
    """Keep a run as the last one of its suite; of a case that was not scored now, what was known stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known, now = last_run(run.suite.name, folder) or {}, {_key(run, case) for case in run.cases}
    cases = {key: passed for key, passed in known.items() if key in now} | outcomes_of(run)
    write_json(_file(folder, run.suite.name), {"version": VERSION, "suite": run.suite.name, "cases": cases})


def last_run(suite: str, folder: Path) -> Mapping[str, bool] | None:
    """The cases of the last run; None where there was none, or it can't be read."""
    try:
        values = json.loads(_file(folder, suite).read_text())
        return dict(values["cases"]) if values["version"] == VERSION else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def changes(runs: Mapping[str, SuiteRun], before: Mapping[str, Mapping[str, bool]]) -> dict[str, Since]:
    """McNemar's exact test of each suite on the cases that both runs scored, corrected by Holm over the suites."""
    import numpy as np

    found = {}
    for name in runs.keys() & before.keys():
        now, old = outcomes_of(runs[name]), before[name]
        both = sorted(now.keys() & old.keys())
        if both:
            found[name] = paired([old[key] for key in both], [now[key] for key in both])
    corrected = holm(np.array([change.p for change in found.values()]))
    return {name: Since(name, change, float(p)) for (name, change), p in zip(found.items(), corrected, strict=True)}
