"""What can be set: options as plain values, files, and what they come to."""
