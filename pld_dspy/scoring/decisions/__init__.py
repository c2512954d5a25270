"""Chooses and fits decisions, and compares programs under them."""
