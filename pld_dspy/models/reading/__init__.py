"""Reads labels and typed values from what a model writes."""
