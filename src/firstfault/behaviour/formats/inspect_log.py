"""Inspect's logs: samples with input and target, as JSON or as the archive that Inspect writes."""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from firstfault.behaviour.asking import Answer, Generate
from firstfault.behaviour.evaluation import SuiteRun
from firstfault.behaviour.suites import Case, Suite
from firstfault.errors import TargetError
from firstfault.output.whole_files import write_json

SCORER_OF = {"exact": "exact", "match": "exact", "includes": "contains", "pattern": "regex", "choice": "choice"}
"""Inspect's scorers that compare with a target, and those here that do the same."""
MOST_BYTES = 1 << 30
"""Of a sample, unpacked: an archive that grows beyond memory is refused."""


def read(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """A case for each sample; its epochs are one case, and as many runs.

    Raises:
        TargetError: for a scorer that has no counterpart here.
    """
    cases: dict[str, dict[str, Any]] = {}
    epochs = 1
    for number, sample in enumerate(values.get("samples") or [], 1):
        if not isinstance(sample, dict) or "input" not in sample:
            raise TargetError(f"sample {number} of {file.name} must have an input")
        epochs = max(epochs, int(sample.get("epoch", 1)))
        cases.setdefault(str(sample.get("id", number)), _case(sample, file, values))
    name = str((values.get("eval") or {}).get("task", file.stem))
    return {"name": name, "cases": [{"id": key, **case} for key, case in cases.items()], "runs": epochs}


def read_archive(file: Path) -> dict[str, Any]:
    """The same from an `.eval` archive.

    Raises:
        TargetError: when it is none.
    """
    made = read(_archived(file), file)
    if not made["cases"]:
        raise TargetError(f"{file.name} has no samples")
    return made


def _archived(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read("header.json"))
            names = [info for info in archive.infolist() if info.filename.startswith("samples/")]
            if any(info.file_size > MOST_BYTES for info in names):
                raise TargetError(f"{file.name} has a sample of more than 1 GiB")
            return {**header, "samples": [json.loads(archive.read(info)) for info in names]}
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise TargetError(f"{file.name} is no log of Inspect: {error}") from error


def _case(sample: dict[str, Any], file: Path, values: dict[str, Any]) -> dict[str, Any]:
    target = sample.get("target", "")
    expect = str(target[0] if isinstance(target, list) and target else target)
    more = sample.get("metadata") or {}
    case = {
        "prompt": _question(sample["input"]),
        "scorer": more.get("firstfault_scorer") or _scorer(sample, file, values),
        "expect": expect,
        **{key: str(more[key]) for key in ("template", "group") if more.get(key)},
    }
    options = sample.get("choices")
    if not options:
        return case
    letters = dict(zip("ABCDEFGH", map(str, options), strict=False))
    return case | {"scorer": "choice", "options": list(letters.values()), "expect": letters.get(expect, expect)}


def _question(asked: object) -> str:
    """A text, or the last message of the user."""
    if isinstance(asked, str):
        return asked
    messages = asked if isinstance(asked, list) else []
    texts = [each.get("content", "") for each in messages if isinstance(each, dict) and each.get("role") == "user"]
    last = texts[-1] if texts else ""
    return last if isinstance(last, str) else "".join(str(part.get("text", "")) for part in last)


def _scorer(sample: dict[str, Any], file: Path, values: dict[str, Any]) -> str:
    declared = [each.get("name", "") for each in (values.get("eval") or {}).get("scorers") or []]
    for name in [*(sample.get("scores") or {}), *declared]:
        if (known := SCORER_OF.get(str(name).rpartition("/")[2])) is not None:
            return known
    raise TargetError(
        f"{file.name} is scored by {', '.join(declared) or 'nothing'}, but only {', '.join(SCORER_OF)} are known here"
    )


def replay(file: Path) -> Generate:
    """A function prompt -> text that gives the answers of a log, epoch by epoch; NaN where there is none.

    Raises:
        TargetError: when the file is no log.
    """
    try:
        values = _archived(file) if file.suffix == ".eval" else json.loads(file.read_text(encoding="utf-8"))
        samples = sorted(values["samples"], key=lambda sample: int(sample.get("epoch", 1)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TargetError(f"{file.name} is no log of Inspect: {error}") from error
    given: dict[str, list[object]] = {}
    for sample in samples:
        case = Case("", _question(sample["input"]), "", options=tuple(map(str, sample.get("choices") or ())))
        given.setdefault(case.asked, []).append((sample.get("output") or {}).get("completion", math.nan))
    asked: Counter[str] = Counter()

    def answer(prompt: str) -> object:
        answers = given.get(prompt, [math.nan])
        asked[prompt] += 1
        return answers[asked[prompt] - 1] if asked[prompt] <= len(answers) else math.nan

    return answer


def write(suite: Suite, file: Path) -> None:
    """Write a suite as a log without answers, whose samples Inspect reads as a dataset."""
    write_json(file, _log(suite, [_sample(case) for case in suite.cases]), private=False)


def write_run(run: SuiteRun, file: Path) -> None:
    """Write a suite that was run as a log: a sample with answer and score for each case and run."""
    samples = [
        {**_sample(each.case), "epoch": epoch, **_answered(each.case, answer, verdict)}
        for each in run.cases
        for epoch, (answer, verdict) in enumerate(zip(each.answers, each.verdicts, strict=True), 1)
    ]
    write_json(file, _log(run.suite, samples, "success"), private=False)


def _answered(case: Case, answer: Answer, verdict: bool | None) -> dict[str, Any]:
    score = {True: "C", False: "I", None: "N"}[verdict]
    scores = {case.scorer: {"value": score, "answer": answer.text}}
    return {"scores": scores, **({} if answer.text is None else {"output": {"completion": answer.text}})}


def _log(suite: Suite, samples: list[dict[str, Any]], status: str = "started") -> dict[str, Any]:
    dataset = {"name": suite.name, "samples": len(suite.cases)}
    return {
        "version": 2,
        "status": status,
        "eval": {"task": suite.name, "dataset": dataset, "model": "none"},
        "samples": samples,
    }


def _sample(case: Case) -> dict[str, Any]:
    more = {"firstfault_scorer": case.scorer, "template": case.template, "group": case.group}
    return {
        "id": case.id,
        "epoch": 1,
        "input": case.prompt,
        "choices": list(case.options) or None,
        "target": case.wanted,
        "metadata": {key: value for key, value in more.items() if value},
        "scores": {},
    }
