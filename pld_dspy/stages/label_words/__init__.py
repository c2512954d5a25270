"""Chooses words to show in place of labels whose names say little."""
