"""lm-eval's tasks: a YAML file whose documents lie in a JSON file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from firstfault.behaviour.formats.rendering import rendered
from firstfault.behaviour.suites import Case, Suite
from firstfault.behaviour.yaml_files import AsWritten
from firstfault.errors import TargetError
from firstfault.output.whole_files import write_text

SCORERS = ("exact", "contains", "regex", "choice", "refusal", "not_refusal")


def read(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """A case for each document: exact match of a generated answer, or the right one of several choices.

    Raises:
        TargetError: for documents that are not in a local JSON file, and for functions in place of templates.
    """
    if "doc_to_text" not in values or "doc_to_target" not in values:
        raise TargetError(f"{file.name} must have doc_to_text and doc_to_target")
    docs = _documents(values, file)
    return {"name": str(values["task"]), "cases": [_case(values, file, number, doc) for number, doc in enumerate(docs)]}


def _documents(values: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    files = (values.get("dataset_kwargs") or {}).get("data_files")
    split = values.get("test_split") or values.get("validation_split") or "test"
    place = files.get(split) if isinstance(files, dict) else files
    if values.get("dataset_path") != "json" or not isinstance(place, str):
        raise TargetError(
            f"{file.name} must have dataset_path: json and its file in dataset_kwargs.data_files, since nothing is "
            f"downloaded; dataset_path is {values.get('dataset_path')!r}"
        )
    own = file.parent / place
    if not own.is_file():
        raise TargetError(f"{file.name} names the documents {place}, but there is no such file")
    try:
        text = own.read_text(encoding="utf-8")
        return json.loads(text) if own.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
    except ValueError as error:
        raise TargetError(f"{own.name} is no JSON: {str(error).splitlines()[0]}") from error


def _case(values: dict[str, Any], file: Path, number: int, doc: dict[str, Any]) -> dict[str, Any]:
    where = f"document {number} of {file.name}"
    text, target = _filled(values["doc_to_text"], doc, where), _filled(values["doc_to_target"], doc, where)
    case = {"id": doc.get("id", number), "prompt": text, "scorer": _scorer(values), "expect": target}
    case |= {key: doc[key] for key in ("template", "group") if doc.get(key)}
    if values.get("output_type") != "multiple_choice":
        return case
    options = _options(values, doc, where)
    right = options[int(target)] if target.isdigit() and int(target) < len(options) else target
    return case | {"scorer": "choice", "options": options, "expect": right}


def _scorer(values: dict[str, Any]) -> str:
    named = (values.get("metadata") or {}).get("firstfault_scorer")
    return named if named in SCORERS else "exact"


def _options(values: dict[str, Any], doc: dict[str, Any], where: str) -> list[str]:
    given = values.get("doc_to_choice")
    if isinstance(given, list):
        return [str(each) for each in given]
    if isinstance(given, str) and isinstance(doc.get(given), list):
        return [str(each) for each in doc[given]]
    made = yaml.load(_filled(str(given), doc, where), Loader=AsWritten) if given else None
    if not isinstance(made, list):
        raise TargetError(f"{where} must have choices, as a list or the name of one, but doc_to_choice is {given!r}")
    return [str(each) for each in made]


def _filled(template: object, doc: dict[str, Any], where: str) -> str:
    text = str(template)
    if text.startswith("!function"):
        raise TargetError(f"{where} is made by {text}, which is not run; a template is needed")
    return str(doc[text]) if text in doc else rendered(text, doc, where)


def write(suite: Suite, file: Path) -> None:
    """Write a suite as a task, with its documents beside it; all cases must have the same scorer.

    Raises:
        TargetError: when they have several, or one that lm-eval can't score.
    """
    scorers = {case.scorer for case in suite.cases}
    if scorers not in ({"exact"}, {"choice"}):
        raise TargetError(
            f"a task of lm-eval is scored by exact or by choice alone, but {suite.name} has {_list(scorers)}"
        )
    chosen = scorers == {"choice"}
    task: dict[str, Any] = {
        "task": suite.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{file.stem}.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice" if chosen else "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "expect",
        "metric_list": [
            {"metric": "acc" if chosen else "exact_match", "aggregation": "mean", "higher_is_better": True}
        ],
    }
    if chosen:
        task["doc_to_choice"] = "options"
    write_text(file, yaml.safe_dump(task, sort_keys=False, allow_unicode=True), private=False)
    lines = [json.dumps(_document(case), ensure_ascii=False) + "\n" for case in suite.cases]
    write_text(file.with_suffix(".jsonl"), "".join(lines), private=False)


def _document(case: Case) -> dict[str, Any]:
    own = {"id": case.id, "prompt": case.prompt, "expect": case.expect, "template": case.template, "group": case.group}
    return own if not case.options else own | {"options": list(case.options), "expect": case.options.index(case.expect)}


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
