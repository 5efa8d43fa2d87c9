"""Kept failures as tests: a file for pytest that asks a model of each, and what is asked beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from firstfault.behaviour.store.record import Failure
from firstfault.errors import FirstfaultError
from firstfault.output.whole_files import write_bytes, write_text
from firstfault.target.loader import is_path, split_spec

TESTS, ASKED = "test_failures.py", "failures.jsonl"
FIELDS = (
    "id",
    "kind",
    "name",
    "asked",
    "expect",
    "scorer",
    "scorer_root",
    "minimal",
    "symptom",
    "first_cut",
    "version",
)
"""What a test needs, and what its reader wants to know; answers and whole prompts stay in the store."""
SOURCE = '''"""Failures of a language model that were kept, as tests: red while it fails one, green once it is repaired.

Written by `firstfault cases export --pytest`; `{asked}` holds what is asked. Run them with `pytest {folder}`.
"""

import pytest
from firstfault.recording.kept_failures import asked_again, kept_failures

TARGET = {target!r}


@pytest.mark.parametrize("failure", kept_failures(__file__), ids=lambda failure: failure.id)
def test_a_kept_failure_stays_fixed(failure):
    """It passes 3 of 5 times."""
    asked = asked_again(failure, TARGET, __file__)
    assert asked.passes, f"{{failure.name}} (first seen as {{failure.symptom}}): {{asked}}"
'''


def export(failures: Sequence[Failure], target: str, folder: Path) -> Path:
    """Write the tests of some failures into a folder; the file of them.

    Raises:
        FirstfaultError: when there is nothing to test.
    """
    kept = [each for each in failures if each.asked and each.scorer]
    if not kept:
        raise FirstfaultError("export must have a failure that can be asked again, but there is none")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for each in kept:
        root = os.path.relpath(each.scorer_root or ".", folder.absolute())
        plain = {**msgspec.to_builtins(each), "scorer_root": root}
        rows.append(msgspec.json.encode({name: plain[name] for name in FIELDS if plain.get(name)}))
    write_bytes(folder / ASKED, b"".join(row + b"\n" for row in rows), private=False)
    source = SOURCE.format(asked=ASKED, folder=folder.name, target=seen_from(folder, target))
    write_text(folder / TESTS, source, private=False)
    return folder / TESTS


def seen_from(folder: Path, target: str) -> str:
    """A target as a folder sees it, so that both can be moved together."""
    place, name = split_spec(target)
    if not is_path(place):
        return target
    return f"{os.path.relpath(Path(place).absolute(), folder.absolute())}:{name}"


def exported(file: Path) -> list[Failure]:
    """The failures of an exported file of tests.

    Raises:
        FirstfaultError: when what is asked does not lie beside it.
    """
    place = file.parent / ASKED
    try:
        return [msgspec.json.decode(line, type=Failure) for line in place.read_bytes().splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FirstfaultError(f"{place} must hold the failures that {file.name} asks, but: {error}") from error
