"""Catalogue, download and server of local models."""
