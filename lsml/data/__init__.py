"""Datasets of Landslide4Sense patches: layouts, splits, packs, augmentation, batches, downloads."""
