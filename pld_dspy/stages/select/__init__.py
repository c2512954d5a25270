"""Chooses the final candidate on held-out examples."""
