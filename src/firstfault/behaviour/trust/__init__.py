"""How far a score is to be believed: tests in four families, each with a p-value, and what they say together."""

from firstfault.behaviour.trust.judgement import Trust, suspicious, trust

__all__ = ["Trust", "suspicious", "trust"]
