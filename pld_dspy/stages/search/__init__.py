"""Search over size and order of the rule list with Optuna."""
