"""A fitted classifier behind FastAPI, with the monitor's middleware where `BENCHMARK_STORE` names a store."""

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
if store := os.environ.get("BENCHMARK_STORE"):
    app.add_middleware(MonitoredASGI, store=store, skip=("/cpu",))


@app.post("/predict")
async def predict(row: dict[str, float]) -> Mapping[str, object]:
    """The probabilities of one row."""
    return {"probabilities": MODEL.predict_proba(np.array([list(row.values())]))[0].tolist()}


@app.get("/cpu")
async def cpu() -> float:
    """The CPU seconds of this process so far."""
    return time.process_time()
