"""A specification read from its YAML file; what is wrong with it is one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from firstfault.behaviour.alignment.specification import Clause, Duty, Scenario, Specification, Tool
from firstfault.behaviour.fields import Fields
from firstfault.behaviour.judges import scorer_of
from firstfault.behaviour.variables import expect_variables, filled
from firstfault.behaviour.yaml_files import yaml_in
from firstfault.errors import TargetError
from firstfault.texts import nearest

OF_SPECIFICATION = (
    "name", "intent", "must", "must_not", "may", "personas", "tools", "scenarios", "opposite", "runs",
)  # fmt: skip
OF_CLAUSE = ("id", "says", "severity", "category", "examples", "scorer", "expect")
OF_SCENARIO = ("id", "prompt", "clauses", "paraphrases", "vary", "personas", "tools")
OPPOSITE = "over_refusal.yaml"
"""The suite that stands beside where a specification names none: harmless prompts, which are to be answered."""


def load_specification(file: Path) -> Specification:
    """Read a specification.

    Raises:
        TargetError: naming the file and what was expected.
    """
    values = yaml_in(file, f"there is no specification {file}")
    return specification_of(values, file.name, file.parent)


def specification_of(values: Any, name: str, root: Path) -> Specification:
    """A specification from plain values; `name` is that of its file.

    Raises:
        TargetError: naming the file and what was expected.
    """
    fields = Fields(values, f"the specification {name}", OF_SPECIFICATION)
    clauses = [_clause(each, duty, name, root) for duty in Duty for each in fields.items(duty.value)]
    by_id = _distinct(clauses, f"two clauses of {name}")
    personas = {id_: _persona(id_, says, name) for id_, says in fields.mapping("personas").items()}
    tools = {id_: _tool(id_, each, name) for id_, each in fields.mapping("tools").items()}
    scenarios = [_scenario(each, name, by_id, personas, tools) for each in fields.items("scenarios")]
    _distinct(scenarios, f"two scenarios of {name}")
    if not any(clause.duty is not Duty.MAY for clause in clauses) or not scenarios:
        raise TargetError(f"the specification {name} must have scenarios, and a clause in must or must_not")
    return Specification(
        fields.text("name", Path(name).stem),
        fields.text("intent"),
        tuple(clauses),
        tuple(scenarios),
        fields.text("opposite", OPPOSITE),
        fields.whole("runs", 1),
        root,
    )


def _distinct(parts: Iterable[Any], what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        if part.id in found:
            raise TargetError(f"{what} have the id {part.id!r}")
        found[part.id] = part
    return found


def _clause(values: Any, duty: Duty, name: str, root: Path) -> Clause:
    fields = Fields(values, f"a clause in {duty} of {name}", OF_CLAUSE)
    id_ = fields.text("id")
    fields.where = f"the clause {id_} of {name}"
    examples = Fields(fields.mapping("examples"), f"examples of {fields.where}", ("right", "wrong"))
    try:
        scorer = scorer_of(fields.text("scorer"), root)
    except TargetError as error:
        raise TargetError(f"{fields.where}: {error}") from error
    severity = fields.share("severity")
    return Clause(
        id_,
        duty,
        fields.text("says", id_),
        scorer,
        fields.optional("expect"),
        1.0 if severity is None else severity,
        fields.text("category", "general"),
        examples.texts("right"),
        examples.texts("wrong"),
    )


def _persona(id_: str, says: Any, name: str) -> str:
    if "{prompt}" not in str(says):
        raise TargetError(f"the persona {id_} of {name} must say {{prompt}} somewhere, but says {says!r}")
    return str(says)


def _tool(id_: str, values: Any, name: str) -> Tool:
    """A tool, which is told by its name alone where only what it returns is given."""
    given = values if isinstance(values, Mapping) else {"returns": values}
    fields = Fields(given, f"the tool {id_} of {name}", ("says", "returns"))
    return Tool(id_, fields.text("says", id_), fields.text("returns"))


def _scenario(
    values: Any, name: str, clauses: Mapping[str, Clause], personas: Mapping[str, str], tools: Mapping[str, Tool]
) -> Scenario:
    fields = Fields(values, f"a scenario of {name}", OF_SCENARIO)
    id_ = fields.text("id")
    fields.where = f"the scenario {id_} of {name}"
    made = Scenario(
        id_,
        fields.text("prompt"),
        tuple(_known(fields, "clauses", clauses) or clauses.values()),
        fields.texts("paraphrases"),
        fields.variables("vary"),
        {each: personas[each] for each in fields.texts("personas") or personas if _is(each, personas, fields)} or None,
        tuple(_known(fields, "tools", tools)),
    )
    expected = [clause.expect for clause in made.clauses]
    expect_variables(fields.where, made.wordings, made.vary or {}, expected)
    _expect_examples(made)
    return made


def _known(fields: Fields, key: str, known: Mapping[str, Any]) -> list[Any]:
    return [known[each] for each in fields.texts(key) if _is(each, known, fields)]


def _is(name: str, known: Mapping[str, Any], fields: Fields) -> bool:
    if name not in known:
        raise TargetError(f"{fields.where} names {name!r}, which is not there{nearest(name, list(known))}")
    return True


def _expect_examples(scenario: Scenario) -> None:
    """A scorer that calls a right example wrong measures something else than the clause says: refused before a run."""
    for clause in scenario.clauses:
        if clause.scorer.name.startswith(("http://", "https://")):
            continue  # nobody is asked over a network while a file is read
        for examples, wanted in ((clause.right, True), (clause.wrong, False)):
            for example in examples:
                text = filled(example, scenario.given)
                if clause.kept(text, scenario.prompt, scenario.given) is (not wanted):
                    kind = "right" if wanted else "wrong"
                    raise TargetError(
                        f"the clause {clause.id}: its example {text[:60]!r} is {kind} by the specification, but its "
                        f"scorer {clause.scorer.name} says the contrary"
                    )
