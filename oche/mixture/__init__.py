"""Logits to mixing weights, one idea a file."""
