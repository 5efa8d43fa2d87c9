"""Any training loop, watched without a change to its code, and judged at its end."""
