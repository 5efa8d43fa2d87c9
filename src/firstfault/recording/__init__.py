"""One run from its target to its end: its steps, its MLflow run, its files."""
