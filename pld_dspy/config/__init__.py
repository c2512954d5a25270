"""Settings: of the optimizer and its stages, and of a run."""
