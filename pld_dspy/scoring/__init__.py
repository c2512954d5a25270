"""Metrics, scores of a program on a split, and their statistics."""
