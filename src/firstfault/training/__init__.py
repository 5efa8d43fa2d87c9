"""Preparing data and training a recipe, without a watch over it."""
