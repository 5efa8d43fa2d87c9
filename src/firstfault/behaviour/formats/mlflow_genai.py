"""Datasets of MLflow's genai evaluation: records of inputs and expectations, as JSON or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstfault.behaviour.suites import Case, Suite
from firstfault.errors import TargetError
from firstfault.output.whole_files import write_text


def read(records: list[dict[str, Any]], file: Path) -> dict[str, Any]:
    """A case for each record: the expected response must be contained, or each of the expected facts.

    Raises:
        TargetError: for inputs that are no one question, and records that expect nothing.
    """
    cases = [case for number, record in enumerate(records, 1) for case in _cases(record, number, file)]
    return {"name": file.stem, "cases": cases}


def _cases(record: dict[str, Any], number: int, file: Path) -> Iterator[dict[str, Any]]:
    where = f"record {number} of {file.name}"
    expected, tags = record.get("expectations") or {}, record.get("tags") or {}
    own = {"id": tags.get("id", number), "prompt": _question(record["inputs"], where)}
    own |= {key: tags[key] for key in ("template", "group") if tags.get(key)}
    facts = expected.get("expected_facts")
    if "scorer" in tags or "expected_response" in expected:
        text = str(expected.get("expected_response", ""))
        yield {**own, "scorer": tags.get("scorer", "contains"), "expect": text} | _options(expected)
    elif isinstance(facts, list) and facts:
        for place, fact in enumerate(facts, 1):
            yield {
                **own,
                "id": f"{own['id']}-{place}",
                "template": str(own["id"]),
                "scorer": "contains",
                "expect": fact,
            }
    else:
        raise TargetError(f"{where} must expect something: expected_response or expected_facts")


def _options(expected: dict[str, Any]) -> dict[str, Any]:
    return {"options": expected["options"]} if expected.get("options") else {}


def _question(inputs: object, where: str) -> str:
    if isinstance(inputs, dict) and isinstance(inputs.get("messages"), list):
        asked = [each for each in inputs["messages"] if isinstance(each, dict) and each.get("role") == "user"]
        return str(asked[-1].get("content", "")) if asked else ""
    texts = [value for value in inputs.values() if isinstance(value, str)] if isinstance(inputs, dict) else []
    if len(texts) != 1:
        raise TargetError(f"{where} must have one text among its inputs, or messages, but has {len(texts)}")
    return texts[0]


def write(suite: Suite, file: Path) -> None:
    """Write a suite as records, one a line for `.jsonl`."""
    records = [_record(case) for case in suite.cases]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    text = lines if file.suffix == ".jsonl" else json.dumps(records, ensure_ascii=False, indent=1)
    write_text(file, text, private=False)


def _record(case: Case) -> dict[str, Any]:
    more = {"options": list(case.options)} if case.options else {}
    tags = {"id": case.id, "scorer": case.scorer, "template": case.template, "group": case.group}
    return {
        "inputs": {"question": case.prompt},
        "expectations": {"expected_response": case.expect, **more},
        "tags": {key: value for key, value in tags.items() if value},
    }
