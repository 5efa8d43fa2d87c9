"""Checks of the untrained model on one batch."""
