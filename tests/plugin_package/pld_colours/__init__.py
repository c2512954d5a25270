"""Extensions of pld_dspy: everything here is used by its name in a TOML file."""
