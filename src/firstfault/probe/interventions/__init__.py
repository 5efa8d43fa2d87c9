"""Interventions: one thing in a training that runs is changed, by the same hooks as those that watch it."""
