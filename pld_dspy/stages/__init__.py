"""The stages of the method; none imports another."""
