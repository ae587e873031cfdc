"""Patches of Landslide4Sense: reading, splits, packing."""
