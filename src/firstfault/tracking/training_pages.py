"""MLflow's UI as firstfault serves it: its pages open as those of model training, unless the user chose otherwise."""

from __future__ import annotations

import json

CHOICES = {"mlflow.workflowType_v1": '"machine_learning"', "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
"""What the UI of MLflow 3 keeps in the browser: which of its two faces it shows, and that its chat stays closed."""
PAGES = ("/", "/index.html")
SCRIPT = (
    f"for (const [key, value] of Object.entries({json.dumps(CHOICES)}))"
    " if (localStorage.getItem(key) === null) localStorage.setItem(key, value)"
)
"""Makes the choices of a new browser."""
