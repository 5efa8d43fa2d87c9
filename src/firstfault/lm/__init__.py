"""A language model in this process or behind an address, and the cuts at which one request of it is compared."""
