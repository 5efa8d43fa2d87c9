"""The Optuna study behind a sweep: which trainings are done, which were killed, and which are left."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstfault.ablation.trial import BASELINE, settings_of
from firstfault.errors import FirstfaultError, TargetError

MOST_SEEDS = 32
Pair = tuple[str, int]


@dataclass(frozen=True)
class Scored:
    """One ended training: its score, the unchanged target's where it is judged anew, and how it ended."""

    score: float
    before: float | None
    finite: bool


class SweepStudy:
    """Trainings by factor and seed, kept in an Optuna storage, so that a killed sweep goes on where it was.

    Args:
        storage: an Optuna storage or its URL, or the path of a journal file.
        name: of the study; one with the same name is continued.
        factors: every factor that the study may ever hold.
        first_seed: of the seeds, which are counted up from there.

    Raises:
        TargetError: when a study of that name was made for other factors or seeds.
        FirstfaultError: when the storage can't be read or written.
    """

    def __init__(self, storage: Any, name: str, factors: Sequence[str], first_seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self.name, self.factors, self.first_seed = name, [BASELINE, *sorted(factors)], first_seed
        try:
            opened = _journal(storage) if isinstance(storage, Path) else storage
            self.study = optuna.create_study(
                storage=opened, study_name=name, load_if_exists=True, direction="maximize", sampler=_sampler()
            )
            self._check_space()
            self._bury_killed()
        except OSError as error:
            reason = error.strerror or error
            raise FirstfaultError(f"the sweep's storage {storage} must be writable, but: {reason}") from error

    def ended(self) -> dict[Pair, Scored]:
        """The trainings that have ended, by factor and seed; of two for one pair, the first."""
        import optuna

        found: dict[Pair, Scored] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            pair = (trial.params["factor"], trial.params["seed"])
            attributes = trial.user_attrs
            found.setdefault(pair, Scored(float(trial.value), attributes["before"], attributes["finite"]))
        return found

    def run(self, pairs: Sequence[Pair], measure: Callable[[str, int], Scored], jobs: int = 1) -> None:
        """Measure each pair, and keep each result at once; what a killed sweep had enqueued is dropped."""
        import optuna

        wanted = set(pairs)

        def objective(trial: Any) -> float:
            trial.set_user_attr("owner", _owner())
            pair = (
                trial.suggest_categorical("factor", self.factors),
                trial.suggest_int("seed", self.first_seed, self.first_seed + MOST_SEEDS - 1),
            )
            if pair not in wanted:
                raise optuna.TrialPruned()
            wanted.discard(pair)
            scored = measure(*pair)
            trial.set_user_attr("before", scored.before)
            trial.set_user_attr("finite", scored.finite)
            return scored.score

        waiting = len(self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)))
        for factor, seed in pairs:
            self.study.enqueue_trial({"factor": factor, "seed": seed})
        if pairs:
            self.study.optimize(objective, n_trials=waiting + len(pairs), n_jobs=jobs)

    def _check_space(self) -> None:
        space = {"factors": self.factors, "first_seed": self.first_seed}
        known = self.study.user_attrs.get("space")
        if known is None:
            self.study.set_user_attr("space", space)
        elif known != space:
            raise TargetError(f"study_name must be new, but {self.name!r} has other factors or seeds")

    def _bury_killed(self) -> None:
        import optuna

        for trial in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            owner = trial.user_attrs.get("owner")
            if owner is not None and not _lives(owner):
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _sampler() -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.BruteForceSampler(seed=0)


def _journal(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    _mend(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _mend(path: Path, lock: Any) -> None:
    """Drop a last line that a killed process or a full disk left half written: Optuna can't read past it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _owner() -> list[Any]:
    import psutil

    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def _lives(owner: Sequence[Any]) -> bool:
    """Whether the process of a trial still runs; one on another host is taken to."""
    import psutil

    host, pid, born = owner
    if host != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < 1.0)
    except psutil.Error:
        return False


def fingerprint(subject: Any) -> str:
    """A short digest of what a training of the target depends on: data, settings, network, source files."""
    from firstfault.session import data_digest

    parts: list[str] = [data_digest(subject), repr(subject.model), repr(sorted(_settings(subject).items()))]
    file = subject.target.file
    if file is not None:
        parts += [path.read_text(errors="replace") for path in _sources(file)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def _settings(subject: Any) -> Mapping[str, Any]:
    values = settings_of(subject.recipe)
    return {key: value if isinstance(value, int | float) else str(value) for key, value in values.items()}


def _sources(file: Path) -> list[Path]:
    """The target's file and the modules beside and below it that it has imported."""
    folder = file.resolve().parent
    places = {getattr(module, "__file__", None) for module in list(sys.modules.values())} - {None}
    loaded = {Path(str(place)).resolve() for place in places}
    own = {path for path in loaded if path.suffix == ".py" and path.is_relative_to(folder) and path.is_file()}
    return sorted({file.resolve(), *(path for path in own if "site-packages" not in path.parts)})
