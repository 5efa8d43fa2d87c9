"""The model of the last debug run behind FastAPI, recorded by the monitor.

    uvicorn --app-dir examples/adult serve:app --port 8010

`BROKEN=scaler` serves with a scaler that was fitted on other data, `BROKEN=labels` with the names of the classes the
wrong way round: two faults that no status code and no log line shows.
"""

import copy
import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from fastapi import FastAPI

from firstfault.monitor import MonitoredASGI, cut, stage

HERE = Path(__file__).parent
NAMES = ["<=50K", ">50K"]


def last_package() -> Path:
    """The package of the last debug run of this example."""
    runs = sorted(Path(".firstfault/runs").glob("*/package"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise SystemExit("there is no packaged model yet: run `firstfault debug examples/adult` first")
    return runs[-1]


def with_other_scaler(prepare: Any) -> Any:
    """The fitted steps with the scaler of another data set: of people who work part time."""
    steps = copy.deepcopy(prepare.__self__)
    people = pd.read_parquet(HERE / "adult.parquet")
    numbers = list(steps.transformers_[0][2])
    steps.named_transformers_["standardscaler"].fit(people.loc[people["hours_per_week"] < 30, numbers])
    return steps.transform


BROKEN = os.environ.get("BROKEN", "")
package = mlflow.pyfunc.load_model(str(last_package())).unwrap_python_model()
prepare = with_other_scaler(package.steps[0]) if BROKEN == "scaler" else package.steps[0]
names = NAMES[::-1] if BROKEN == "labels" else NAMES

app = FastAPI()
app.add_middleware(MonitoredASGI, model="adult", version="1", sample=1.0)


@app.post("/predict")
def predict(row: dict[str, float | str]) -> dict[str, Any]:
    """Whether a person earns more than 50K."""
    with stage("preprocess"):
        x = cut("tensor", torch.as_tensor(prepare(pd.DataFrame([row])), dtype=torch.float32))
    with stage("model"), torch.inference_mode():
        logits = cut("logits", package.model(x))
    label = cut("label", names[int(logits.argmax())])
    return {"label": label, "probabilities": logits.softmax(1)[0].tolist()}
