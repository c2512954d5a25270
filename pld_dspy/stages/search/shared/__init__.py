"""The Optuna study: its storage, its workers, and what it says to them."""
