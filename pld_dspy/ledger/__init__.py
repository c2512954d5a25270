"""Records of a run: stored answers, usage, time, and tracking."""
