"""What a suite's failures have in common: their groups, compared within templates, and their symptoms."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from firstfault.behaviour.evaluation import CaseRun, Outcome, SuiteRun
from firstfault.behaviour.failures.features import loops
from firstfault.behaviour.scorers import refuses
from firstfault.behaviour.statistics import ALPHA, Change, Rate, holm, paired, rate_of


@dataclass(frozen=True)
class Gap:
    """Two groups asked the same: which passes more, by how much, with an exact p-value corrected for all pairs."""

    better: str
    worse: str
    change: Change
    p: float

    def __str__(self) -> str:
        lost = f"{self.change.gained} of {self.change.cases} templates pass for {self.better} alone"
        needed = f"; about {self.change.needed} templates would tell" if self.change.needed else ""
        sure = "differs" if self.p <= ALPHA else f"within the noise{needed}"
        return f"{lost}, {self.change.lost} for {self.worse} alone: {sure}, p {self.p:.2g}"


def groups_of(run: SuiteRun) -> dict[str, Rate]:
    """The pass rate of each group, where the suite has several."""
    by_group: dict[str, list[bool]] = defaultdict(list)
    for each in run.scored:
        if each.case.group:
            by_group[each.case.group].append(each.outcome is Outcome.PASS)
    return {name: rate_of(passes) for name, passes in by_group.items()} if len(by_group) > 1 else {}


def gaps_of(run: SuiteRun) -> list[Gap]:
    """Every pair of groups on the templates that both have, by McNemar's exact test, Holm over the pairs."""
    by_group: dict[str, dict[str, bool]] = defaultdict(dict)
    for each in run.scored:
        if each.case.group and each.case.template:
            passed = each.outcome is Outcome.PASS
            by_group[each.case.group][each.case.template] = passed and by_group[each.case.group].get(
                each.case.template, True
            )
    pairs = [_pair(one, other, by_group) for one, other in itertools.combinations(by_group, 2)]
    found = [pair for pair in pairs if pair is not None]
    corrected = holm(np.array([change.p for _, _, change in found]))
    return [Gap(better, worse, change, float(p)) for (better, worse, change), p in zip(found, corrected, strict=True)]


def _pair(one: str, other: str, by_group: dict[str, dict[str, bool]]) -> tuple[str, str, Change] | None:
    both = sorted(by_group[one].keys() & by_group[other].keys())
    if not both:
        return None
    passes = [[by_group[name][template] for template in both] for name in (one, other)]
    better, worse = (one, other) if sum(passes[0]) >= sum(passes[1]) else (other, one)
    ours, theirs = passes if better == one else passes[::-1]
    return better, worse, paired(theirs, ours)


def symptom(run: CaseRun) -> str:
    """What a failing answer looks like, in a word or two."""
    answer = next((each for each, v in zip(run.answers, run.verdicts, strict=True) if v is not True), run.answers[0])
    text = answer.text
    if text is None:
        return "raised" if answer.raised else answer.problem
    return symptom_of(text, run.case.asked) or ("flaky" if run.outcome is Outcome.FLAKY else "other text")


def symptom_of(text: str, asked: str) -> str:
    """What a text looks like, in a word or two; empty where it looks like any other."""
    if not text.strip():
        return "empty"
    if loops(text):
        return "loops"
    if asked.strip() and asked.strip() in text:
        return "repeats the prompt"
    return "refuses" if refuses(text) else ""


def analysis_of(run: SuiteRun) -> dict[str, object]:
    """Groups, gaps and symptoms as plain values."""
    failing = [each for each in run.cases if each.outcome is not Outcome.PASS]
    return {
        "symptoms": dict(Counter(map(symptom, failing)).most_common()),
        "groups": {name: rate.to_json() for name, rate in groups_of(run).items()},
        "gaps": [{"better": gap.better, "worse": gap.worse, "p": gap.p, "told": str(gap)} for gap in gaps_of(run)],
    }
