"""Failures of a language model: what each hangs on, what mends it, and what they have in common."""
