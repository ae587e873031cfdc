"""Datasets: layouts, what bands are, formats, splits, packs, augmentation, batches, downloads."""
