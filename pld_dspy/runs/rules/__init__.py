"""What is told of the rules: their evidence, as a file and in lines of text."""
