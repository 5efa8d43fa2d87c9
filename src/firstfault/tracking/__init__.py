"""What goes to MLflow: the only importer of it."""
