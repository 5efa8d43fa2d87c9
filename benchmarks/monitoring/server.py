"""A fitted classifier behind FastAPI and the monitor's middleware, which records one of its two paths."""

import os
import time
from collections.abc import Mapping

import numpy as np
from fastapi import FastAPI
from sklearn.ensemble import RandomForestClassifier

from firstfault.monitor import MonitoredASGI

draw = np.random.default_rng(0)
FEATURES = draw.normal(size=(500, 30))
MODEL = RandomForestClassifier(random_state=0).fit(FEATURES, FEATURES[:, 0] > 0)
app = FastAPI()
app.add_middleware(MonitoredASGI, store=os.environ["BENCHMARK_STORE"], skip=("/cpu", "/plain"))


@app.post("/plain")
@app.post("/predict")
async def predict(row: dict[str, float]) -> Mapping[str, object]:
    """The probabilities of one row."""
    return {"probabilities": MODEL.predict_proba(np.array([list(row.values())]))[0].tolist()}


@app.get("/cpu")
async def cpu() -> float:
    """The CPU seconds of this process so far."""
    return time.process_time()
