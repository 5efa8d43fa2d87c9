"""Incidents in a stream of requests, in memory: the one entry to detection.

    detector = Detector(baseline=healthy)          # or without: the first requests say what is usual
    for incident in detector.feed(records):        # in the order of time; any number at once
        print(incident.message)

`feed` gives incidents that opened, and those that closed (`closed` is set then), each time anew. The records of several
models may come mixed. `Detector.state()` and `Detector.restored()` carry it over a restart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.batch import is_uniform
from firstfault.monitor.detect.recent import Recent
from firstfault.monitor.detect.reference import Reference, learn
from firstfault.monitor.detect.safeml import Decision
from firstfault.monitor.detect.settings import Detection
from firstfault.monitor.detect.watch import Watch
from firstfault.monitor.incidents import Incident
from firstfault.monitor.record import Arm, Record

AT_ONCE = 2_000
"""Requests in one batch: some 60 MB of logarithms."""
FEWEST_IN_A_BASELINE = 200
"""Below it, a rate of 1 % is two requests."""
FIRST, DECLARED = "the first {n} requests", "the {n} requests of the declared period"


class Detector:
    """Detection over one stream.

    Args:
        settings: how seldom it may be wrong, and what is too small to matter.
        baseline: healthy requests that say what is usual; left out, the first `settings.reference` of each model do.
        assertions: the user's own functions of (input, output).
        only: the monitors that look, by their names; all, if left out.
    """

    def __init__(
        self,
        settings: Detection | None = None,
        baseline: Iterable[Record] = (),
        assertions: Sequence[Assertion] = (),
        *,
        only: Container[str] | None = None,
    ) -> None:
        self.settings, self._only = settings or Detection(), only
        self.assertions = tuple(assertions)
        self.watches: dict[str, Watch] = {}
        self.waiting: dict[str, list[Record]] = {}
        """Requests of models of which not enough is known yet."""
        self.learned_from: dict[str, list[Record]] = {}
        self.labels_from: dict[str, list[Record]] = {}
        """The requests whose labels say how often a model is usually wrong, where its reference does not."""
        self.labelled: dict[str, list[Record]] = {}
        """Labelled requests of models whose reference had too few."""
        self.recent: defaultdict[str, Recent] = defaultdict(Recent)
        for model, records in _by_model(baseline).items():
            if len(records) >= FEWEST_IN_A_BASELINE:
                self._learn(model, records, DECLARED)
            else:
                self.waiting[model] = records

    def feed(self, records: Iterable[Record]) -> list[Incident]:
        """Look at requests in the order of time; incidents that opened or closed, in that order."""
        found: list[Incident] = []
        for model, each in _by_model(records).items():
            self.recent[model].see(each)
            for record_part in _parts(self._unlearned(model, each)):
                found += self.watches[model].feed(record_part)
                found += self._labels(model, record_part, seen=True)
        return sorted(found, key=lambda incident: incident.closed or incident.opened)

    def feed_labels(self, records: Iterable[Record]) -> list[Incident]:
        """Look at requests that were fed before, whose labels have come now."""
        found: list[Incident] = []
        for model, each in _by_model(records).items():
            self.recent[model].come(each)
            if model in self.watches:
                found += self._labels(model, each, seen=False)
        return found

    def _unlearned(self, model: str, records: list[Record]) -> list[Record]:
        """What is left of the requests when enough is known of the model."""
        if model in self.watches:
            return records
        waiting = self.waiting.setdefault(model, [])
        waiting += records
        most = self.settings.reference
        if len(waiting) < most:
            return []
        del self.waiting[model]
        self._learn(model, waiting[:most], FIRST)
        return waiting[most:]

    def _learn(self, model: str, records: list[Record], source: str) -> None:
        reference = learn(records, self.settings, source.format(n=len(records)), self.assertions, self._only)
        self.learned_from[model] = records
        self.watches[model] = Watch(model, self.settings, reference)
        self.watches[model].memory.know(records)
        if self._watch_labels(model, reference, records):
            del self.labels_from[model]

    def _watch_labels(self, model: str, reference: Reference, records: Sequence[Record]) -> bool:
        if self._only is not None and "label_errors" not in self._only:
            return False
        monitors = reference.labelled(records)
        for monitor in monitors:
            self.watches[model].extend(monitor)
        if monitors:
            self.labelled.pop(model, None)
            self.labels_from[model] = list(records)
        else:
            self.labelled.setdefault(model, [])
        return bool(monitors)

    def _labels(self, model: str, records: Sequence[Record], *, seen: bool) -> list[Incident]:
        """Labels that came: the first ones say how often it is usually wrong."""
        if model not in self.labelled:
            return [] if seen else self.watches[model].feed(records, late=True)
        kept = self.labelled[model]
        kept += [record for record in records if record.label is not None and is_uniform(record)]
        most = self.settings.labels
        if len(kept) >= most and self._watch_labels(model, self.watches[model].reference, kept[:most]):
            return self.watches[model].feed(kept[most:], late=True) if kept[most:] else []
        return []

    @property
    def open(self) -> list[Incident]:
        """The incidents that are open."""
        return [watch.open for watch in self.watches.values() if watch.open is not None]

    def told(self) -> list[str]:
        """What is compared with what, what can't be seen, and which assertions raised; a sentence each."""
        found = [f"{name}: {len(records)} requests say too little yet" for name, records in self.waiting.items()]
        for name, watch in self.watches.items():
            follows = ", by the hour of the week" if watch.reference.seasonal else ""
            found.append(f"{name} is compared with {watch.reference.source}{follows}")
            found += [f"{name}: {sentence}" for sentence in watch.reference.not_seen()]
            for each, judge in sorted(watch.reference.judges.items()):
                if judge.said is not None and judge.said is not Decision.ACCEPT:
                    found.append(f"{name}: SafeML says of the inputs of class {each}: {judge.said}")
            if not any(monitor.name == "label_errors" for monitor in watch.monitors):
                found.append(
                    f"{name}: too few labels to say how often it is usually wrong, and to calibrate confidence"
                )
            usual = watch.reference
            recent = partial(self.recent[name].told, usual.shares, usual.parts, usual.schema)
            found += [f"{name}: {sentence}" for sentence in watch.failures.spared("recent", recent) or ()]
            found += [f"{name}: {sentence}" for sentence in watch.failures.sentences()]
            if watch.silent:
                found.append(f"{name}: {watch.silent}")
        for own in self.assertions:
            if own.raised:
                error, _ = own.raised.most_common(1)[0]
                found.append(f"the assertion {own.name} raised {own.raised.total()} times: {error}")
        return found

    def state(self) -> dict[str, Any]:
        """All that is known, as JSON values."""
        return {
            "waiting": msgspec.to_builtins(self.waiting),
            "learned_from": msgspec.to_builtins(self.learned_from),
            "labelled": msgspec.to_builtins(self.labelled),
            "labels_from": msgspec.to_builtins(self.labels_from),
            "recent": {name: recent.state() for name, recent in self.recent.items()},
            "sources": {name: watch.reference.source for name, watch in self.watches.items()},
            "watches": {name: watch.state() for name, watch in self.watches.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what was known; what is usual is learned anew from the same requests."""
        decode = partial(msgspec.convert, type=dict[str, list[Record]])
        self.waiting, labelled, labels_from = (decode(state[name]) for name in ("waiting", "labelled", "labels_from"))
        for model, recent in state.get("recent", {}).items():  # a store of an earlier version has none
            self.recent[model].restore(recent)
        for model, records in decode(state["learned_from"]).items():
            self._learn(model, records, state["sources"][model])
            if model in labelled:
                self.labelled[model] = labelled[model]
            if model in labels_from:
                self._watch_labels(model, self.watches[model].reference, labels_from[model])
            self.watches[model].restore(state["watches"][model])


def _by_model(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The requests of each model; those of a shadow, whose answers nobody gets, are left out."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.arm is not Arm.SHADOW:
            found.setdefault(record.model, []).append(record)
    return found


def _parts(records: list[Record]) -> list[list[Record]]:
    return [records[start : start + AT_ONCE] for start in range(0, len(records), AT_ONCE)]
