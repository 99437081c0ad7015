"""Recurrent cells and the language models around them."""
