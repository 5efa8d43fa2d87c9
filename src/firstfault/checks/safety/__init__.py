"""Checks of the trained model's safety: groups, robustness, confident errors, and behaviour suites for text."""

from firstfault.checks.safety.evaluate import SafetyReport, evaluate_safety

__all__ = ["SafetyReport", "evaluate_safety"]
