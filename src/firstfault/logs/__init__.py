"""Log lines of ML systems: JSON through standard logging, with the ids of trace, run and incident."""
