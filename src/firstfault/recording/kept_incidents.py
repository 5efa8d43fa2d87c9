"""Kept incidents asked again: their requests down the served path of the present version of their target."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from firstfault.behaviour.cases import CASE, Asked, read, target_of
from firstfault.behaviour.store.failures import FailureStore
from firstfault.behaviour.store.record import Failure, Kind, Standing
from firstfault.behaviour.store.replay import Asked as Replies
from firstfault.behaviour.store.replay import Replayed, noted
from firstfault.checks.deployment.kept_cases import judged_case
from firstfault.errors import Missing
from firstfault.finding import Status
from firstfault.lm.identity import digest, weights_digest
from firstfault.runs.state import state_here
from firstfault.subject.opening import subject_with_model
from firstfault.subject.serving import sound_training
from firstfault.subject.subject import Subject
from firstfault.target.loader import file_of, is_path, split_spec


def replay_incidents(store: FailureStore, again: bool = False) -> list[Replayed]:
    """Ask the kept incidents of this version of their targets, as `pytest --firstfault` does.

    A version is the target's file with the weights of its model. What no request shows is left out.

    Raises:
        FirstfaultError: when a target or a case can't be read any more.
    """
    subjects: dict[str, Subject] = {}
    with contextlib.ExitStack() as folders:
        found = [_asked(store, each, subjects, folders, again) for each in store.all(Kind.INCIDENT) if _can_be(each)]
    return [each for each in found if each is not None]


def _can_be(failure: Failure) -> bool:
    there = bool(failure.folder) and (Path(failure.folder) / CASE).is_file()
    return there and failure.standing is not Standing.DISMISSED


def _asked(
    store: FailureStore, failure: Failure, subjects: dict[str, Subject], folders: contextlib.ExitStack, again: bool
) -> Replayed | None:
    place = Path(failure.folder)
    case = read(place)
    if case.asked is Asked.NOTHING or not case.target:
        return None
    spec = target_of(place, case)
    if spec not in subjects:
        folder = folders.enter_context(tempfile.TemporaryDirectory(prefix="firstfault-"))
        subjects[spec] = subject_with_model(spec, {}, Path(folder), state_here().runs)
    try:
        version = digest(weights_digest(sound_training(subjects[spec]).model), _source(spec))
    except Missing:
        return None
    if store.asked_last(failure) == version and not again:
        return None
    status = judged_case(subjects[spec], place, case).status
    if status is Status.SKIPPED:
        return None
    failed = status is Status.FAIL
    return noted(store, failure, version, Replies(int(failed), int(not failed), of=1))


def _source(spec: str) -> str:
    """The target's file; the name of a module."""
    place = split_spec(spec)[0]
    return file_of(place).read_text(encoding="utf-8") if is_path(place) else place
