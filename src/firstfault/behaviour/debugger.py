"""The BehaviorDebugger: suites of a language model, each rate with its interval, and what its failures share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from firstfault.behaviour.analysis import analysis_of, gaps_of, symptom
from firstfault.behaviour.asking import Asker, Budget, Generate, words_of
from firstfault.behaviour.evaluation import CaseRun, Outcome, SuiteRun, evaluate
from firstfault.behaviour.failures.analysis import FailureAnalysis, analyze
from firstfault.behaviour.failures.patterns import Looked, Pattern, failure_patterns
from firstfault.behaviour.failures.reduction import CALLS
from firstfault.behaviour.formats import load_any
from firstfault.behaviour.generation import Spoken, count_with, generate_with
from firstfault.behaviour.history import Since, changes, keep, last_run
from firstfault.behaviour.statistics import ALPHA
from firstfault.behaviour.suites import Suite
from firstfault.behaviour.trust import Trust, suspicious, trust
from firstfault.errors import TargetError
from firstfault.lm.adapter import Adapter
from firstfault.lm.local import Local
from firstfault.lm.trace import WITHOUT_THE_NETWORK, first_other, trace
from firstfault.target.bundled import own_or_shipped
from firstfault.target.language_model import Prompt
from firstfault.texts import nearest

SUITES = ("safety", "capability", "robustness", "fairness")
"""The suites that come with firstfault, in the order in which they are run."""
RUNS = 5
"""The fewest of which unanimous ones have an exact 95 % bound beyond ½ (.05 ** (1/5) = .55)."""


@dataclass(frozen=True)
class BehaviorReport:
    """What a model does: each suite as it was run, what changed, and how far the scores are to be believed."""

    runs: Mapping[str, SuiteRun]
    since: Mapping[str, Since] = field(default_factory=dict)
    trusts: Mapping[str, Trust] = field(default_factory=dict)
    show_texts: bool = False
    examined: tuple[FailureAnalysis, ...] = ()
    cuts: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def pass_rates(self) -> dict[str, dict[str, object]]:
        """Per suite the rate with its interval, the corrected one, and the counts."""
        return {name: run.to_json() for name, run in self.runs.items()}

    @property
    def failures(self) -> list[dict[str, object]]:
        """Every case that was asked and does not pass, by its id; prompts and answers where they were asked for."""
        return [
            {
                "suite": name,
                "case": each.case.id,
                "outcome": each.outcome.value,
                "passed": f"{sum(v is True for v in each.verdicts)} of {len(each.verdicts)}",
                "scorer": each.case.scorer,
                "symptom": symptom(each),
                "note": each.note,
            }
            | ({"prompt": each.case.asked, "answer": each.answers[0].text} if self.show_texts else {})
            for name, run in self.runs.items()
            for each in run.cases
            if each.outcome is not Outcome.PASS and not each.answers[0].unasked
        ]

    @functools.cached_property
    def patterns(self) -> dict[str, list[Pattern]]:
        """Per suite what its failures have in common, where at least eight of them do."""
        found = {name: failure_patterns(looked_at(run, self.cuts)) for name, run in self.runs.items()}
        return {name: patterns for name, patterns in found.items() if patterns}

    @property
    def analyses(self) -> dict[str, dict[str, object]]:
        """Per suite: symptoms, groups and their gaps, what changed, and the trust in the score."""
        return {
            name: analysis_of(run)
            | {
                "since": str(self.since[name]) if name in self.since else None,
                "trust": self.trusts[name].to_json() if name in self.trusts else None,
                "patterns": [each.to_json() for each in self.patterns.get(name, ())],
                "examined": [each.to_json(self.show_texts) for each in self.examined if each.suite == name],
            }
            for name, run in self.runs.items()
        }

    @property
    def lines(self) -> list[str]:
        """The whole as lines for a terminal."""
        told = []
        for name, run in self.runs.items():
            told.append(run.headline)
            told += [
                f"  the scorer {each.name} {each.error}"
                for each in run.suite.scorers.values()
                if not each.by_definition
            ]
            told += [f"  {self.since[name]}"] if name in self.since else []
            told += [f"  {gap}" for gap in gaps_of(run) if gap.p <= ALPHA]
            told += [f"  {line}" for line in self.trusts[name].lines] if name in self.trusts else []
            told += [f"  pattern: {each}" for each in self.patterns.get(name, ())]
            told += [f"  {line}" for each in self.examined if each.suite == name for line in each.lines]
        return told

    def to_json(self) -> dict[str, object]:
        """Pass rates, failures and analyses as plain values."""
        return {"pass_rates": self.pass_rates, "failures": self.failures, "analyses": self.analyses}


def _behind(generate: Generate, model: Any, tokenizer: Any) -> Adapter | None:
    """The language model whose answers `generate` gives; None for a function of the user's own."""
    if isinstance(generate, Spoken):
        return generate.lm
    return Local(model, tokenizer) if isinstance(model, nn.Module) else None


def failures_of(run: SuiteRun) -> list[CaseRun]:
    """The cases that fail, then the flaky ones; what can't be scored is no failure."""
    order = (Outcome.FAIL, Outcome.FLAKY)
    return [each for outcome in order for each in run.cases if each.outcome is outcome]


def looked_at(run: SuiteRun, cuts: Mapping[tuple[str, str], str]) -> list[Looked]:
    """The scored cases of a suite as patterns see them; the first bad cut is known of failures in this process."""
    return [
        Looked(
            each.case.id,
            each.case.asked,
            each.outcome is not Outcome.PASS,
            cuts.get((run.suite.name, each.case.id), ""),
            each.case.scorer,
            "" if each.outcome is Outcome.PASS else symptom(each),
            {"template": each.case.template, "group": each.case.group},
        )
        for each in run.scored
    ]


