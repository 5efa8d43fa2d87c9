"""The target under examination: its parts, made when a check first needs them."""
