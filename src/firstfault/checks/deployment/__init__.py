"""Checks of the model as it is served."""
