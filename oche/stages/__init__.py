"""What happens when in a search, one idea a file."""
