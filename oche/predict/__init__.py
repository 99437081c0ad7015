"""What can be said about an architecture without training it: a ranking network, zero-cost proxies, proposals."""
