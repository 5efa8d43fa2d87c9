"""What an incident is suspected of, undone on its own requests: one cut put back, and the requests sent again."""
