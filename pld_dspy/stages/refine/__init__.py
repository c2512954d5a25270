"""Refinement: edits of the rules from the student's errors."""
