"""Encoders: each turns scaled bands into the features of `depth + 1` levels, and says how wide to decode them.

Each module has `encode(x, blocks)` and `decoder_filters(config)`; level 0 has the patch's resolution, and every
level down half the one before.
"""
