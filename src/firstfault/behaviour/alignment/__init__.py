"""Alignment: what a model does in scenarios, held against the specification of what it must, must not and may do."""
