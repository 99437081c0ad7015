"""What moves the logits, one idea a file."""
