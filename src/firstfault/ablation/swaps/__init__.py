"""Known-good replacements, one module per layer."""
