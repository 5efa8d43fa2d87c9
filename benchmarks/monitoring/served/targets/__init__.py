"""The targets whose models are served: each file is copied beside its data and weights, and loaded from there."""
