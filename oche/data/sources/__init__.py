"""One file for each place images can come from."""
