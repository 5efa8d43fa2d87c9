"""Confirming suspicions: undo each suspected fault, retrain, and see what recovers."""
