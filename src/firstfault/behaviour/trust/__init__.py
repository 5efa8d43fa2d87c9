"""How far a score is to be believed: tests in four families, each with a p-value, and what they say together."""

from firstfault.behaviour.trust.judgement import TOO_GOOD, Trust, suspicious, trust

__all__ = ["TOO_GOOD", "Trust", "suspicious", "trust"]
