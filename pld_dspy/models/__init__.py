"""Language models, prompts, and the reading of answers."""
