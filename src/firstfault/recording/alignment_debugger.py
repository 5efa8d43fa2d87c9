"""The AlignmentDebugger: a model against the specification of what it must, must not and may do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from firstfault.behaviour.alignment.causes import Cause
from firstfault.behaviour.alignment.judgement import Alignment, Said, ScenarioRun, run_scenarios
from firstfault.behaviour.alignment.likelihoods import margin
from firstfault.behaviour.alignment.reading import load_specification, specification_of
from firstfault.behaviour.alignment.report import AlignmentReport
from firstfault.behaviour.alignment.specification import Scenario, Specification
from firstfault.behaviour.alignment.tools import prefaced, with_tools
from firstfault.behaviour.asking import Asker, Budget
from firstfault.behaviour.evaluation import SuiteRun, evaluate
from firstfault.behaviour.formats import load_any
from firstfault.behaviour.variables import filled
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.errors import TargetError, told
from firstfault.interrupts import pass_on
from firstfault.lm.adapter import Adapter, Capability
from firstfault.lm.opening import opened
from firstfault.recording.asked_model import AskedModel, asked
from firstfault.subject.subject import Subject
from firstfault.target.bundled import own_or_shipped
from firstfault.target.declaration import Target
from firstfault.target.language_model import LM, Prompt
from firstfault.texts import nearest

logger = logging.getLogger(__name__)
MARGINS = 3
"""Prompts of a scenario at which its examples are compared: on 135 M parameters a CPU second each."""
DIAGNOSED = 4
"""Misaligned scenarios whose prompts are followed through the cuts: the six cuts of one cost up to a CPU minute."""


class AlignmentDebugger:
    """Holds a model against its specification: `AlignmentDebugger(model, "spec.yaml").debug_alignment()`.

    Args:
        model: an LM, a Target with one, a function prompt -> text, or a transformers model with its `tokenizer`.
        spec: a specification's file, its plain values, or a `Specification`.
        runs: how often each prompt is asked; the specification's own `runs` if left out.
        requests, tokens: budgets over all that is asked; what is beyond them is unscored.
        cuts: follow what is misaligned through the cuts of an LM, which names the first one that is wrong.
        show_texts: put prompts and answers that went wrong into the report.

    Raises:
        TargetError: when the model can't be asked, or the specification can't be read.
    """

    def __init__(
        self,
        model: Any,
        spec: str | Path | Mapping[str, Any] | Specification,
        *,
        tokenizer: Any = None,
        runs: int | None = None,
        requests: int | None = None,
        tokens: int | None = None,
        cuts: bool = True,
        root: Path | None = None,
        show_texts: bool = False,
    ) -> None:
        root = root or Path.cwd()
        declared = LM(model=model, tokenizer=tokenizer) if tokenizer is not None else model
        self.model = declared if isinstance(declared, AskedModel) else asked(declared, root)
        self.specification = _specification(spec, root)
        self.runs = runs or self.specification.runs
        self.ask = Asker(self.model.generate, Budget(requests, tokens))
        self.cuts, self.show_texts = cuts, show_texts
        place = own_or_shipped(self.specification.opposite, self.specification.root, "behaviour")
        self.opposite = load_any(place)

    def debug_alignment(self, scenarios: Sequence[str] = ()) -> AlignmentReport:
        """Run the opposite suite and the scenarios, or those of these ids; what is misaligned, how badly, and why.

        Raises:
            TargetError: for an id that the specification does not have.
        """
        chosen = self._chosen(scenarios)
        opposite = evaluate(self.opposite, self.ask, 1)
        said = run_scenarios(chosen, lambda scenario: with_tools(self.ask, scenario.tools), self.runs, self.ask.budget)
        adapter = opened(self.model.lm, self.model.root) if self.model.lm is not None else None
        runs = tuple(_run(scenario, each, adapter) for scenario, each in zip(chosen, said, strict=True))
        return AlignmentReport(self.specification, runs, opposite, self._shared(runs, opposite), self.show_texts)

    def _chosen(self, names: Sequence[str]) -> Sequence[Scenario]:
        known = {scenario.id: scenario for scenario in self.specification.scenarios}
        for name in names:
            if name not in known:
                raise TargetError(f"{self.specification.name} has no scenario {name!r}{nearest(name, known)}")
        return [known[name] for name in names] or self.specification.scenarios

    def _shared(self, runs: Sequence[ScenarioRun], opposite: SuiteRun) -> dict[str, tuple[Cause, ...]]:
        """The causes at cuts that every request goes through, by scenario."""
        wrong = [run for run in runs if run.status is Alignment.MISALIGNED]
        if self.model.lm is None or not self.cuts or not wrong or self.ask.budget.interrupted:
            return {}
        try:
            return _at_cuts(self.model.lm, self.model.root, self.specification.name, wrong[:DIAGNOSED])
        except Exception as error:  # what was scored stands without it
            pass_on(error)
            logger.warning("the cuts of %s could not be looked at: %s", self.specification.name, told(error))
            return {}


def _specification(spec: str | Path | Mapping[str, Any] | Specification, root: Path) -> Specification:
    if isinstance(spec, Specification):
        return spec
    if isinstance(spec, Mapping):
        return specification_of(spec, "specification", root)
    return load_specification(root / Path(spec).expanduser())


def _run(scenario: Scenario, said: Sequence[Said], adapter: Adapter | None) -> ScenarioRun:
    run = ScenarioRun(scenario, tuple(said))
    if adapter is None or not adapter.can(Capability.LOG_PROBS):
        return run
    try:
        return replace(run, margin=_margin(scenario, adapter))
    except Exception as error:  # such as a prompt beyond the context: the clauses are judged without it
        pass_on(error)
        logger.warning("the examples of %s could not be compared: %s", scenario.id, told(error))
        return run


def _margin(scenario: Scenario, adapter: Adapter) -> float | None:
    """That of the clause whose wrong example is likeliest, as a mean over a few prompts; None without examples."""
    both = [clause for clause in scenario.judged if clause.right and clause.wrong]
    found = []
    for clause in both:
        margins = []
        for cell in scenario.cells[:MARGINS]:
            right, wrong = ([filled(text, cell.given) for text in each] for each in (clause.right, clause.wrong))
            margins.append(margin(adapter, prefaced(cell.asked, scenario.tools), right, wrong))
        found.append(sum(margins) / len(margins))
    return min(found, default=None)


NO_CAUSE = {"tests_in_rows": "that the training saw a prompt makes its answers look better, never wrong"}
"""Checks whose findings explain no wrong answer."""


def _at_cuts(lm: LM, root: Path, name: str, wrong: Sequence[ScenarioRun]) -> dict[str, tuple[Cause, ...]]:
    """What the ladder says of the prompts that went wrong: the faults of the first layer that is wrong on their way."""
    asked = replace(lm, prompts=[_prompt(run) for run in wrong])
    target = Target(name, task="language_model", lm=asked, root=root, mute=NO_CAUSE)
    with TemporaryDirectory() as folder:
        verdict = diagnose(Subject(target, Path(folder)), Depth.STANDARD)
    found: dict[str, tuple[Cause, ...]] = {}
    for fault in verdict.faults:
        cause = Cause(
            fault.layer.value, fault.evidence[0] if fault.evidence else fault.fault, fault.remedy, fault.fault
        )
        named = {text for place in fault.where for text in place.names}
        ids = [run.scenario.id for run in wrong]
        for id_ in [id_ for id_ in ids if id_ in named] or ids:
            found[id_] = (*found.get(id_, ()), cause)
    return found


def _prompt(run: ScenarioRun) -> Prompt:
    """The first prompt that went wrong, with what a wrong answer holds, which the training rows may show."""
    said = next(each for each in run.said if each.aligned is False)
    broken = [clause for clause in run.scenario.clauses if run.broken(clause)]
    unwanted = next((clause.wrong[0] for clause in broken if clause.wrong), None)
    return Prompt(
        prefaced(said.cell.asked, run.scenario.tools),
        unwanted=filled(unwanted, said.cell.given) if unwanted else None,
        id=run.scenario.id,
    )
