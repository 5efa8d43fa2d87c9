"""Sweeps: one change at a time, a grid or a search, against the noise between seeds."""
