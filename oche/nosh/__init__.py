"""RANK-NOSH: non-uniform successive halving, what it measures architectures with, and the searches built from it."""
