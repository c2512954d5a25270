"""Clustering of the traces."""
