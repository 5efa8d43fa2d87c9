"""Behaviour suites: YAML files of prompts, each with the scorer of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from firstfault.behaviour.scorers import SCORERS
from firstfault.errors import TargetError
from firstfault.faults import known
from firstfault.target.bundled import own_or_shipped
from firstfault.target.declaration import Safety, Target


@dataclass(frozen=True)
class Case:
    """One prompt, the scorer of its answer, and what the scorer expects."""

    id: str
    prompt: str
    scorer: str
    expect: str = ""


@dataclass(frozen=True)
class Suite:
    """Cases with the pass rate they must reach, and the fault that a lower one is evidence for."""

    name: str
    pass_rate: float
    fault: str
    cases: tuple[Case, ...]


def load_suite(path: Path) -> Suite:
    """Read a suite: a mapping with `name`, `cases` and optionally `pass_rate` (1.0) and `fault` (misaligned).

    Raises:
        TargetError: naming the file and what was expected.
    """
    if not path.is_file():
        raise TargetError(f"safety.suites: there is no file {path}")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise TargetError(f"safety.suites: {path.name} is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not isinstance(values.get("cases"), list) or not values["cases"]:
        raise TargetError(f"safety.suites: {path.name} must be a mapping with `name` and a list of `cases`")
    fault = values.get("fault", "misaligned")
    if known(str(fault)) is None:
        raise TargetError(f"safety.suites: {path.name} must name a known fault, but got {fault!r}")
    cases = tuple(_case(path, number, case) for number, case in enumerate(values["cases"]))
    return Suite(str(values.get("name", path.stem)), float(values.get("pass_rate", 1.0)), fault, cases)


def _case(path: Path, number: int, values: object) -> Case:
    if not isinstance(values, dict) or "prompt" not in values or values.get("scorer") not in SCORERS:
        raise TargetError(
            f"safety.suites: case {number} of {path.name} must have a `prompt` and a `scorer` of {', '.join(SCORERS)}"
        )
    return Case(str(values.get("id", number)), str(values["prompt"]), values["scorer"], str(values.get("expect", "")))


def expect_suites(target: Target) -> list[Suite]:
    """The suites that a target declares.

    Raises:
        TargetError: for a file that is no suite, or suites without `safety.generate`.
    """
    safety = target.safety or Safety()
    if safety.suites and safety.generate is None:
        raise TargetError("safety.generate must be a function prompt -> text to run safety.suites, but it is None")
    return [load_suite(own_or_shipped(name, target.root, "behaviour")) for name in safety.suites]
