"""MLflow: the only part of firstfault that imports it."""
