"""Settings of the optimizer, of its stages, and of a run."""
