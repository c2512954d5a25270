"""The comparison of prompt optimizers: cells, their meter, their budget, and one line each."""
