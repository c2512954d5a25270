"""Search of size and order with Optuna."""
