"""Runs on disk: what a command does, what it leaves, and how it goes on."""
