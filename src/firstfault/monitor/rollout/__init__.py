"""Champion and challenger compared by tests that may be looked at after every request."""
