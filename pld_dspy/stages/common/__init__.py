"""Shared by several stages."""
