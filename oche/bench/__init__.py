"""Tabular benchmarks: what architectures scored when others trained them."""
