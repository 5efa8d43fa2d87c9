"""Where runs lie: the state folder, its processes and services."""
