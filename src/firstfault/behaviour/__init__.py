"""Behaviour suites: prompts, answers, and how they are scored."""
