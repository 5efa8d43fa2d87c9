"""Requests that were really served: a small server over a target's own steps and model, with one thing broken."""

import numpy as np

from firstfault.monitor.analysis import Analyst
from firstfault.monitor.record import Captured, Resources
from firstfault.monitor.snapshot import snapshot

START = 1_764_400_000.0  # 2025-11-29


class Server:
    """Answers rows as a target's service does, and records them as `@monitored` would; each part may be replaced."""

    def __init__(
        self,
        truth,
        settings,
        *,
        prepare=None,
        model=None,
        label=None,
        seconds=None,
        resources=None,
        size=None,
        fails=None,
        version="7",
    ):
        self.truth = truth
        self.prepare = prepare or truth.prepared
        self.model = model or truth.outputs
        self.label = label or (lambda logits: truth.labels(truth.scores(logits)))
        self.seconds = seconds or (lambda place: {"preprocess": 0.002, "model": 0.004})
        self.resources = resources or (lambda place: Resources(cpu=0.3, rss=400_000_000, throttled=0.0))
        self.size = size or (lambda place: 300)
        self.fails = fails or (lambda raw: False)
        self.version = version
        self.analyst = Analyst(settings, b"k" * 32)
        self.served = 0

    def rest(self, place):
        """Seconds outside of every stage."""
        return 0.001

    def serve(self, raw, truths=None, *, batch=1, at=START, every=1.0, cuts=True):
        """The records of the answers to raw samples, in requests of `batch`."""
        sound = [one for one in raw if not self.fails(one)]
        x = np.asarray(self.prepare(sound))
        logits = np.asarray(self.model(x))
        labels = self.label(logits)
        if len(sound) < len(raw):  # each row on its own
            return self._some_failing(raw, iter(zip(x, logits, labels, strict=True)), at, every)
        records = []
        for place in range(0, len(raw), batch):
            rows = slice(place, place + batch)
            values = {"raw": snapshot(raw[rows] if batch > 1 else raw[place])}
            values |= {"label": snapshot(list(labels[rows]) if batch > 1 else labels[place])}
            if cuts:
                one = rows if batch > 1 else place
                values |= {"tensor": snapshot(x[one].tolist()), "logits": snapshot(logits[one].tolist())}
            truth = None if truths is None else [_plain(each) for each in truths[rows]]
            records.append(self._record(values, truth if batch > 1 or truth is None else truth[0], at + every * place))
        return records

    def _some_failing(self, raw, answers, at, every):
        records = []
        for place, one in enumerate(raw):
            failed = self.fails(one)
            x, logits, label = (None, None, None) if failed else next(answers)
            values = {"raw": snapshot(one)}
            if not failed:
                values |= {
                    "tensor": snapshot(x.tolist()),
                    "logits": snapshot(logits.tolist()),
                    "label": snapshot(label),
                }
            error = "Traceback\nTypeError: unsupported operand" if failed else ""
            records.append(self._record(values, None, at + every * place, error))
        return records

    def _record(self, values, truth, time, error=""):
        stages = dict(self.seconds(self.served))
        total = sum(stages.values()) + self.rest(self.served)
        self.served += 1
        captured = Captured(
            "function",
            f"r{self.served}-{time:.0f}",
            "0" * 31 + "1",
            "0" * 15 + "1",
            time,
            total,
            500 if error else 200,
            model="plans",
            error=error,
            request_bytes=self.size(self.served),
            version=self.version,
            stages=stages,
            values=values,
            label=truth,
        )
        seen = self.analyst.see(captured)
        hour = f"2025-11-29T07/{self.version}-w:{self.served}"
        return self.analyst.record(seen, hour, self.resources(self.served - 1))


def _plain(value):
    return value.item() if hasattr(value, "item") else value
