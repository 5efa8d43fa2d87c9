"""What is debugged, as the user declares it, and how it is loaded from a file."""
