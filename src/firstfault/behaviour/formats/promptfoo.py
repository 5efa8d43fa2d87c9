"""promptfoo's YAML: prompts with variables, and tests with assertions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from firstfault.behaviour.formats.rendering import rendered
from firstfault.behaviour.suites import Case, Suite
from firstfault.errors import TargetError
from firstfault.output.whole_files import write_text

ASSERTIONS = {
    "equals": ("exact", lambda value: value),
    "contains": ("regex", re.escape),
    "icontains": ("contains", lambda value: value),
    "regex": ("regex", lambda value: value),
    "is-refusal": ("refusal", lambda value: ""),
    "not-is-refusal": ("not_refusal", lambda value: ""),
}
"""What promptfoo calls them, and which scorer expects what."""
TO_ASSERTION = {
    "exact": "equals",
    "contains": "icontains",
    "regex": "regex",
    "refusal": "is-refusal",
    "not_refusal": "not-is-refusal",
}


def read(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """A case for each prompt, test and assertion; those of one test are one template.

    Raises:
        TargetError: for an assertion that no scorer here makes, and prompts that lie elsewhere.
    """
    prompts = values.get("prompts") or ["{{prompt}}"]
    tests = values["tests"]
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise TargetError(f"tests of {file.name} must be a list of tests, but is {type(tests).__name__}")
    defaults = values.get("defaultTest") or {}
    cases = [
        case
        for number, test in enumerate(tests, 1)
        for which, prompt in enumerate(prompts, 1)
        for case in _cases(file, number, f"-p{which}" * (len(prompts) > 1), _text(file, prompt), test, defaults)
    ]
    return {"name": str(values.get("description", file.stem)), "cases": cases}


def _text(file: Path, prompt: object) -> str:
    text = prompt.get("raw", prompt.get("id", "")) if isinstance(prompt, dict) else str(prompt)
    if not str(text).startswith("file://"):
        return str(text)
    place = file.parent / str(text).removeprefix("file://")
    if not place.is_file():
        raise TargetError(f"{file.name} names the prompt {place.name}, but there is no such file")
    return place.read_text(encoding="utf-8")


def _cases(
    file: Path, number: int, which: str, prompt: str, test: dict[str, Any], defaults: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    where = f"test {number} of {file.name}"
    variables = {**(defaults.get("vars") or {}), **(test.get("vars") or {})}
    if any(isinstance(value, list) for value in variables.values()):
        raise TargetError(f"{where} has a list among its vars; write a test for each of its values")
    variables = {name: rendered(str(value), variables, where) for name, value in variables.items()}
    asserts = [*(defaults.get("assert") or []), *(test.get("assert") or [])]
    if not asserts:
        raise TargetError(f"{where} asserts nothing, so that nothing can be scored")
    own = f"{number}{which}"
    for place, each in enumerate(asserts, 1):
        scorer, expect = _scorer(where, each)
        yield {
            "id": own if len(asserts) == 1 else f"{own}-{place}",
            "prompt": rendered(prompt, variables, where),
            "scorer": scorer,
            "expect": expect(rendered(str(each.get("value", "")), variables, where)),
            "template": own if len(asserts) > 1 else str((test.get("metadata") or {}).get("template", "")),
            "group": str((test.get("metadata") or {}).get("group", "")),
        }


def _scorer(where: str, each: object) -> tuple[str, Any]:
    kind = each.get("type") if isinstance(each, dict) else None
    if kind not in ASSERTIONS:
        raise TargetError(f"{where} asserts {kind!r}, but only {', '.join(ASSERTIONS)} have a scorer here")
    return ASSERTIONS[kind]


def write(suite: Suite, file: Path) -> None:
    """Write a suite as promptfoo's YAML; the provider is left to be filled in."""
    tests = [_test(case) for case in suite.cases]
    values = {"description": suite.name, "prompts": ["{{prompt}}"], "providers": ["echo"], "tests": tests}
    write_text(file, yaml.safe_dump(values, sort_keys=False, allow_unicode=True), private=False)


def _test(case: Case) -> dict[str, Any]:
    kind, value = TO_ASSERTION.get(case.scorer), case.wanted
    if case.scorer == "choice":
        kind, value = "regex", rf"^\W*{case.wanted}\b"
    if kind is None:
        raise TargetError(f"case {case.id} is scored by {case.scorer}, which promptfoo has no assertion for")
    metadata = {key: text for key in ("template", "group") if (text := getattr(case, key))}
    return {
        "description": case.id,
        "vars": {"prompt": _literal(case.asked)},
        "assert": [{"type": kind, **({"value": _literal(value)} if value else {})}],
        **({"metadata": metadata} if metadata else {}),
    }


def _literal(text: str) -> str:
    """A text in which promptfoo fills in nothing."""
    return f"{{% raw %}}{text}{{% endraw %}}" if "{{" in text or "{%" in text else text
