"""Search over lists with rules by topic."""
