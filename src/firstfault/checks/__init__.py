"""The checks of the layers, and of safety."""
