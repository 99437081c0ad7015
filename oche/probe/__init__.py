"""Diagnostics of a search, and the verdict on it."""
