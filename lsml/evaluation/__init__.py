"""Evaluation: a model's scores on a split, and its predictions for a folder."""
