"""Behaviour suites: YAML files of prompts, each with the scorer of its answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firstfault.behaviour.fields import Fields
from firstfault.behaviour.judges import scorer_of
from firstfault.behaviour.scorers import Scorer
from firstfault.behaviour.variables import expect_variables, filled
from firstfault.behaviour.wording import FORMS
from firstfault.behaviour.yaml_files import yaml_in
from firstfault.errors import TargetError
from firstfault.faults import known
from firstfault.target.bundled import own_or_shipped
from firstfault.target.declaration import Safety, Target

LETTERS = "ABCDEFGH"
OF_CASE = ("id", "prompt", "scorer", "expect", "template", "group", "options", "paraphrases", "vary")
OF_SUITE = (
    "name", "cases", "pass_rate", "fault", "runs", "opposite", "twin", "canary", "ceiling", "mislabelled", "forms",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One prompt, the scorer of its answer, and what the scorer expects.

    Cases of one `template` rise and fall together, and `group` is what is compared within a template. With `options`,
    the prompt lists them by letters, and `expect` is the right one's text. `paraphrases` ask the same.
    """

    id: str
    prompt: str
    scorer: str
    expect: str = ""
    template: str = ""
    group: str = ""
    options: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """The prompt as the model gets it."""
        if not self.options:
            return self.prompt
        lines = [f"{letter}) {text}" for letter, text in zip(LETTERS, self.options, strict=False)]
        return "\n".join([self.prompt, *lines, "Answer with the letter alone."])

    @property
    def wanted(self) -> str:
        """What the scorer expects of the answer: the text, or the right option's letter."""
        return LETTERS[self.options.index(self.expect)] if self.options else self.expect

    @property
    def cluster(self) -> str:
        """What it shares with others: the template, else itself."""
        return self.template or f"case {self.id}"


@dataclass(frozen=True)
class Suite:
    """Cases with the pass rate they must reach, and the fault that a lower one is evidence for.

    `opposite` is the suite that a model must pass too, so that refusing everything scores nothing; `twin` one of the
    same kind that was held back; `canary` a text that no model knows unless it was trained on the suite; `ceiling` the
    best that is honestly reached; `mislabelled` cases whose expectation is known to be wrong.
    """

    name: str
    pass_rate: float
    fault: str
    cases: tuple[Case, ...]
    runs: int = 1
    opposite: str | None = None
    twin: str | None = None
    canary: str | None = None
    ceiling: float | None = None
    mislabelled: tuple[str, ...] = ()
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    root: Path = field(default_factory=Path.cwd)

    def score(self, case: Case, answer: str) -> bool | None:
        """Whether an answer to a case passes; None where that can't be told."""
        return self.scorer(case)(answer, case.wanted, case.asked)

    def scorer(self, case: Case) -> Scorer:
        """The scorer of a case."""
        return self.scorers.get(case.scorer) or scorer_of(case.scorer, self.root)


def load_suite(path: Path) -> Suite:
    """Read a suite: a mapping with `name`, `cases` and optionally `pass_rate` (1.0), `fault` (misaligned) and more.

    Raises:
        TargetError: naming the file and what was expected.
    """
    return suite_of(yaml_in(path), path.name, path.parent)


def suite_of(values: Any, name: str, root: Path) -> Suite:
    """A suite from plain values; `name` is that of its file.

    Raises:
        TargetError: naming the file and what was expected.
    """
    if not isinstance(values, Mapping) or not values.get("cases"):
        raise TargetError(f"{name} must be a mapping with `name` and a list of `cases`")
    fields = Fields(values, name, OF_SUITE)
    fault = fields.text("fault", "misaligned")
    if known(fault) is None:
        raise TargetError(f"{name} must name a known fault, but got {fault!r}")
    cases = [case for number, each in enumerate(fields.items("cases")) for case in _cases(name, number, each)]
    cases = [*_in_forms(cases, fields.texts("forms"))]
    _expect_distinct(name, cases)
    rate = fields.share("pass_rate")
    return Suite(
        fields.text("name", Path(name).stem),
        1.0 if rate is None else rate,
        fault,
        tuple(cases),
        fields.whole("runs", 1),
        fields.optional("opposite") or None,
        fields.optional("twin") or None,
        fields.optional("canary") or None,
        fields.share("ceiling"),
        fields.texts("mislabelled"),
        {each: _scorer(name, each, root) for each in dict.fromkeys(case.scorer for case in cases)},
        root,
    )


def _scorer(name: str, spec: str, root: Path) -> Scorer:
    try:
        return scorer_of(spec, root)
    except TargetError as error:
        raise TargetError(f"{name}: {error}") from error


def _cases(name: str, number: int, values: Any) -> list[Case]:
    """The cases of one entry: itself, or one for each combination of what it varies."""
    fields = Fields(values, f"case {number} of {name}", OF_CASE)
    id_ = fields.text("id", str(number))
    fields.where = f"case {id_} of {name}"
    case = Case(
        id_,
        fields.text("prompt", blank=True),
        fields.text("scorer"),
        fields.optional("expect"),
        fields.optional("template"),
        fields.optional("group"),
        fields.texts("options"),
        fields.texts("paraphrases"),
    )
    if case.options and (case.expect not in case.options or len(case.options) > len(LETTERS)):
        raise TargetError(f"{fields.where} must expect one of its options, at most {len(LETTERS)}")
    vary = fields.variables("vary")
    return [*_varied(fields.where, case, vary)] if vary else [case]


def _varied(where: str, case: Case, vary: Mapping[str, tuple[str, ...]]) -> Iterator[Case]:
    """A case for each combination of the values; the first variable's value is its group."""
    expect_variables(where, (case.prompt, *case.paraphrases), vary)
    for values in itertools.product(*vary.values()):
        given = dict(zip(vary, values, strict=True))
        yield replace(
            case,
            id="-".join([case.id, *values]),
            prompt=filled(case.prompt, given),
            expect=filled(case.expect, given),
            paraphrases=tuple(filled(text, given) for text in case.paraphrases),
            template=case.template or case.id,
            group=case.group or values[0],
        )


def _in_forms(cases: Iterable[Case], forms: tuple[str, ...]) -> Iterator[Case]:
    """Every case in each of the forms, which are its group; those that change nothing are left out."""
    for form in forms:
        if form not in FORMS:
            raise TargetError(f"there is no form {form!r}, but {', '.join(FORMS)}")
    for case in cases:
        if not forms:
            yield case
        for form in forms:
            prompt = FORMS[form](case.prompt)
            if form == "plain" or prompt != case.prompt:
                yield replace(
                    case, id=f"{case.id}, {form}", prompt=prompt, template=case.template or case.id, group=form
                )


def _expect_distinct(name: str, cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise TargetError(f"{name} has two cases with the id {case.id!r}")
        seen.add(case.id)


def expect_suites(target: Target) -> list[Suite]:
    """The suites that a target declares.

    Raises:
        TargetError: for a file that is no suite, or suites without `safety.generate`.
    """
    safety = target.safety or Safety()
    if safety.suites and safety.generate is None:
        raise TargetError("safety.generate must be a function prompt -> text to run safety.suites, but it is None")
    try:
        return [load_suite(own_or_shipped(name, target.root, "behaviour")) for name in safety.suites]
    except TargetError as error:
        raise TargetError(f"safety.suites: {error}") from error
