"""How MLflow's UI shows the experiment of a target: as model training, with a table of runs that tells the verdicts.

The table is a saved view (the menu "Views"), which is a tag of the experiment; the links of
`firstfault.tracking.links` open it.
"""

from __future__ import annotations

import json

KIND = {"mlflow.experimentKind": "custom_model_development"}
VIEW = "firstfault"
"""The key of the saved view in addresses and tags."""
WORKFLOW = "workflowType=machine_learning"
"""What an address needs to be opened as a page of model training: otherwise MLflow shows what was looked at last."""
ROW = ("verdict", "faulty_layer", "fault")
"""The tags that are columns of the table."""


def view_of_runs(metric: str, now: float) -> dict[str, str]:
    """The tags of an experiment whose saved view shows verdict, faulty layer, fault and metric of each run."""
    columns = [f"metrics.`{metric}`", f"metrics.`{metric}_fixed`", *(f"tags.`{name}`" for name in ROW)]
    stamp = int(now * 1000)
    view = {"name": "Verdicts", "createdAt": stamp, "updatedAt": stamp}
    state = json.dumps({"selectedColumns": columns})
    return {
        f"mlflow.sharedViewState.{VIEW}": json.dumps({**view, "state": state}),
        "mlflow.experiment.primaryMetric.name": metric,
    }
