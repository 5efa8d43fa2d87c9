"""Checks of what preparing the data does to them."""
