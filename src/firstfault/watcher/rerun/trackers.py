"""Experiment trackers and hubs, switched off for a script that is run again."""

from __future__ import annotations

from pathlib import Path

OFF = {
    "WANDB_MODE": "disabled",
    "WANDB_DISABLED": "true",
    "WANDB_SILENT": "true",
    "COMET_MODE": "disabled",
    "NEPTUNE_MODE": "debug",
    "CLEARML_OFFLINE_MODE": "1",
    "SWANLAB_MODE": "disabled",
    "AIM_DISABLED": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "SENTRY_DSN": "",
    "MPLBACKEND": "Agg",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def switched_off(scratch: Path) -> dict[str, str]:
    """An environment in which nothing is told to a tracker, and temporary files lie in the scratch folder."""
    folder = scratch.resolve()
    store = {"MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(), "MLFLOW_REGISTRY_URI": (folder / "mlruns").as_uri()}
    caches = {"TMPDIR": str(folder / "tmp"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    return {**OFF, **store, **caches, "WANDB_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
