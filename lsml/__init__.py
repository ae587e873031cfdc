"""lsml tunes, tracks, judges and applies networks that find landslides in satellite patches."""

__version__ = "0.1.0"
