"""Losses on logits: of single pixels, of whole regions, of ranked errors, and their compound."""

from lsml.losses.compound import CompoundLoss

__all__ = ["CompoundLoss"]
