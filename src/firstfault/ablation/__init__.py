"""Known-good replacements of a target's parts, and what undoing a fault changes."""
