"""Compare methods fairly: the same data, sizes and seeds, scored by the truth, with every single result shown."""
