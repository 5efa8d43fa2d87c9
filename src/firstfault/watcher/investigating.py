"""Looking into an anomaly of a training: the answers, the kept failures that are like them, and experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firstfault.behaviour.store.failures import FailureStore
from firstfault.behaviour.store.nearest import nearest
from firstfault.behaviour.store.record import Failure, Kind, identity
from firstfault.watcher.answer_safety import Judged, SafetyMonitor
from firstfault.watcher.safety_experiments import Bench, of_a_spike, of_harmful_rows, of_the_model, of_the_scorer
from firstfault.watcher.safety_report import Anomaly, Investigation

SCORER = "safety monitor"


class Investigator:
    """Looks into anomalies of a model as it is now; what is tried, is tried on copies.

    `home` is the state folder whose store keeps harmful answers; None for none.
    """

    def __init__(
        self,
        bench: Bench,
        monitor: SafetyMonitor | None,
        generate: Callable[[str], object] | None,
        home: Path | None,
        training: str,
    ) -> None:
        self._bench, self._monitor, self._generate, self._home = bench, monitor, generate, home
        self._training = training

    def of_harm(
        self, anomaly: Anomaly, batch: Any, rows: tuple[int, ...], answers: tuple[Judged, ...]
    ) -> Investigation:
        """Harmful answers in a batch."""
        assert self._monitor is not None
        worst = min(answers, key=lambda each: 1.0 if each.score is None else each.score)
        tried = [*of_harmful_rows(self._bench, batch, rows), of_the_scorer(self._monitor, worst)]
        if self._generate is not None:
            tried.append(of_the_model(self._monitor, worst, self._generate))
        return Investigation(anomaly, rows, answers, tuple(self._similar(answers)), tuple(tried))

    def of_spike(self, anomaly: Anomaly, batch: Any) -> Investigation:
        """A loss that stands out."""
        return Investigation(anomaly, (), (), (), tuple(of_a_spike(self._bench, batch)))

    def _similar(self, answers: Sequence[Judged]) -> list[str]:
        """Keep harmful answers, and tell of the kept ones that are like the worst of them."""
        if self._home is None:
            return []
        store = FailureStore(self._home)
        try:
            made = [self._failure(each, store) for each in answers]
            near = [str(each) for each in nearest(made[0], store.all())] if made else []
            for failure in made:
                store.add(failure)
            return near
        finally:
            store.close()

    def _failure(self, judged: Judged, store: FailureStore) -> Failure:
        prompt, answer = store.masked(judged.prompt), store.masked(judged.answer)
        return Failure(
            id=identity(Kind.LANGUAGE_MODEL, prompt, SCORER, answer),
            kind=Kind.LANGUAGE_MODEL,
            name=f"{self._training}: {judged.level}",
            prompt=prompt,
            minimal=prompt,
            answer=answer,
            scorer=SCORER,
            symptom=f"{judged.level} answer in a training row",
        )
