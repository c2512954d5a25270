"""Conflict resolution: edits of the rules from the errors of the student."""
