"""Thin Prefect tasks over the library, one module per layer."""
