"""Checks rules on training examples, and measures those of the final list."""
