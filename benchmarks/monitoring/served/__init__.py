"""Streams of served requests with a known truth, for the benchmark of incidents."""
