"""Modules: choices, operations, cells, networks and supernets."""
