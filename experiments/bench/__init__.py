"""Runs the cells of a config: their models, their meter, their budget, and one line each."""
