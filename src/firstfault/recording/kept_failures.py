"""Failures of a language model into the store and out of it: examined, kept, asked again, and as tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from firstfault.behaviour.asking import Asker, Budget
from firstfault.behaviour.debugger import BehaviorDebugger, BehaviorReport
from firstfault.behaviour.generation import Spoken
from firstfault.behaviour.store.export import exported
from firstfault.behaviour.store.failures import Added, FailureStore
from firstfault.behaviour.store.making import of_examined
from firstfault.behaviour.store.nearest import Near, nearest
from firstfault.behaviour.store.record import Failure, Kind, Standing
from firstfault.behaviour.store.replay import Asked, Replayed, ask_again, replay
from firstfault.lm.adapter import Adapter
from firstfault.lm.identity import Identity, digest, identity_of
from firstfault.lm.opening import opened_reference
from firstfault.recording.asked_model import REGISTERED, AskedModel, asked_model
from firstfault.target.loader import is_path, split_spec
from firstfault.target.locate import locate


@dataclass(frozen=True)
class KeptFailure:
    """A failure that was kept now, and the earlier ones that are most like it."""

    case: str
    added: Added
    near: tuple[Near, ...]

    @property
    def came_back(self) -> bool:
        """Whether it had been fixed."""
        return self.added.came_back

    @property
    def lines(self) -> list[str]:
        """What is told of it."""
        failure = self.added.failure
        word = "CAME BACK:" if self.added.came_back else "kept" if self.added.new else f"seen {failure.seen} times"
        told = [f"{word} as {failure.id[:8]} ({failure.standing.value}): {failure.name}"]
        return told + [f"  like {each}" for each in self.near]


def reference_of(model: AskedModel) -> Adapter | None:
    """The declared reference of a language model."""
    if model.lm is None or model.lm.reference is None:
        return None
    return opened_reference(model.lm, model.root)


def kept_under(target: str) -> str:
    """What the failures of a target are kept under: its place, and for a registered version the model's name."""
    if not target.startswith(REGISTERED):
        return locate(target)
    return target.rpartition("/")[0] if target.count("/") > 1 else target


def identity_of_model(model: AskedModel, target: str) -> Identity:
    """What answers, by its weights or its source; a registered version by its name."""
    if target.startswith(REGISTERED):
        return Identity("registered", digest(target), target)
    return identity_of(model.generate.lm if isinstance(model.generate, Spoken) else model.generate)


def keep_failures(
    store: FailureStore, report: BehaviorReport, debugger: BehaviorDebugger, model: AskedModel, target: str
) -> list[KeptFailure]:
    """Keep the failures that were examined; of each new one the nearest earlier ones are told."""
    who, under = identity_of_model(model, target), kept_under(target)
    kept = []
    for found in report.examined:
        suite = report.runs[found.suite].suite
        failure = of_examined(found, suite, who, store.masked, under, debugger.lm)
        near = nearest(failure, store.all())
        kept.append(KeptFailure(found.run.case.id, store.add(_promoted(failure, debugger.ask)), tuple(near)))
    return kept


def _promoted(failure: Failure, ask: Asker) -> Failure:
    """A candidate is asked as it is kept, and is open where it fails 3 of 5 times."""
    if failure.standing is not Standing.CANDIDATE or not ask_again(failure, ask).fails:
        return failure
    return msgspec.structs.replace(failure, standing=Standing.OPEN)


def replay_kept(
    store: FailureStore,
    target: str,
    *,
    again: bool = False,
    requests: int | None = None,
    model: AskedModel | None = None,
    ask: Asker | None = None,
) -> list[Replayed]:
    """Ask the kept failures of a target of its present version; nothing is loaded where none is kept.

    Who has its `model` gives it, and an `ask` with a budget of its own.

    Raises:
        TargetError: when the target can't be asked.
    """
    under = kept_under(target)
    if under not in targets_of(store):
        return []
    model = model or asked_model(target)
    ask = ask or Asker(model.generate, Budget(requests))
    return replay(store, under, ask, identity_of_model(model, target).version, again)


def targets_of(store: FailureStore) -> list[str]:
    """The targets whose failures are kept: places, and names of registered models, whose versions can be asked."""
    return list(dict.fromkeys(each.target for each in store.all(Kind.LANGUAGE_MODEL) if each.target))


def kept_failures(file: str) -> list[Failure]:
    """The failures that an exported file of tests asks."""
    return exported(Path(file))


def asked_again(failure: Failure, target: str, file: str) -> Asked:
    """Ask a target, named as an exported file of tests sees it, of a failure."""
    folder = Path(file).resolve().parent
    root = os.path.normpath(folder / (failure.scorer_root or "."))
    return ask_again(msgspec.structs.replace(failure, scorer_root=root), _asker(target, folder))


@functools.cache
def _asker(target: str, folder: Path) -> Asker:
    place, name = split_spec(target)
    near = f"{os.path.normpath(folder / place)}:{name}" if is_path(place) or place.startswith(".") else target
    return Asker(asked_model(near).generate)


def lines_of(kept: Iterable[KeptFailure], replayed: Iterable[Replayed]) -> list[str]:
    """What is told of failures that were kept, and of earlier ones that were asked again."""
    again = [f"{'CAME BACK: ' if each.came_back else 'kept earlier: '}{each}" for each in replayed]
    return [*again, *(line for each in kept for line in each.lines)]
