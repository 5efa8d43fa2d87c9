"""Behaviour suites: YAML files of prompts, each with the scorer of its answer."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firstfault.behaviour.judges import scorer_of
from firstfault.behaviour.scorers import Scorer
from firstfault.behaviour.wording import FORMS
from firstfault.behaviour.yaml_files import yaml_in
from firstfault.errors import TargetError
from firstfault.faults import known
from firstfault.target.bundled import own_or_shipped
from firstfault.target.declaration import Safety, Target
from firstfault.texts import nearest

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
    values = yaml_in(path, f"safety.suites: there is no file {path}", f"safety.suites: {path.name}")
    if not isinstance(values, dict) or not isinstance(values.get("cases"), list) or not values["cases"]:
        raise TargetError(f"safety.suites: {path.name} must be a mapping with `name` and a list of `cases`")
    return suite_of(values, path.name, path.parent)


def suite_of(values: Mapping[str, Any], name: str, root: Path) -> Suite:
    """A suite from plain values; `name` is that of its file.

    Raises:
        TargetError: naming the file and what was expected.
    """
    _expect_known(values, OF_SUITE, name)
    fault = str(values.get("fault", "misaligned"))
    if known(fault) is None:
        raise TargetError(f"safety.suites: {name} must name a known fault, but got {fault!r}")
    cases = [case for number, each in enumerate(values["cases"]) for case in _cases(name, number, each)]
    cases = [*_in_forms(cases, _names(name, "forms", values.get("forms")))]
    _expect_distinct(name, cases)
    numbers = {key: _share(name, key, values.get(key)) for key in ("pass_rate", "ceiling")}
    runs = values.get("runs", 1)
    if type(runs) is not int or runs < 1:
        raise TargetError(f"safety.suites: runs of {name} must be a whole number of at least 1, but is {runs!r}")
    opposite, twin, canary = (
        None if values.get(key) is None else str(values[key]) for key in ("opposite", "twin", "canary")
    )
    return Suite(
        str(values.get("name", Path(name).stem)),
        1.0 if numbers["pass_rate"] is None else numbers["pass_rate"],
        fault,
        tuple(cases),
        runs,
        opposite,
        twin,
        canary,
        numbers["ceiling"],
        _names(name, "mislabelled", values.get("mislabelled")),
        {each: _scorer(name, each, root) for each in dict.fromkeys(case.scorer for case in cases)},
        root,
    )


def _expect_known(values: Mapping[str, Any], keys: tuple[str, ...], what: str) -> None:
    for key in values:
        if key not in keys:
            raise TargetError(f"safety.suites: {what} has no key {key!r}{nearest(str(key), keys)}")


def _share(name: str, key: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise TargetError(f"safety.suites: {key} of {name} must be a number in 0–1, but is {value!r}")
    return float(value)


def _names(name: str, key: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TargetError(f"safety.suites: {key} of {name} must be a list, but is {value!r}")
    return tuple(map(str, value))


def _scorer(name: str, spec: str, root: Path) -> Scorer:
    try:
        return scorer_of(spec, root)
    except TargetError as error:
        raise TargetError(f"safety.suites: {name}: {error}") from error


def _cases(name: str, number: int, values: object) -> Iterator[Case]:
    """The cases of one entry: itself, or one for each combination of what it varies."""
    if not isinstance(values, dict) or "prompt" not in values or not isinstance(values.get("scorer"), str):
        raise TargetError(f"safety.suites: case {number} of {name} must have a `prompt` and a `scorer`")
    where = f"case {values.get('id', number)} of {name}"
    _expect_known(values, OF_CASE, where)
    expect, template, group = (str(values.get(key, "")) for key in ("expect", "template", "group"))
    case = Case(
        str(values.get("id", number)),
        str(values["prompt"]),
        values["scorer"],
        expect,
        template,
        group,
        options=_names(where, "options", values.get("options")),
        paraphrases=_names(where, "paraphrases", values.get("paraphrases")),
    )
    if case.options and (case.expect not in case.options or len(case.options) > len(LETTERS)):
        raise TargetError(f"safety.suites: {where} must expect one of its options, at most {len(LETTERS)}")
    yield from [case] if values.get("vary") is None else _varied(where, case, values["vary"])


def _varied(where: str, case: Case, vary: object) -> Iterator[Case]:
    """A case for each combination of the values; the first variable's value is its group."""
    if not isinstance(vary, dict) or not all(isinstance(values, list) and values for values in vary.values()):
        raise TargetError(f"safety.suites: `vary` of {where} must be a mapping of lists, but is {vary!r}")
    named = {name for _, name, _, _ in string.Formatter().parse(case.prompt) if name is not None}
    if named != set(vary):
        raise TargetError(
            f"safety.suites: the prompt of {where} must name {', '.join(vary)} in braces, and nothing else"
        )
    for values in itertools.product(*vary.values()):
        given = dict(zip(vary, map(str, values), strict=True))
        yield replace(
            case,
            id="-".join([case.id, *given.values()]),
            prompt=case.prompt.format(**given),
            paraphrases=tuple(text.format(**given) for text in case.paraphrases),
            template=case.template or case.id,
            group=case.group or next(iter(given.values())),
        )


def _in_forms(cases: Iterable[Case], forms: tuple[str, ...]) -> Iterator[Case]:
    """Every case in each of the forms, which are its group; those that change nothing are left out."""
    for form in forms:
        if form not in FORMS:
            raise TargetError(f"safety.suites: there is no form {form!r}, but {', '.join(FORMS)}")
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
            raise TargetError(f"safety.suites: {name} has two cases with the id {case.id!r}")
        seen.add(case.id)


def expect_suites(target: Target) -> list[Suite]:
    """The suites that a target declares.

    Raises:
        TargetError: for a file that is no suite, or suites without `safety.generate`.
    """
    safety = target.safety or Safety()
    if safety.suites and safety.generate is None:
        raise TargetError("safety.generate must be a function prompt -> text to run safety.suites, but it is None")
    return [load_suite(own_or_shipped(name, target.root, "behaviour")) for name in safety.suites]
