"""The search for rules on simulated students whose best list is known."""
