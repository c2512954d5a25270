"""Reads labels and typed values from answers."""