class BehaviorDebugger:
    """Runs suites through a model: `BehaviorDebugger(model, tokenizer)`, or `BehaviorDebugger(generate=…)`.

    Args:
        model: a transformers model, and `tokenizer` its tokenizer.
        generate: a function prompt -> text in their place.
        suites: names of shipped suites, files (of firstfault, promptfoo, lm-eval, Inspect or MLflow), or `Suite`s.
        runs: how often each case is asked; a suite's own `runs` where it has more than one.
        labels: what people said of answers, as `read_sheet` gives it.
        history: the folder of the last runs, which these are compared with, and kept in.
        requests, tokens: budgets over all suites; what is beyond them is unscored.
        show_texts: put prompts and answers of failures into the report.
        lm: the language model behind `generate`, whose cuts and log-probs explain failures.
        reference: another one, whose cuts they are compared with.

    Raises:
        TargetError: when there is nothing to ask, or a suite can't be read.
    """

    def __init__(
        self,
        model: Any = None,
        tokenizer: Any = None,
        *,
        generate: Generate | None = None,
        suites: Sequence[str | Path | Suite] = SUITES,
        runs: int = RUNS,
        labels: Mapping[str, bool] | None = None,
        history: Path | None = None,
        requests: int | None = None,
        tokens: int | None = None,
        root: Path | None = None,
        show_texts: bool = False,
        lm: Adapter | None = None,
        reference: Adapter | None = None,
    ) -> None:
        if (generate is None) is (model is None):
            raise TargetError("BehaviorDebugger must have either a model with its tokenizer, or generate=")
        self.generate: Generate = generate_with(model, tokenizer) if generate is None else generate
        own = _behind(self.generate, model, tokenizer)
        self.lm, self.greedy = lm or own, isinstance(own, Local)
        self.reference, self.root = reference, root or Path.cwd()
        self.suites = [self.suite_of(each) for each in suites]
        self.runs, self.labels, self.history, self.show_texts = runs, labels or {}, history, show_texts
        count = words_of if tokenizer is None else count_with(tokenizer)
        self.ask = Asker(self.generate, Budget(requests, tokens), count=count)
        self._expect_distinct()

    def suite_of(self, each: str | Path | Suite) -> Suite:
        """A suite by its name or file."""
        if isinstance(each, Suite):
            return each
        file = own_or_shipped(f"{each}.yaml" if str(each) in SUITES else each, self.root, "behaviour")
        if not file.is_file():
            raise TargetError(f"there is no suite {str(each)!r}, nor a file {file}{nearest(str(each), SUITES)}")
        return load_any(file)

    def _expect_distinct(self) -> None:
        names = [suite.name for suite in self.suites]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TargetError(f"two suites have the name {twice[0]!r}")

    def comprehensive_debug(self, examine: int = 0) -> BehaviorReport:
        """Run all suites; pass rates, failures and analyses, and the trust in what looks too good.

        So many failures are examined one by one (`analyze_failure`), as many of each suite as of the others.
        """
        runs = {suite.name: self.run_suite(suite) for suite in self.suites}
        before = {} if self.history is None else {name: last_run(name, self.history) for name in runs}
        since = changes(runs, {name: cases for name, cases in before.items() if cases is not None})
        trusts = {
            name: trust(run, self.ask)
            for name, run in runs.items()
            if suspicious(run.rate, since[name].change if name in since else None)
        }
        if self.history is not None:
            for run in runs.values():
                keep(run, self.history)
        failing = itertools.zip_longest(*([(run, each) for each in failures_of(run)] for run in runs.values()))
        chosen = [each for turn in failing for each in turn if each is not None]
        chosen = chosen[: 0 if self.ask.budget.interrupted else examine]
        examined = tuple(self.analyze_failure(each, run) for run, each in chosen)
        return BehaviorReport(runs, since, trusts, self.show_texts, examined, self.first_cuts(runs))

    def first_cuts(self, runs: Mapping[str, SuiteRun]) -> dict[tuple[str, str], str]:
        """The first of rendered text and ids that is not the reference's, for each failing case, by suite and id."""
        if not isinstance(self.lm, Local):
            return {}
        failing = [(name, each.case) for name, run in runs.items() for each in failures_of(run)]
        found = {}
        for name, case in failing:
            rungs = trace(self.lm, Prompt(case.asked, id=case.id), self.reference, WITHOUT_THE_NETWORK)
            first = first_other(rungs)
            found[name, case.id] = first.cut.value if first else ""
        return found

    def analyze_failure(self, failing: CaseRun | str, run: SuiteRun, calls: int = CALLS) -> FailureAnalysis:
        """Examine one failing case of a suite that was run, by itself or its id.

        Raises:
            ValueError: when the suite has no such case.
        """
        if isinstance(failing, str):
            found = next((each for each in run.cases if each.case.id == failing), None)
            if found is None:
                raise ValueError(f"failing must be the id of a case of {run.suite.name}, but got {failing!r}")
            failing = found
        return analyze(failing, run, self.ask, self.lm, self.reference, calls, self.greedy)

    def run_suite(self, suite: Suite) -> SuiteRun:
        """Run one suite."""
        return evaluate(suite, self.ask, suite.runs if suite.runs > 1 else self.runs, self.labels)
