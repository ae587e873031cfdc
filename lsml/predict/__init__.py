"""Applying a model: a model and data in, maps out; runs and registries are other people's business."""
