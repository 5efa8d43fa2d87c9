"""Servers of the benchmark of the monitor."""
