"""The fast engine: the same supernet with less work. One file per trick; docs/engine.md has the figures."""
