"""Tells before a run whether distillation is worth it, and what to do first."""
