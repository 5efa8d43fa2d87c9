"""Prefect flows over firstfault's tasks."""
