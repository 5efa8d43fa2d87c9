"""Requests of a small model whose weights are known, as they are recorded."""

import numpy as np

from firstfault.monitor.record import Arm, Cuts, Outcome, Record, Stages

START = 1_793_620_800.0
"""2026-11-02, noon UTC."""
WEIGHTS = np.array([1.5, -1.0, 0.8, 0.0])
NAMES = ("income", "age", "debt", "spare")


class Service:
    """Answers requests, and records them."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def requests(self, n, *, change=None, wrong=0.1, failing=0.0, seconds=1.0, more=None, labelled=True, **fields):
        """The records of `n` requests, one a second, of which `change` moves the inputs."""
        x = self.rng.normal(size=(n, len(NAMES)))
        x = change(x) if change is not None else x
        p = 1 / (1 + np.exp(-x @ WEIGHTS))
        label = np.where(self.rng.random(n) < wrong, p <= 0.5, p > 0.5).astype(int)
        failed = self.rng.random(n) < failing
        model = self.rng.lognormal(-4, 0.3, n) * seconds
        return [
            self._record(
                dict(zip(NAMES, map(float, x[at]), strict=True)) | (more(at) if more else {}),
                float(p[at]),
                int(label[at]) if labelled else None,
                bool(failed[at]),
                float(model[at]),
                fields,
            )
            for at in range(n)
        ]

    def _record(self, row, p, label, failed, seconds, fields):
        at, self.count = self.count, self.count + 1
        whole = {
            "request_id": f"r{at}",
            "trace_id": "",
            "span_id": "",
            "time": START + at,
            "way": "function",
            "model": "credit",
            "version": "7",
            "arm": Arm.CHAMPION,
            "status": 500 if failed else 200,
            "outcome": Outcome.ERROR if failed else Outcome.OK,
            "stages": Stages(seconds + 0.001, model=seconds),
            "cuts": Cuts(),
            "raw": f"2026-11-02T{12 + at // 3600:02}/w:{at}",
            "values": {"raw": row} if failed else {"raw": row, "logits": [p], "label": int(p > 0.5)},
            "confidence": None if failed else max(p, 1 - p),
            "label": label,
            "reasons": ("sample",),
            "weight": 1.0,
        }
        return Record(**{**whole, **fields})
