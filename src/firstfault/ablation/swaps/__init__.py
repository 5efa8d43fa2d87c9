"""The swaps, by the place in the pipeline at which they work."""
