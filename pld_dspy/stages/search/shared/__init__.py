"""Storage and workers of the Optuna study."""
