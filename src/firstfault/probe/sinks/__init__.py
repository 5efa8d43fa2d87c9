"""Where the numbers of a watched training go."""
