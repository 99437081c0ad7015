"""Training protocols for discrete networks."""
