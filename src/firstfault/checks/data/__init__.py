"""Checks of the data as they come."""
