"""Suites of other tools, read and written as files, without their packages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from firstfault.behaviour.evaluation import SuiteRun
from firstfault.behaviour.formats import inspect_log, lm_eval, mlflow_genai, promptfoo
from firstfault.behaviour.suites import Suite, suite_of
from firstfault.behaviour.yaml_files import yaml_in
from firstfault.errors import TargetError

Read = Callable[[Any, Path], dict[str, Any]]
READ: Mapping[str, Read] = {
    "promptfoo": promptfoo.read,
    "lm-eval": lm_eval.read,
    "inspect": inspect_log.read,
    "mlflow": mlflow_genai.read,
}
WRITE: Mapping[str, Callable[[Suite, Path], None]] = {
    "promptfoo": promptfoo.write,
    "lm-eval": lm_eval.write,
    "inspect": inspect_log.write,
    "mlflow": mlflow_genai.write,
}


def load_any(file: Path) -> Suite:
    """The suite of a file, of firstfault's own form or of another tool's, which is told by what it holds.

    Raises:
        TargetError: naming the file, and what of it has no counterpart here.
    """
    if file.suffix == ".eval":
        return suite_of(inspect_log.read_archive(file), file.name, file.parent)
    values = _values(file)
    kind = format_of(values)
    if kind is None:
        return suite_of(values, file.name, file.parent)
    made = READ[kind](values, file)
    if not made["cases"]:
        raise TargetError(f"{file.name} has no cases")
    return suite_of(made, file.name, file.parent)


def format_of(values: Any) -> str | None:
    """Whose form it is; None for what is not known."""
    if isinstance(values, list):
        return "mlflow" if values and all(isinstance(row, dict) and "inputs" in row for row in values) else None
    if not isinstance(values, dict) or "cases" in values:
        return None
    if "tests" in values and ("prompts" in values or "providers" in values):
        return "promptfoo"
    if "task" in values and ("doc_to_text" in values or "dataset_path" in values):
        return "lm-eval"
    return "inspect" if "samples" in values and "eval" in values else None


def write_suite(suite: Suite, file: Path, kind: str) -> None:
    """Write a suite in another tool's form.

    Raises:
        TargetError: when there is no such form, or a case has no counterpart in it.
    """
    if kind not in WRITE:
        raise TargetError(f"there is no form {kind!r} to write, but {', '.join(WRITE)}")
    WRITE[kind](suite, file)


def write_run(run: SuiteRun, file: Path, kind: str) -> None:
    """Write a suite that was run: with answers and scores where the form has them, which Inspect's has."""
    if kind == "inspect":
        inspect_log.write_run(run, file)
    else:
        write_suite(run.suite, file, kind)


def _values(file: Path) -> Any:
    if file.suffix not in (".json", ".jsonl") or not file.is_file():
        return yaml_in(file)
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
    except ValueError as error:
        raise TargetError(f"{file.name} is no JSON: {str(error).splitlines()[0]}") from error
