"""The stages of the method; they do not import each other."""
