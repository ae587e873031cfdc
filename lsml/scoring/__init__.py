"""Scores: numbers in, numbers out; no model, no file."""
