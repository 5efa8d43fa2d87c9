"""Checks of the training, on its record."""
